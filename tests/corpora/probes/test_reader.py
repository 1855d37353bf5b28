"""The Parquet reader: what it takes, and what it refuses with row and column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmer.corpora.corpus import CorpusSource, Manifest, RawCorpus
from mmer.corpora.ingestion import aligned_table, open_corpus
from mmer.corpora.probes import ParquetOptions, ProbeIngestion, read_parquet
from mmer.corpora.probes.reader import FILE
from mmer.errors import InputError
from mmer.samples.table import Sample, Split

Columns = dict[str, Any]
OPTIONS = ParquetOptions(labels=("joy", "fear"), modalities=("voice", "face"))


def columns() -> Columns:
    """Seven samples; the last row lacks a modality."""
    rng = np.random.default_rng(1)
    steps = [3, 2, 4, 1, 2, 3, 2]
    return {
        "sample_id": [f"s{i}" for i in range(7)],
        "split": ["train", "train", "train", "valid", "valid", "test", "test"],
        "group_id": ["a", "a", "b", "c", "c", "d", "e"],
        "labels": [["joy"], [], ["fear", "joy"], ["joy"], ["fear"], [], ["fear"]],
        "voice": [rng.normal(size=(n, 3)).tolist() for n in steps],
        "face": [*(rng.normal(size=(n, 2)).tolist() for n in steps[:-1]), None],
    }


def write(folder: Path, given: Columns | pa.Table) -> Path:
    folder.mkdir(exist_ok=True)
    table = given if isinstance(given, pa.Table) else pa.table(given)
    pq.write_table(table, folder / FILE, row_group_size=2, write_page_checksum=True)
    return folder


def samples(source: CorpusSource) -> list[Sample]:
    """All samples of all splits."""
    return [one for split in source.groups for one in source.read(split, source.groups[split])]


def read(folder: Path, given: Columns | pa.Table, **options: Any) -> list[Sample]:
    return samples(read_parquet(write(folder, given), OPTIONS.model_copy(update=options)))


def open_and_align(folder: Path, splits: tuple[Split, ...] = ("train",)) -> Manifest:
    settings = ProbeIngestion(parquet=OPTIONS, zeros_are_absent=False)
    manifest = open_corpus("probe_mean", RawCorpus(path=folder), settings)
    for split in splits:
        aligned_table(manifest, split, folder.parent / "tables")
    return manifest


def test_every_row_is_a_sample(tmp_path) -> None:
    given = columns()
    source = read_parquet(write(tmp_path / "raw", given), OPTIONS)
    assert source.labels == ("joy", "fear")
    assert {m: f.width for m, f in source.features.items()} == {"voice": 3, "face": 2}
    assert source.files == (tmp_path / "raw" / FILE,)
    assert source.groups == {"train": ("a", "a", "b"), "valid": ("c", "c"), "test": ("d", "e")}
    found = samples(source)
    assert [one.sample_id for one in found] == given["sample_id"]
    assert [one.labels.tolist() for one in found][:3] == [[1, 0], [0, 0], [1, 1]]
    for row, one in enumerate(found):
        for modality in OPTIONS.modalities:
            rows = one.features[modality]
            if given[modality][row] is None:
                assert rows is None
            else:
                assert rows.dtype == np.float32
                np.testing.assert_array_equal(rows, np.float32(given[modality][row]))
    assert [one.sample_id for one in source.read("train", ["b"])] == ["s2"]
    one = read_parquet(tmp_path / "raw" / FILE, OPTIONS)
    assert one.groups == source.groups


def test_tables_hold_what_was_written(tmp_path) -> None:
    given = columns()
    given["voice"][0][0] = [0.0, 0.0, 0.0]
    manifest = open_and_align(write(tmp_path / "raw", given))
    table = aligned_table(manifest, "train", tmp_path / "tables").arrow()
    assert table["sample_id"].to_pylist() == ["s0", "s1", "s2"]
    assert table["labels"].to_pylist() == [[1, 0], [0, 0], [1, 1]]
    assert table["voice"].to_pylist() == [np.float32(rows).tolist() for rows in given["voice"][:3]]
    assert aligned_table(manifest, "test", tmp_path / "tables").arrow()["face"][1].as_py() is None


@pytest.mark.parametrize("kind", [pa.large_list(pa.large_list(pa.float64())), "fixed", "halves"])
def test_other_types_of_the_same_content(kind, tmp_path) -> None:
    given = columns()
    expected = read(tmp_path, {**given, "voice": pa.array(np_rounded(given["voice"]))})
    if kind == "fixed":
        kind = pa.list_(pa.list_(pa.float32(), 3))
    elif kind == "halves":
        kind = pa.list_(pa.list_(pa.float16()))
    voice = pa.array(np_rounded(given["voice"])).cast(kind)
    text = pa.array(given["split"]).dictionary_encode()
    found = read(tmp_path, {**given, "voice": voice, "split": text})
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.features["voice"], other.features["voice"])


def np_rounded(rows: list) -> list:
    """To what half precision holds."""
    return [np.float16(one).astype(float).tolist() for one in rows]


def test_times_and_words_and_columns_that_are_not_read(tmp_path) -> None:
    given = columns()
    given |= {"start": [0.5] * 7, "end": [1, None, 2, 2, 2, 2, 2], "speaker": ["x"] * 7}
    given["words"] = [*(["a"] * len(rows) for rows in given["voice"][:-1]), None]
    source = read_parquet(write(tmp_path, given), OPTIONS)
    found = samples(source)
    assert [(one.start, one.end) for one in found[:2]] == [(0.5, 1.0), (0.5, None)]
    assert [one.words for one in found[3:]] == [["a"], ["a", "a"], ["a", "a", "a"], None]
    assert source.notes == ("columns that are not read: speaker",)


def test_modalities_of_their_own_length(tmp_path) -> None:
    given = columns()
    given["face"][0] = given["face"][0] * 2
    with pytest.raises(InputError, match=r"row 0\]: expected as many steps in each modality"):
        read(tmp_path, given)
    assert len(read(tmp_path, given, alignment="none")[0].features["face"]) == 6


def test_without_validation_some_training_groups_are_taken(tmp_path) -> None:
    given = columns()
    given["split"] = ["train"] * 5 + ["test"] * 2
    manifest = open_and_align(write(tmp_path / "raw", given))
    assert len(manifest.splits["valid"]) == 1
    assert len(manifest.splits["train"]) == 2


def changed(column: str, row: int, value: object) -> Callable[[Columns], None]:
    def change(given: Columns) -> None:
        given[column][row] = value

    return change


def replaced(column: str, value: object) -> Callable[[Columns], None]:
    def change(given: Columns) -> None:
        given[column] = value

    return change


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda c: c.pop("face"), r"\[face\]: expected one column of that name, found 0 among"),
        (lambda c: c.pop("labels"), r"\[labels\]: expected one column"),
        (changed("face", 2, [[1, 2], [3], [4, 5], [6, 7]]), r"row 2, face\]: expected steps of 2"),
        (changed("face", 4, [[1, 2, 3]] * 2), r"row 4, face\]: expected steps of 2 .*found 3, 3"),
        (changed("face", 4, []), r"row 4, face\]: expected steps of 2 numbers, or null.*no step"),
        (changed("face", 4, [[1, 2], None]), r"row 4, face\]: expected steps of 2"),
        (changed("face", 4, [[1, 2], [3, None]]), r"row 4, face, step 1\]: expected finite"),
        (changed("voice", 5, [[1, 2, 3], [np.nan] * 3]), r"row 5, voice, step 1\]: .*finite"),
        (changed("voice", 5, [[1, 2, 1e300]]), r"row 5, voice, step 0\]: expected finite numbers"),
        (replaced("face", [None] * 7), r"\[face\]: expected a sample that has it"),
        (replaced("face", ["a"] * 7), r"\[face\]: expected a column of lists of steps"),
        (replaced("face", [[1.0]] * 7), r"\[face\]: expected a column of lists of steps"),
        (changed("labels", 3, ["joy", "Fear"]), r"row 3, labels\]: expected some of joy, fear,.*F"),
        (changed("labels", 3, ["joy", "joy"]), r"row 3, labels\]: expected each label once"),
        (changed("labels", 3, [None]), r"row 3, labels\]: expected some of joy, fear, found None"),
        (changed("labels", 3, None), r"row 3, labels\]: expected a list of labels"),
        (replaced("labels", [1] * 7), r"\[labels\]: expected a column of lists of text"),
        (changed("sample_id", 3, "s1"), r"\[sample_id\]: expected each sample once, found 's1' 2"),
        (changed("sample_id", 3, None), r"row 3, sample_id\]: expected a name, found None"),
        (changed("group_id", 3, None), r"row 3, group_id\]: expected a name"),
        (replaced("group_id", [b"\xff"] * 7), r"\[group_id\]: expected a column of text"),
        (changed("split", 3, "dev"), r"row 3, split\]: expected one of train, valid, test"),
        (replaced("split", ["train"] * 7), r"\[split\]: expected samples of train and of test"),
        (replaced("start", [np.inf] * 7), r"row 0, start\]: expected seconds, or null"),
        (replaced("end", ["soon"] * 7), r"\[end\]: expected a column of numbers"),
        (replaced("words", [["a"]] * 7), r"row 0, words\]: expected a word for each step of voice"),
        (replaced("words", [["a", None, "b"]] * 7), r"row 0, words\]: expected a word for each"),
    ],
)
def test_faults_are_named(fault, message, tmp_path) -> None:
    given = columns()
    fault(given)
    with pytest.raises(InputError, match=message):
        read(tmp_path, given)


def test_a_group_in_two_splits_is_refused(tmp_path) -> None:
    given = columns()
    given["group_id"][5] = "a"
    with pytest.raises(InputError, match=r"splits train and test.*: expected no group in both"):
        open_and_align(write(tmp_path / "raw", given))


def test_two_columns_of_one_name_are_refused(tmp_path) -> None:
    table = pa.table(columns())
    with pytest.raises(InputError, match="one column of that name, found 2"):
        read(tmp_path, table.append_column("face", table["face"]))


def test_text_that_is_none_is_refused(tmp_path) -> None:
    table = pa.table(columns())
    broken = pa.StringArray.from_buffers(7, *pa.array([b"\xff"] * 7).buffers()[1:])
    at = table.column_names.index("group_id")
    with pytest.raises(InputError):
        read(tmp_path, table.set_column(at, "group_id", broken))


def test_what_is_no_file_of_samples_is_refused(tmp_path) -> None:
    with pytest.raises(InputError):
        read_parquet(tmp_path, OPTIONS)
    whole = (write(tmp_path, columns()) / FILE).read_bytes()
    for content in (b"", b"no Parquet", whole[:-200], whole[: len(whole) // 2] + whole[-8:]):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(InputError, match="a whole Parquet file"):
            read_parquet(tmp_path, OPTIONS)


def test_changed_bytes_are_refused_or_change_nothing(tmp_path) -> None:
    """In processes of their own, as in a run: none ends in anything but a refusal."""
    whole = (write(tmp_path / "raw", columns()) / FILE).read_bytes()
    rng, refused = np.random.default_rng(1), 0
    for _ in range(12):
        broken = bytearray(whole)
        broken[rng.integers(len(broken))] ^= 1 << int(rng.integers(8))
        (tmp_path / "raw" / FILE).write_bytes(broken)
        try:
            open_and_align(tmp_path / "raw")
        except InputError:
            refused += 1
    assert refused > 4
