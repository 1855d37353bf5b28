"""The CMU-MultimodalSDK's own results, from its arithmetic and from files that it has aligned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mmer.corpora.corpus import RawCorpus
from mmer.corpora.ingestion import aligned_table, open_corpus
from mmer.corpora.mosei import MoseiIngestion
from mmer.corpora.mosei.csd import FILES, LABELS, WORDS, CsdOptions, SequenceFile, read_csd
from mmer.corpora.mosei.labels import LABEL_COLUMNS
from mmer.errors import InputError
from mmer.formats.csd import ComputationalSequence, Entry, write_csd
from mmer.samples.table import SPLITS, Sample

GOLDEN = Path(__file__).parents[2] / "golden" / "alignment"
GOLDEN_FILES = {"text": "words", "visual": "facet", "audio": "covarep"}
Entries = dict[str, Entry]


def _write(folder: Path, file: SequenceFile, entries: Entries, names: list | None = None) -> None:
    rows = [(key, *entry) for key, entry in entries.items()]
    write_csd(folder / file.name, file.root_name, rows, "for tests", names)


def _read(path: Path, width: int | None) -> Entries:
    with ComputationalSequence(path, width) as file:
        return {key: file.read(key) for key in file.ids}


@pytest.fixture(scope="module")
def expected() -> dict[str, dict[str, np.ndarray]]:
    """Segment -> part -> what the tool gives for it."""
    segments: dict[str, dict[str, np.ndarray]] = {}
    for key, value in load_file(GOLDEN / "expected.safetensors").items():
        segment, part = key.rsplit(".", 1)
        segments.setdefault(segment, {})[part] = value
    return segments


@pytest.fixture
def golden_folder(tmp_path, expected) -> Path:
    """The golden files as an official corpus: the columns that they lack are zeros."""
    folder = tmp_path / "golden"
    folder.mkdir()
    parts = next(iter(expected.values()))
    videos = set()
    for modality, name in GOLDEN_FILES.items():
        file, width = FILES[modality], parts[modality].shape[1]
        entries = _read(GOLDEN / "features" / f"{name}.csd", width)
        videos |= set(entries)
        missing = ((0, 0), (0, file.width - width))
        wide = {k: Entry(np.pad(rows, missing), times) for k, (rows, times) in entries.items()}
        _write(folder, file, wide)
    labels = _read(GOLDEN / "labels" / "labels.csd", len(LABEL_COLUMNS))
    _write(folder, LABELS, labels, list(LABEL_COLUMNS))
    names = sorted(videos | set(labels))
    folds = {split: names[at::3] for at, split in enumerate(SPLITS)}
    (folder / "folds.json").write_text(json.dumps(folds))
    return folder


def test_the_tools_arithmetic_gives_its_own_result_for_the_whole_table(
    golden_folder, expected, tmp_path
):
    options = CsdOptions(folds="folds.json", arithmetic="sdk")
    settings = MoseiIngestion(csd=options, zeros_are_absent=False)
    manifest = open_corpus("mosei", RawCorpus(path=golden_folder), settings)
    found = {}
    for split in SPLITS:
        table = aligned_table(manifest, split, tmp_path / "tables")
        assert table.info.reading["arithmetic"] == "sdk"
        found |= {row["sample_id"]: row for row in table.arrow().to_pylist()}
    assert set(found) == set(expected)
    for segment, parts in expected.items():
        for modality in GOLDEN_FILES:
            rows, width = np.array(found[segment][modality], np.float32), parts[modality].shape[1]
            assert rows[:, :width].tobytes() == parts[modality].tobytes()
            assert not rows[:, width:].any()
        assert found[segment]["labels"] == (parts["labels"][0, 1:] > 0).tolist()


def _one_video(folder: Path, words: list, frames: list, segments: list, ids: str = "abc") -> Path:
    """Videos of these times; each row of features holds its number, from 1 on."""
    for modality, times in {"text": words, "visual": frames, "audio": words}.items():
        width = FILES[modality].width
        rows = np.outer(np.arange(1, len(times) + 1), np.ones(width)).astype(np.float32)
        entries = {key: Entry(rows, np.array(times, float)) for key in ids.split(",")}
        _write(folder, FILES[modality], entries)
    intensities = np.ones((len(segments), 7), np.float32)
    labels = {key: Entry(intensities, np.array(segments, float)) for key in ids.split(",")}
    _write(folder, LABELS, labels, list(LABEL_COLUMNS))
    said = np.array([[f"w{n}".encode()] for n in range(len(words))])
    _write(folder, WORDS, {key: Entry(said, np.array(words, float)) for key in ids.split(",")})
    videos = ids.split(",")
    (folder / "folds.json").write_text(
        json.dumps({split: videos[at::3] for at, split in enumerate(SPLITS)})
    )
    return folder


def _samples(folder: Path, **options: object) -> dict[str, Sample]:
    source = read_csd(folder, CsdOptions(folds="folds.json", **options))
    return {s.sample_id: s for split in SPLITS for s in source.read(split, source.groups[split])}


def test_a_modality_that_lost_its_first_word_has_its_rows_a_step_later_in_the_tools_tensors(
    tmp_path,
):
    # Of the second word frames show only the part before the segment.
    words, frames = [(0, 2), (2, 4), (4, 5), (5, 6)], [(0, 2), (2, 3), (4, 5), (5, 6)]
    folder = _one_video(tmp_path, words, frames, [(3, 6)], "a,b,c")
    tool = _samples(folder, arithmetic="sdk")["a[0]"]
    assert {m: rows[:, 0].tolist() for m, rows in tool.features.items()} == {
        "text": [2, 3, 4],
        "visual": [0, 3, 4],
        "audio": [2, 3, 4],
    }
    assert tool.words == ["w1", "w2", "w3"]
    ours = _samples(folder)["a[0]"]
    assert ours.features["visual"][:, 0].tolist() == [2, 3, 4]
    shorter = _samples(folder, arithmetic="sdk", max_words=2)["a[0]"]
    assert [rows[:, 0].tolist() for rows in shorter.features.values()] == [[3, 4]] * 3


def test_with_a_video_that_is_not_everywhere_the_tool_removes_those_whose_ids_begin_with_its(
    tmp_path,
):
    words, frames = [(0, 1), (1, 2)], [(0, 1), (1, 2)]
    folder = _one_video(tmp_path, words, frames, [(0, 2)], "28,2869,3,4,286,1")
    entries = _read(folder / FILES["visual"].name, 35)
    del entries["286"]
    _write(folder, FILES["visual"], entries)
    folds = {"train": ["28", "2869", "286"], "valid": ["3"], "test": ["4", "1"]}
    (folder / "folds.json").write_text(json.dumps(folds))
    assert list(_samples(folder)) == ["28[0]", "2869[0]", "3[0]", "4[0]", "1[0]"]
    assert list(_samples(folder, arithmetic="sdk")) == ["28[0]", "3[0]", "4[0]", "1[0]"]
    options = CsdOptions(folds="folds.json", arithmetic="sdk")
    assert "1 of these videos are left out by the tool" in " ".join(read_csd(folder, options).notes)
    (folder / "folds.json").write_text(json.dumps(folds | {"valid": ["2869"]}))
    with pytest.raises(InputError, match=r"fold valid.*none that the tool leaves: with a video"):
        read_csd(folder, options)


def _cut_into_segments(folder: Path, to: Path, samples: dict[str, Sample]) -> None:
    """What the tool writes after its alignment to the labels, files being named by their root."""
    labels = _read(folder / LABELS.name, 7)
    words = _read(folder / FILES["text"].name, 300)
    for modality, file in FILES.items():
        entries = {}
        for key, sample in samples.items():
            times = words[sample.group_id].intervals
            inside = (times[:, 1] > sample.start) & (times[:, 0] < sample.end)
            clipped = times[inside].clip(sample.start, sample.end)
            entries[key] = Entry(sample.features[modality].astype(float), clipped)
        _write(to, file._replace(name=f"{file.root_name}.csd"), entries)
    cut = {
        f"{video}[{n}]": Entry(entry.features[n : n + 1], entry.intervals[n : n + 1])
        for video, entry in labels.items()
        for n in reversed(range(len(entry.intervals)))
        if f"{video}[{n}]" in samples
    }
    _write(to, LABELS._replace(name="All Labels.csd"), cut, list(LABEL_COLUMNS))
    (to / "folds.json").write_text((folder / "folds.json").read_text())


def _same(first: dict[str, Sample], second: dict[str, Sample]) -> bool:
    return set(first) == set(second) and all(
        (first[k].start, first[k].end) == (second[k].start, second[k].end)
        and np.array_equal(first[k].labels, second[k].labels)
        and all(np.array_equal(first[k].features[m], second[k].features[m]) for m in FILES)
        for k in first
    )


@pytest.fixture
def whole(tmp_path) -> Path:
    """Overlapping words, and frames that are missing in places; segments out of time order."""
    folder = tmp_path / "whole"
    folder.mkdir()
    words = [(0, 1.5), (1, 2), (2, 3), (3, 4.25), (4, 5), (5, 6)]
    frames = [(0.25 * n, 0.25 * n + 0.25) for n in range(24) if n not in (8, 9, 10, 11)]
    return _one_video(folder, words, frames, [(3.0, 6), (0, 3)], "a,b,c")


@pytest.mark.parametrize("arithmetic", ["in_step", "sdk"])
def test_files_that_the_tool_has_cut_into_segments_are_read_as_they_are(
    whole, tmp_path, arithmetic
):
    expected = _samples(whole, arithmetic="sdk")
    cut = tmp_path / "cut"
    _cut_into_segments(whole, cut, expected)
    assert _same(_samples(cut, arithmetic=arithmetic), expected)


def test_rows_that_the_tool_has_cut_but_not_averaged_are_averaged(whole, tmp_path):
    cut = tmp_path / "cut"
    _cut_into_segments(whole, cut, _samples(whole, arithmetic="sdk"))
    file, frames = FILES["visual"], _read(whole / FILES["visual"].name, 35)
    spans = {"[0]": (3, 6), "[1]": (0, 3)}
    entries = {}
    for video, (rows, times) in frames.items():
        for number, (start, end) in spans.items():
            inside = (times[:, 0] >= start) & (times[:, 1] <= end)
            entries[video + number] = Entry(rows[inside], times[inside])
    _write(cut, file._replace(name=f"{file.root_name}.csd"), entries)
    found, expected = _samples(cut), _samples(whole)
    for key, sample in expected.items():
        np.testing.assert_array_equal(found[key].features["visual"], sample.features["visual"])
    at_rate, direct = (_samples(at, alignment="none")["a[1]"] for at in (cut, whole))
    np.testing.assert_array_equal(at_rate.features["visual"], direct.features["visual"])


def test_a_segment_of_which_an_aligned_file_has_nothing_lacks_that_modality(whole, tmp_path):
    cut = tmp_path / "cut"
    samples = _samples(whole, arithmetic="sdk")
    _cut_into_segments(whole, cut, samples)
    path = cut / f"{FILES['visual'].root_name}.csd"
    entries = {k: e for k, e in _read(path, 35).items() if k != "a[1]"}
    _write(cut, FILES["visual"]._replace(name=path.name), entries)
    assert _samples(cut)["a[1]"].features["visual"] is None
    assert "a[1]" not in _samples(cut, incomplete="drop")
    assert "a[1]" not in _samples(cut, arithmetic="sdk")


def test_files_that_the_tool_has_cut_into_words_are_joined_by_video(tmp_path):
    words = [(n, n + 1) for n in range(12)]
    frames = [(0.25 * n, 0.25 * n + 0.25) for n in range(48)]
    folder = _one_video(tmp_path, words, frames, [(3, 12), (0, 3)], "a,b,c")
    expected = _samples(folder)
    for file in FILES.values():
        entries = {}
        for video, entry in _read(folder / file.name, file.width).items():
            for n, (start, end) in enumerate(words):
                inside = (entry.intervals[:, 0] >= start) & (entry.intervals[:, 1] <= end)
                mean = entry.features[inside].mean(axis=0, keepdims=True)
                entries[f"{video}[{n}]"] = Entry(mean, np.array([[start, end]], float))
        _write(folder, file, entries)
    assert _same(_samples(folder), expected)
    assert _same(_samples(folder, arithmetic="sdk"), expected)


def test_words_are_not_taken_for_segments(whole, tmp_path):
    cut = tmp_path / "cut"
    samples = _samples(whole, arithmetic="sdk")
    _cut_into_segments(whole, cut, samples)
    path = cut / f"{FILES['audio'].root_name}.csd"
    entries = _read(path, 74)
    entries["a[0]"], entries["a[1]"] = entries["a[1]"], entries["a[0]"]
    _write(cut, FILES["audio"]._replace(name=path.name), entries)
    with pytest.raises(InputError, match=r"COVAREP.csd \[a\[0\]\]: expected time in the segment"):
        _samples(cut)


def test_a_label_entry_of_several_segments_among_numbered_ones_is_refused(whole, tmp_path):
    cut = tmp_path / "cut"
    _cut_into_segments(whole, cut, _samples(whole, arithmetic="sdk"))
    path = cut / "All Labels.csd"
    entries = _read(path, 7)
    entries["b[0]"] = Entry(*(np.concatenate([part, part]) for part in entries["b[0]"]))
    _write(cut, LABELS._replace(name=path.name), entries, list(LABEL_COLUMNS))
    with pytest.raises(InputError, match=r"b\[0\]\]: expected one row, the segment's, found 2"):
        _samples(cut)
