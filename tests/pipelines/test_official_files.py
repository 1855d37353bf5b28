"""CMU-MOSEI's computational sequences as people have them, read by `kedro run`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmer.corpora.mosei.csd import FILES, LABELS, CsdOptions, SequenceFile, read_csd
from mmer.formats.csd import Entry, write_csd
from mmer.samples.table import SPLITS, Sample, SampleTable

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
import look_alikes

Rows = dict[str, dict]
CURRENT = ("sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear")
OLD = ("sentiment", "anger", "disgust", "fear", "happy", "sad", "surprise")


@pytest.fixture
def read(fresh, run_in, monkeypatch) -> Callable[..., tuple[Rows, SampleTable]]:
    """Sample id -> row, and one of the tables, that `kedro run` makes of a folder."""

    def run(folder: Path, **options: object) -> tuple[Rows, SampleTable]:
        monkeypatch.chdir(fresh)
        ingestion = {"reader": "csd", "csd": {"folds": "folds.json", **options}}
        params = {"mosei_files": str(folder), "mosei": {"ingestion": ingestion}}
        run_in(fresh, "train_mosei", params=params, tags=["ingestion", "alignment"])
        paths = (fresh / f"data/03_primary/test/mosei/{split}.arrow" for split in SPLITS)
        tables = [SampleTable(path) for path in paths]
        rows = {row["sample_id"]: row for table in tables for row in table.arrow().to_pylist()}
        return rows, tables[0]

    return run


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two segments of each of four videos; no emotion is where another is."""
    look_alikes.write_csd_folder(tmp_path, np.random.default_rng(3))
    happy_to_fear = [[3, 0, 0, 0, 2, 1], [0, 1, 0, 0, 3, 0], [0, 0, 2, 0, 0, 1], [0, 0, 0, 1, 0, 0]]
    emotions = np.array(happy_to_fear * 2, np.float32).reshape(4, 2, 6)
    labels = {
        key: entry._replace(features=np.pad(values, ((0, 0), (1, 0))))
        for (key, entry), values in zip(_labels(tmp_path).items(), emotions, strict=True)
    }
    _rewrite(LABELS, tmp_path, labels, list(CURRENT))
    return tmp_path


def _entries(file: SequenceFile, folder: Path) -> dict[str, Entry]:
    with file.open(folder) as opened:
        return {key: opened.read(key) for key in opened.ids}


def _rewrite(file: SequenceFile, folder: Path, entries: dict[str, Entry], names: object) -> None:
    rows = [(key, *entry) for key, entry in entries.items()]
    write_csd(folder / file.name, file.root_name, rows, "", names)


def _rewrite_labels(
    folder: Path, order: tuple[str, ...], names: object, scale: float = 1.0
) -> None:
    """The label file, its columns in this order, and what it says that they are."""
    columns = [CURRENT.index(name) for name in order]
    entries = {
        key: entry._replace(features=(scale * entry.features[:, columns]).astype(np.float32))
        for key, entry in _labels(folder).items()
    }
    _rewrite(LABELS, folder, entries, names)


def _labels(folder: Path) -> dict[str, Entry]:
    return _entries(LABELS, folder)


def _in_process(folder: Path) -> dict[str, Sample]:
    source = read_csd(folder, CsdOptions(folds="folds.json"))
    return {s.sample_id: s for split in SPLITS for s in source.read(split, source.groups[split])}


def _label_rows(samples: dict[str, Sample]) -> dict[str, list[int]]:
    return {key: sample.labels.tolist() for key, sample in samples.items()}


def test_the_label_order_of_older_releases(read, folder):
    expected = _label_rows(_in_process(folder))
    _rewrite_labels(folder, OLD, None)
    rows, _ = read(folder, label_columns=list(OLD))
    assert {key: row["labels"] for key, row in rows.items()} == expected


def test_label_names_as_a_printed_list_and_intensities_out_of_range(read, folder, fresh):
    expected = _label_rows(_in_process(folder))
    printed = str([{"happy": "happiness"}.get(name, name) for name in OLD])
    _rewrite_labels(folder, OLD, printed, scale=10 / 9)
    rows, _ = read(folder, label_tolerance=0.34)
    assert {key: row["labels"] for key, row in rows.items()} == expected
    manifest = json.loads(
        (fresh / "data/02_intermediate/test/mosei/manifest.json").read_text(encoding="utf-8")
    )
    notes = " ".join(manifest["notes"])
    assert "4 values out of range by at most 0.34 (label_tolerance) were clamped" in notes
    assert "labelled segments: train 4, valid 2, test 2" in notes


def test_unaligned_frames_and_what_the_table_says_of_them(read, folder):
    rates = {"visual": 2, "audio": 4}
    rows, table = read(folder, alignment="none", frames_per_second=rates, max_frames=8)
    assert table.info.alignment == "none"
    assert table.info.features["visual"].name == "FACET 4.2, 2 steps per second"
    assert table.info.reading["frames_per_second"] == rates
    # Segments of three seconds, of which eight steps of COVAREP are two: the last, of all three.
    assert {len(row["visual"]) for row in rows.values()} == {4}
    assert {len(row["audio"]) for row in rows.values()} == {8}
    assert {len(row["text"]) for row in rows.values()} == {2}


def _cut(folder: Path, samples: dict[str, Sample], to: Path) -> Path:
    """Samples as the corpus's tool writes them after its alignment."""
    to.mkdir()
    (to / "folds.json").write_text((folder / "folds.json").read_text())
    labels = {}
    for key, sample in samples.items():
        entry, number = _labels(folder)[sample.group_id], int(key[:-1].split("[")[1])
        labels[key] = Entry(entry.features[[number]], entry.intervals[[number]])
    _rewrite(LABELS._replace(name="All Labels.csd"), to, labels, list(CURRENT))
    for modality, file in FILES.items():
        entries = {}
        for key, sample in samples.items():
            words = np.arange(len(sample.features["text"]))[:, None] + sample.start + [0, 1]
            entries[key] = Entry(sample.features[modality], words)
        _rewrite(file._replace(name=f"{file.root_name}.csd"), to, entries, None)
    return to


def test_files_that_the_corpuss_tool_has_aligned(read, folder):
    expected = _in_process(folder)
    rows, table = read(_cut(folder, expected, folder / "final_aligned"), arithmetic="sdk")
    assert table.info.reading["arithmetic"] == "sdk"
    assert set(rows) == set(expected)
    for key, sample in expected.items():
        assert (rows[key]["start"], rows[key]["end"]) == (sample.start, sample.end)
        assert rows[key]["labels"] == sample.labels.tolist()
        for modality in FILES:
            features = sample.features[modality]
            assert rows[key][modality] == np.where(np.isfinite(features), features, 0).tolist()
