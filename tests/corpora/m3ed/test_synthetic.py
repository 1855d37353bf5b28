"""The synthetic M3ED: ten objects that the reader takes for real ones, and the best score."""

from __future__ import annotations

import hashlib
import pickle

import look_alikes
import numpy as np
import pytest
from pydantic import ValidationError

from mmer.corpora.m3ed import synthetic
from mmer.corpora.m3ed.reader import EMOTIONS, M3edOptions, read_pkl
from mmer.corpora.m3ed.synthetic import (
    FILE,
    WIDTHS,
    SyntheticM3ed,
    bayes_optimal,
    write_synthetic,
)
from mmer.samples.table import SPLITS

SETTINGS = SyntheticM3ed(seed=2, train_dialogues=12, valid_dialogues=3, test_dialogues=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("m3ed")
    assert write_synthetic(path, SETTINGS) == bayes_optimal(SETTINGS)
    return path


def test_the_reader_finds_every_dialogue(folder) -> None:
    source = read_pkl(folder / FILE, M3edOptions())
    assert {m: f.width for m, f in source.features.items()} == WIDTHS
    assert source.labels == EMOTIONS
    samples = {split: look_alikes.samples(source, split) for split in SPLITS}
    assert {split: len(read) for split, read in samples.items()} == {
        "train": 12,
        "valid": 3,
        "test": 4,
    }
    series = {split: {sample.group_id for sample in samples[split]} for split in SPLITS}
    assert {split: len(names) for split, names in series.items()} == {
        "train": 6,
        "valid": 2,
        "test": 2,
    }


def test_splits_are_as_many_series_as_the_official_ones() -> None:
    sizes = SyntheticM3ed()
    names = synthetic._names((sizes.train_dialogues, sizes.valid_dialogues, sizes.test_dialogues))
    assert len(set(names)) == len(names)
    assert len({name.split("_")[0] for name in names}) == 38 + 7 + 11
    assert {"synthetic1_1", "synthetic1_11", "synthetic11_1"} <= set(names)  # prefixes of others


def test_labels_are_the_classes_of_all_utterances_of_which_one_dialogue_has_over_sixty(
    folder,
) -> None:
    objects = pickle.loads((folder / FILE).read_bytes())
    assert len(objects) == 10
    assert max(map(len, objects[0].values())) > 60
    source = read_pkl(folder, M3edOptions())
    for split in SPLITS:
        for sample in look_alikes.samples(source, split):
            classes = set(objects[2][sample.sample_id])
            assert set(np.flatnonzero(sample.labels)) == classes
            assert len(sample.words) == min(60, len(objects[0][sample.sample_id]))


def test_a_seed_gives_the_same_bytes(folder, tmp_path) -> None:
    digests = []
    for settings in (SETTINGS, SETTINGS.model_copy(update={"seed": 3})):
        write_synthetic(tmp_path, settings)
        digests.append(hashlib.sha256((tmp_path / FILE).read_bytes()).hexdigest())
    first = hashlib.sha256((folder / FILE).read_bytes()).hexdigest()
    assert digests[0] == first
    assert digests[1] != first


def test_a_seed_gives_what_it_always_gave(folder) -> None:
    objects, digest = pickle.loads((folder / FILE).read_bytes()), hashlib.sha256()
    for position in (2, 3, 4, 5):
        for rows in objects[position].values():
            digest.update(np.asarray(rows).tobytes())
    assert digest.hexdigest() == "fd19345642eb2761bc65a363dd36d1cd867c1d42b839961172fab0a6a5bacc92"


def test_an_oracle_that_sees_what_is_shown_attains_the_bayes_optimal_score() -> None:
    rng, noise = np.random.default_rng(8), SETTINGS.noise
    shows = (1 - noise) * np.eye(len(EMOTIONS)) + noise / len(EMOTIONS)
    labels, scores = np.zeros((8000, len(EMOTIONS))), np.zeros((8000, len(EMOTIONS)))
    for row, length in enumerate(rng.integers(4, 13, 8000)):
        emotions, shown = synthetic._draw_utterances(rng, length, noise)
        labels[row, emotions] = 1
        for label in range(len(EMOTIONS)):
            # Bayes' rule, written out: none of the utterances has the emotion.
            likelihood = synthetic._RATES[:, None] * shows[:, shown]
            scores[row, label] = 1 - np.prod(1 - likelihood[label] / likelihood.sum(axis=0))
    bound = bayes_optimal(SETTINGS)
    assert _best_f1(labels.ravel(), scores.ravel()) == pytest.approx(bound["micro_f1"], abs=0.01)
    per_label = list(map(_best_f1, labels.T, scores.T))
    assert np.mean(per_label) == pytest.approx(bound["macro_f1"], abs=0.01)


def _best_f1(truth: np.ndarray, scores: np.ndarray) -> float:
    cuts = np.linspace(0.05, 0.95, 46)
    return max(
        2 * (truth * (scores >= cut)).sum() / (truth.sum() + (scores >= cut).sum()) for cut in cuts
    )


def test_dialogues_of_a_series_go_as_its_first_one_as_asked(tmp_path) -> None:
    shares, rates = {}, {}
    for alike in (0.0, 0.6):
        sizes = {"train_dialogues": 400, "valid_dialogues": 2, "test_dialogues": 2}
        write_synthetic(tmp_path, SyntheticM3ed(alike=alike, utterances=4, **sizes))
        classes = pickle.loads((tmp_path / FILE).read_bytes())[2]
        first: dict[str, list[int]] = {}
        same = []
        for name, emotions in classes.items():
            series, number = name.split("_")
            opening = first.setdefault(series, emotions)
            if number != "1":
                same.append(all(a == b for a, b in zip(opening, emotions, strict=False)))
        shares[alike] = np.mean(same)
        others = [row for name, row in classes.items() if not name.endswith("_1")]
        rates[alike] = np.bincount(np.concatenate(others), minlength=7) / sum(map(len, others))
    assert shares[0.6] == pytest.approx(0.6 + 0.4 * shares[0.0], abs=0.07)
    for found in rates.values():
        np.testing.assert_allclose(found, synthetic._RATES, atol=0.06)


def test_without_noise_all_can_be_known() -> None:
    for value in bayes_optimal(SyntheticM3ed(noise=0.0)).values():
        assert value == pytest.approx(1)


@pytest.mark.parametrize(
    "wrong",
    [{"seed": -1}, {"train_dialogues": 0}, {"utterances": 1}, {"noise": 2}, {"alike": -0.1}],
)
def test_settings_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SyntheticM3ed(**wrong)
