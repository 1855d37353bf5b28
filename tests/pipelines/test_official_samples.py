"""Files that are already cut into samples, in their exact layout, read by `kedro run`."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mmer.corpora.m3ed.reader import FILES
from mmer.samples.table import SPLITS, SampleTable

OLD_COLUMNS = ("sentiment", "anger", "disgust", "fear", "happy", "sad", "surprise")
EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
STEPS = 50


@pytest.fixture
def read(fresh, run_in, monkeypatch) -> Callable[..., dict[str, SampleTable]]:
    """The tables that `kedro run` makes."""

    def run(corpus: str, **params: Any) -> dict[str, SampleTable]:
        monkeypatch.chdir(fresh)
        run_in(fresh, f"train_{corpus}", params=params, tags=["ingestion", "alignment"])
        folder = fresh / f"data/03_primary/test/{corpus}"
        return {split: SampleTable(folder / f"{split}.arrow") for split in SPLITS}

    return run


def _rows(table: SampleTable) -> dict[str, dict]:
    return {row["sample_id"]: row for row in table.arrow().to_pylist()}


def _tensors(rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """What `get_tensors(50, ["All Labels"], False, folds)` returns, and the names beside it."""
    folds = []
    for split in SPLITS:
        lengths = (3, 60, 12, 1)
        fold: dict[str, np.ndarray] = {}
        for name, width in (("glove_vectors", 300), ("FACET 4.2", 35), ("COAVAREP", 74)):
            padded = []
            for length in lengths:
                rows = rng.normal(size=(length, width))
                rows[-1, 0] = -np.inf if name == "COAVAREP" else 1
                padded.append(np.concatenate([np.zeros((STEPS, width)), rows])[-STEPS:])
            fold[name] = np.array(padded)
        labels = [[-1, 1, 2, 3, 0, 0, 0], [0] * 7, [0, 0, 0, 0, 3, 1, 0], [9, 0, 3, 0, 0, 0, 1]]
        fold["All Labels"] = np.array(labels)[:, None] / 3
        ids = [[f"{split}_a[{i}]"] for i in range(3)] + [[f"{split}_b[0]"]]
        fold["All Labels id"] = np.array(ids, "S")
        folds.append(fold)
    return folds


def test_the_tensors_of_the_corpuss_tool(read, tmp_path):
    folds = _tensors(np.random.default_rng(1))
    (tmp_path / "tensors.pkl").write_bytes(pickle.dumps(folds))
    options = {"label_columns": list(OLD_COLUMNS)}
    ingestion = {"reader": "tensors_pkl", "tensors_pkl": options}
    tables = read("mosei", mosei_files=str(tmp_path), mosei={"ingestion": ingestion})
    for split, fold in zip(SPLITS, folds, strict=True):
        rows = _rows(tables[split])
        assert list(rows) == [name.decode() for (name,) in fold["All Labels id"].tolist()]
        assert [r["group_id"] for r in rows.values()] == [f"{split}_a"] * 3 + [f"{split}_b"]
        assert [len(r["text"]) for r in rows.values()] == [3, 50, 12, 1]
        for i, row in enumerate(rows.values()):
            columns = [OLD_COLUMNS.index(emotion) for emotion in EMOTIONS]
            assert row["labels"] == (fold["All Labels"][i, 0, columns] > 0).tolist()
            expected = np.nan_to_num(fold["COAVAREP"][i, -len(row["audio"]) :], neginf=0)
            np.testing.assert_array_equal(row["audio"], expected.astype(np.float32))
            assert row["cleaned"] == [0, 0, 1]
    assert tables["train"].info.reading["label_columns"] == list(OLD_COLUMNS)


def _m3ed(rng: np.random.Generator, audio: int) -> list:
    """Ten objects of the official widths: dialogues `<series>_<number>`, of 2 and 70 utterances."""
    series = {"train": ("zhengfu", "anjia"), "valid": ("qihun",), "test": ("fendou",)}
    names = {s: [f"{name}_{d}" for name in series[s] for d in (1, 11)] for s in SPLITS}
    sizes = {name: 70 if name == "anjia_1" else 2 for s in SPLITS for name in names[s]}

    def each(make: Callable[[str, int], object]) -> OrderedDict:
        return OrderedDict((name, make(name, size)) for name, size in sizes.items())

    return [
        each(lambda name, size: [f"{name}_{u}" for u in range(1, size + 1)]),
        each(lambda name, size: [["A", "B"][u % 2] for u in range(size)]),
        each(lambda name, size: [(len(name) + u) % 7 for u in range(size)]),
        *(each(lambda name, size, w=w: rng.normal(size=(size, w))) for w in (768, audio, 342)),
        each(lambda name, size: ["你好"] * size),
        *names.values(),
    ]


@pytest.mark.parametrize("name", [FILES[0], FILES[-1]])
def test_one_of_m3eds_four_published_files(read, tmp_path, name):
    rng, contents = np.random.default_rng(1), {}
    for file in FILES:
        contents[file] = _m3ed(rng, 1582 if "IS10" in file else 1024)
        (tmp_path / file).write_bytes(pickle.dumps(contents[file]))
    ingestion = {"reader": "pkl", "pkl": {"file": name}}
    tables = read("m3ed", m3ed_file=str(tmp_path), m3ed={"ingestion": ingestion})
    content = contents[name]
    for split, dialogues in zip(SPLITS, content[7:], strict=True):
        rows = _rows(tables[split])
        assert list(rows) == dialogues
        for key, row in rows.items():
            assert row["group_id"] == key.split("_")[0]
            assert np.flatnonzero(row["labels"]).tolist() == sorted(set(content[2][key]))
            for modality, position in (("text", 3), ("audio", 4), ("visual", 5)):
                expected = content[position][key][:60].astype(np.float32)
                np.testing.assert_array_equal(row[modality], expected)
    for letter, features in zip("LVA", tables["train"].info.features.values(), strict=True):
        assert f"{letter}{features.name}" in name
