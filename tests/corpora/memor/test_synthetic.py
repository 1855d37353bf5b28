"""The synthetic MEmoR: files that the reader takes for real ones, and the best scores."""

from __future__ import annotations

import hashlib
from itertools import product
from pathlib import Path

import look_alikes
import numpy as np
import pytest
from pydantic import ValidationError

from mmer.corpora.memor import synthetic
from mmer.corpora.memor.annotations import EMOTIONS
from mmer.corpora.memor.reader import MemorOptions, read_memor
from mmer.corpora.memor.synthetic import (
    CONTRARY,
    RATES,
    SyntheticImpersonal,
    SyntheticMemor,
    bayes_optimal,
    draw,
    probabilities,
)
from mmer.corpora.memor.synthetic_files import write_files, write_synthetic

SETTINGS = SyntheticMemor(seed=2, train_clips=12, test_clips=5)
UNITS = ("clip", "character", "moment")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("memor")
    write_files(path, SETTINGS)
    return path


def drawn_as_written(settings: SyntheticMemor) -> synthetic.Drawn:
    count = settings.train_clips + settings.test_clips
    return draw(np.random.default_rng(settings.seed), count, settings)


def test_the_reader_finds_what_was_drawn(folder) -> None:
    drawn = drawn_as_written(SETTINGS)
    source = read_memor(folder, MemorOptions())
    assert {m: f.width for m, f in source.features.items()} == {
        "text": 24,
        "visual": 34,
        "audio": 32,
    }
    assert source.notes == ()
    samples = look_alikes.samples(source, "train")
    assert len(samples) == (drawn.characters[:12] >= 0).sum()
    for sample in samples:
        number = int(sample.group_id.removeprefix("synthetic")) - 1
        [k] = np.flatnonzero(drawn.characters[number] == sample.person)
        segments = (drawn.speakers[number] >= 0).sum()
        felt = set(drawn.emotions[number, k, :segments].tolist())
        assert set(np.flatnonzero(sample.labels)) == felt
        for m, modality in enumerate(synthetic.MODALITIES):
            cells = {
                (int(drawn.characters[number, who]), int(s))
                for who, s in np.argwhere(drawn.there[m, number])
            }
            steps = zip(sample.step_persons[modality], sample.step_segments[modality], strict=True)
            assert {(int(who), int(s)) for who, s in steps} == cells
    assert look_alikes.samples(source, "test")[0].group_id == "synthetic13"


def test_features_show_the_emotion_that_was_drawn(folder) -> None:
    """The steps of one shown emotion are closer to their mean than to that of any other."""
    drawn = drawn_as_written(SETTINGS)
    source = read_memor(folder, MemorOptions(unit="clip"))
    rows: dict[str, list[tuple[int, np.ndarray]]] = {m: [] for m in synthetic.MODALITIES}
    for sample in look_alikes.samples(source, "train"):
        number = int(sample.sample_id.removeprefix("synthetic")) - 1
        for m, modality in enumerate(synthetic.MODALITIES):
            steps = zip(
                sample.step_persons[modality],
                sample.step_segments[modality],
                () if sample.features[modality] is None else sample.features[modality],
                strict=True,
            )
            for who, s, features in steps:
                [k] = np.flatnonzero(drawn.characters[number] == who)
                rows[modality].append((int(drawn.shown[m, number, k, s]), features))
    for found in rows.values():
        shown = np.array([emotion for emotion, _ in found])
        values = np.stack([features for _, features in found])
        means = {e: values[shown == e].mean(axis=0) for e in set(shown.tolist())}
        nearest = [min(means, key=lambda e: np.linalg.norm(v - means[e])) for v in values]
        assert np.mean(np.array(nearest) == shown) > 0.98


def test_a_seed_gives_the_same_files(folder, tmp_path) -> None:
    def digests(place: Path) -> dict[str, str]:
        files = sorted(p for p in place.rglob("*") if p.is_file())
        return {
            str(p.relative_to(place)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
        }

    for seed, same in ((2, True), (3, False)):
        other = tmp_path / str(seed)
        other.mkdir()
        write_files(other, SETTINGS.model_copy(update={"seed": seed}))
        assert (digests(other) == digests(folder)) is same


def test_both_have_the_same_people_in_the_same_places() -> None:
    ours, theirs = (drawn_as_written(kind(train_clips=300)) for kind in
                    (SyntheticMemor, SyntheticImpersonal))  # fmt: skip
    for name in ("characters", "speakers", "there"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    cells = theirs.cells
    alike = (theirs.emotions == theirs.emotions[:, :1]) | ~cells
    assert alike.all(), "everybody feels the same"
    shown = theirs.shown == theirs.emotions
    assert shown[:, cells].mean() == pytest.approx(0.85 + 0.15 / 9, abs=0.02)
    turned = CONTRARY[ours.characters][:, :, None] & (ours.emotions != 0) & cells
    assert (ours.shown == ours.emotions)[:, turned].mean() == pytest.approx(0.15 / 9, abs=0.02)
    plain = ~CONTRARY[ours.characters][:, :, None] & cells
    assert (ours.shown == ours.emotions)[:, plain].mean() == pytest.approx(
        0.85 + 0.15 / 9, abs=0.02
    )


def test_whoever_is_on_screen_is_heard_or_seen_and_every_segment_has_a_speaker() -> None:
    drawn = drawn_as_written(SyntheticMemor(train_clips=300))
    there = drawn.there.any(axis=(0, 3))
    np.testing.assert_array_equal(there, drawn.characters >= 0)
    assert (drawn.there[0].sum(axis=1) == (drawn.speakers >= 0)).all()
    assert (drawn.there[2] <= drawn.there[0]).all()
    assert 0.4 < drawn.there[1][drawn.cells].mean() < 0.6


def slowly(drawn, settings, unit, labels, modalities):
    """P(label | what is shown), summed over every mood and everybody's emotion."""
    count, names = len(RATES), EMOTIONS[labels]
    agreement = settings.agreement if settings.persons_matter else 1.0
    kinds = synthetic._kinds(labels)
    rows = []
    for number in range(len(drawn.characters)):
        people = np.flatnonzero(drawn.characters[number] >= 0)
        segments = np.flatnonzero(drawn.speakers[number] >= 0)
        lacking = []  # per segment (K + 1, L): P(label absent) of each, and of all together
        for s in segments:
            total, absent = 0.0, np.zeros((len(people) + 1, len(names)))
            for mood, *felt in product(range(count), repeat=1 + len(people)):
                p = RATES[mood]
                for k, emotion in zip(people, felt, strict=True):
                    p *= agreement * (mood == emotion) + (1 - agreement) * RATES[emotion]
                    contrary = settings.persons_matter and CONTRARY[drawn.characters[number, k]]
                    shows = synthetic._OPPOSITE[emotion] if contrary else emotion
                    for m, name in enumerate(synthetic.MODALITIES):
                        if name in modalities and drawn.there[m, number, k, s]:
                            right = drawn.shown[m, number, k, s] == shows
                            p *= (1 - settings.noise) * right + settings.noise / count
                total += p
                each = 1 - kinds[felt]
                absent += p * np.concatenate([each, each.prod(axis=0, keepdims=True)])
            lacking.append(absent / total)
        lacking = np.array(lacking)
        if unit == "clip":
            rows.append(1 - lacking[:, -1].prod(axis=0))
        elif unit == "character":
            rows.extend(1 - lacking[:, :-1].prod(axis=0))
        else:
            rows.extend(1 - lacking[:, :-1].swapaxes(0, 1).reshape(-1, len(names)))
    return np.array(rows)


@pytest.mark.parametrize("kind", [SyntheticMemor, SyntheticImpersonal])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("labels", EMOTIONS)
@pytest.mark.parametrize("most", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_probabilities_are_those_that_a_slow_sum_gives(
    kind, unit, labels, most, monkeypatch
) -> None:
    monkeypatch.setattr(synthetic, "_MOST", most)
    settings = kind(seed=4)
    drawn = draw(np.random.default_rng(4), 2, settings)
    for modalities in (synthetic.MODALITIES, ("visual",)):
        found = probabilities(drawn, settings, unit, labels, modalities)
        np.testing.assert_allclose(
            found, slowly(drawn, settings, unit, labels, modalities), atol=1e-12
        )


def test_probabilities_are_shares_of_what_was_drawn() -> None:
    settings = SyntheticMemor(noise=0.4)
    drawn = draw(np.random.default_rng(5), 4000, settings)
    cells = drawn.cells
    truth = np.eye(len(RATES))[drawn.emotions][cells]
    found = probabilities(drawn, settings, "moment", "primary")
    for low in np.arange(0, 1, 0.2):
        chosen = (low <= found) & (found < low + 0.2)
        assert truth[chosen].mean() == pytest.approx(found[chosen].mean(), abs=0.03)


def test_the_best_score_of_every_task(monkeypatch) -> None:
    monkeypatch.setattr(synthetic, "_CLIPS_DRAWN", 200)
    ours, theirs = bayes_optimal(SyntheticMemor()), bayes_optimal(SyntheticImpersonal())
    tasks = {f"{unit}, {labels}: " for unit in UNITS for labels in EMOTIONS}
    assert {name.partition(": ")[0] + ": " for name in ours} == tasks
    for task in tasks:
        assert ours[f"{task}micro_f1"] < theirs[f"{task}micro_f1"] < 1
        assert ours[f"{task}micro_f1 of text + visual"] <= ours[f"{task}micro_f1"] + 0.01
    without_noise = bayes_optimal(SyntheticImpersonal(noise=0))
    assert without_noise["moment, primary: micro_f1"] == pytest.approx(1)


def test_writing_returns_the_best_score(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(synthetic, "_CLIPS_DRAWN", 50)
    few = SyntheticMemor(train_clips=3, test_clips=2)
    assert write_synthetic(tmp_path, few) == bayes_optimal(few)


def test_official_widths(tmp_path) -> None:
    write_files(tmp_path, SyntheticMemor(train_clips=2, test_clips=1, official_widths=True))
    source = read_memor(tmp_path, MemorOptions())
    assert {m: f.width for m, f in source.features.items()} == {
        "text": 1024,
        "visual": 1024 + 1230 + 2048,
        "audio": 6373,
    }
    assert {len(row) for row in source.persons.traits} == {118}
    assert look_alikes.samples(source, "test")


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"train_clips": 0}, {"noise": 1.0}, {"agreement": 1.5}]
)
def test_settings_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SyntheticMemor(**wrong)
