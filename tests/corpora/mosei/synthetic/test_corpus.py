"""The synthetic CMU-MOSEI: official names, the real files' flaws, read like the real ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mmer.corpora.mosei.csd import FILES, LABELS, WORDS, CsdOptions, read_csd
from mmer.corpora.mosei.synthetic.corpus import SyntheticMosei, write_synthetic
from mmer.corpora.mosei.synthetic.evidence import bayes_optimal
from mmer.samples.table import SPLITS, Sample

SETTINGS = SyntheticMosei(seed=3, train_videos=14, valid_videos=3, test_videos=4)
WITHOUT_FACET, WITHOUT_LABELS, WITHOUT_FOLD = "synthetic_1", "synthetic_101", "synthetic_102"

Content = dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mosei")
    best = write_synthetic(path, SETTINGS)
    assert {name: best[name] for name in ("micro_f1", "macro_f1")} == bayes_optimal()
    assert best["micro_f1 of audio + text"] == bayes_optimal(("text", "audio"))["micro_f1"]
    return path


@pytest.fixture(scope="module")
def content(folder: Path) -> Content:
    """Features and intervals by root name and video."""
    found: Content = {}
    for path in folder.glob("*.csd"):
        with h5py.File(path) as file:
            (root,) = file
            found[root] = {
                video: (entry["features"][:], entry["intervals"][:])
                for video, entry in file[root]["data"].items()
            }
    return found


@pytest.fixture(scope="module")
def samples(folder: Path) -> dict[str, list[Sample]]:
    source = read_csd(folder, CsdOptions(folds="folds.json"))
    return {split: list(source.read(split, source.groups[split])) for split in SPLITS}


def _digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_files_are_named_and_shaped_as_the_official_ones(folder, content) -> None:
    files = [*FILES.values(), LABELS, WORDS]
    assert {path.name for path in folder.glob("*.csd")} == {file.name for file in files}
    for file in files:
        for rows, intervals in content[file.root_name].values():
            assert rows.shape == (len(intervals), file.width or 1)
            assert intervals.dtype == np.float64
            assert rows.dtype == np.float32 or file is WORDS


def test_every_sequence_says_that_it_is_synthetic(folder) -> None:
    for path in folder.glob("*.csd"):
        with h5py.File(path) as file:
            (root,) = file
            metadata = file[root]["metadata"]
            assert b"ynthetic" in metadata["computational sequence description"][0]
            assert json.loads(metadata["root name"][0]) == root


def test_words_overlap_last_no_time_and_leave_pauses(content) -> None:
    intervals = [times for _, times in content["glove_vectors"].values()]
    assert any((t[1:, 0] < t[:-1, 1]).any() for t in intervals)
    assert any((t[:, 0] == t[:, 1]).any() for t in intervals)
    for video, (words, _) in content["words"].items():
        pauses = (words == b"sp").sum()
        assert pauses > 0
        assert len(words) - pauses == len(content["glove_vectors"][video][0])


def test_frames_have_gaps_and_covarep_holds_minus_infinity(content) -> None:
    for root, rate in (("COVAREP", 100), ("FACET 4.2", 30)):
        steps = [np.diff(times[:, 0]) for _, times in content[root].values()]
        assert np.median(np.concatenate(steps)) == pytest.approx(1 / rate)
        if root == "FACET 4.2":
            assert any(step.max() > 1.5 / rate for step in steps)
    assert any(np.isneginf(rows).any() for rows, _ in content["COVAREP"].values())


def test_some_videos_lack_a_file_or_a_fold(folder, content, samples) -> None:
    folds = json.loads((folder / "folds.json").read_text())
    videos = set(content["COVAREP"])
    assert all(video.startswith(WITHOUT_FACET) for video in videos)
    assert videos - set(content["FACET 4.2"]) == {WITHOUT_FACET}
    assert videos - set(content["All Labels"]) == {WITHOUT_LABELS}
    assert videos - {video for fold in folds.values() for video in fold} == {WITHOUT_FOLD}
    read = {sample.group_id for split in SPLITS for sample in samples[split]}
    assert videos - read == {WITHOUT_FACET, WITHOUT_LABELS, WITHOUT_FOLD}


def test_labels_are_unordered_segments_of_which_some_have_no_emotion(content) -> None:
    rows = np.concatenate([rows for rows, _ in content["All Labels"].values()])
    assert np.abs(rows[:, 0]).max() <= 3
    assert rows[:, 1:].min() == 0
    assert rows[:, 1:].max() <= 3
    assert (rows[:, 1:].max(axis=1) == 0).any()
    starts = [times[:, 0] for _, times in content["All Labels"].values()]
    assert any((np.diff(s) < 0).any() for s in starts)


def test_the_reader_finds_every_segment_with_its_labels_and_words(content, samples) -> None:
    videos = {"train": 14, "valid": 3, "test": 4}
    for split in SPLITS:
        assert len(samples[split]) == videos[split] * SETTINGS.segments_per_video
        for sample in samples[split]:
            rows, times = content["All Labels"][sample.group_id]
            (row,) = np.flatnonzero(times[:, 0] == sample.start)
            np.testing.assert_array_equal(sample.labels, rows[row, 1:] > 0)
            assert len(sample.words) == len(sample.features["text"])
            assert all(word not in ("", "sp") for word in sample.words)


def test_frames_can_be_read_unaligned(folder) -> None:
    source = read_csd(folder, CsdOptions(folds="folds.json", alignment="none"))
    sample = next(source.read("valid", source.groups["valid"]))
    assert len(sample.features["audio"]) > len(sample.features["visual"]) > len(sample.words)


def test_a_seed_gives_the_same_bytes_and_another_gives_others(folder, tmp_path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    for path, settings in ((again, SETTINGS), (other, SETTINGS.model_copy(update={"seed": 4}))):
        path.mkdir()
        write_synthetic(path, settings)
    assert _digests(again) == _digests(folder)
    differ = _digests(other).items() - _digests(folder).items()
    assert len(differ) == len(_digests(folder))


def test_a_seed_gives_what_it_always_gave(content) -> None:
    digest = hashlib.sha256()
    for root in ("FACET 4.2", "glove_vectors", "words", "All Labels"):
        for video, arrays in content[root].items():
            digest.update(video.encode() + b"".join(array.tobytes() for array in arrays))
    assert digest.hexdigest() == "b71660f8f4abc570daf15f9c88c6e975791aa520c5553d4786755f2fee0197bb"


def test_segments_of_a_video_resemble_each_other_as_asked(tmp_path) -> None:
    shares = {}
    for alike in (0.0, 0.6):
        folder = tmp_path / str(alike)
        folder.mkdir()
        write_synthetic(folder, SyntheticMosei(train_videos=150, alike=alike))
        source = read_csd(folder, CsdOptions(folds="folds.json"))
        labels: dict[str, list] = {}
        for sample in source.read("train", source.groups["train"]):
            labels.setdefault(sample.group_id, []).append((sample.start, sample.labels))
        same, rates = [], []
        for rows in labels.values():
            first, *others = [label for _, label in sorted(rows, key=lambda row: row[0])]
            same += [(first == other).all() for other in others]
            rates += [first, *others]
        shares[alike] = np.mean(same)
        expected = (0.53, 0.24, 0.23, 0.09, 0.17, 0.08)
        np.testing.assert_allclose(np.mean(rates, axis=0), expected, atol=0.06)
    assert shares[0.6] == pytest.approx(0.6 + 0.4 * shares[0.0], abs=0.05)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"alike": 1.1},
        {"train_videos": 0},
        {"segments_per_video": 0},
        {"words_per_segment": 5},
    ],
)
def test_settings_out_of_range_are_refused(wrong) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SyntheticMosei(**wrong)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_means_over_words_fall_short_of_the_best_but_not_of_chance(tmp_path, seed) -> None:
    settings = SyntheticMosei(seed=seed)
    best = write_synthetic(tmp_path, settings)["micro_f1"]
    source = read_csd(tmp_path, CsdOptions(folds="folds.json"))
    inputs, truth = {}, {}
    for split in ("train", "test"):
        read = list(source.read(split, source.groups[split]))
        truth[split] = np.stack([sample.labels for sample in read])
        inputs[split] = np.nan_to_num(
            [np.concatenate([sample.features[m].mean(axis=0) for m in FILES]) for sample in read],
            neginf=0,
        )
    scale = StandardScaler().fit(inputs["train"])
    scores = np.column_stack(
        [
            LogisticRegression(C=0.01, max_iter=300)
            .fit(scale.transform(inputs["train"]), column)
            .predict_proba(scale.transform(inputs["test"]))[:, 1]
            for column in truth["train"].T
        ]
    )
    always = np.broadcast_to(truth["train"].mean(axis=0), scores.shape)
    assert _best_micro_f1(always, truth["test"]) + 0.03 < _best_micro_f1(scores, truth["test"])
    assert _best_micro_f1(scores, truth["test"]) < best - 0.15


def _best_micro_f1(scores: np.ndarray, truth: np.ndarray) -> float:
    """Even at the cut that is best for these very samples."""
    order = np.argsort(-scores.ravel(), kind="stable")
    found = np.cumsum(truth.ravel()[order])
    return (2 * found / (np.arange(1, truth.size + 1) + truth.sum())).max()
