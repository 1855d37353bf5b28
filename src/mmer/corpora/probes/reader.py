"""Samples in a Parquet file, one row each, whatever the labels and modalities.

Columns
    sample_id     string, each once
    split         string: train, valid or test; without valid, validation takes groups of training
    group_id      string: what must not stand in two splits (a video, a dialogue)
    <modality>    list<list<float>>, (T, D) features of the true length; null if it is absent
    labels        list<string>, names of the labels that are present
    start, end    float seconds, or null; both columns may be missing
    words         list<string>, one for each step of the first modality, or null; may be missing

A simple way in for samples that somebody has already: `pandas.DataFrame.to_parquet` or
`pyarrow.parquet.write_table` write it. It is read row group by row group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mmer.corpora.corpus import CorpusSource, LabelNames
from mmer.corpora.probes.probe import LABELS, MODALITIES
from mmer.errors import InputError
from mmer.formats.plain import describe
from mmer.samples.table import SPLITS, Features, Sample, Split
from mmer.schema import Settings

FILE = "samples.parquet"
_TEXT, _TEXTS, _SECONDS = pa.string(), pa.list_(pa.string()), pa.float64()
_NEEDED = {"sample_id": _TEXT, "split": _TEXT, "group_id": _TEXT, "labels": _TEXTS}
_OPTIONAL = {"start": _SECONDS, "end": _SECONDS, "words": _TEXTS}
_STEPS = pa.list_(pa.list_(pa.float32()))
_KINDS = {
    _TEXT: "text",
    _TEXTS: "lists of text",
    _SECONDS: "numbers",
    _STEPS: "lists of steps, each a list of numbers",
}


class ParquetOptions(Settings):
    """How a file of samples is read.

    Attributes:
        labels: Names that may stand in the file, in the order of the table's columns.
        modalities: Columns that hold features, in the order in which modalities stand everywhere.
        alignment: What the steps are, as of `TableInfo`; "none" if modalities do not share them.
    """

    labels: LabelNames[str] = LABELS
    modalities: LabelNames[str] = MODALITIES
    alignment: Literal["word", "utterance", "none"] = "word"


@dataclass(frozen=True)
class _Index:
    """What is kept of the file's rows while it is open: all but features and words."""

    sample_ids: list[str]
    splits: list[Split]
    group_ids: list[str]
    labels: np.ndarray  # (N, L)
    times: list[tuple[float | None, float | None]]
    first_rows: list[int]  # of each row group, and behind the last


def read_parquet(path: Path, options: ParquetOptions) -> CorpusSource:
    """Open `samples.parquet`, or the file of that name in a folder; offer a sample per row.

    Features and words of a row are looked at when its sample is read.

    Raises:
        InputError: The file is missing, damaged, or not as the module describes; a column is
            missing, a sample's id stands twice, a label or a split is unknown; later, naming row
            and column: steps differ in width or number, or hold what is no finite number.
    """
    path = path / FILE if path.is_dir() else path
    with _opened(path) as file:
        _check_columns(path, file.schema_arrow, options)
        index = _index(path, file, options)
        features = {m: Features(name=m, width=_width(path, file, m)) for m in options.modalities}
        unread = sorted(set(file.schema_arrow.names) - {*_columns(options)})
    rows = np.array(index.splits)
    splits: tuple[Split, ...] = tuple(split for split in SPLITS if (rows == split).any())
    if missing := {"train", "test"} - set(splits):
        raise InputError(path, "split", "samples of train and of test", f"none of {min(missing)}")
    return CorpusSource(
        labels=options.labels,
        features=features,
        alignment=options.alignment,
        files=(path,),
        groups={s: tuple(np.array(index.group_ids)[rows == s].tolist()) for s in splits},
        read=partial(_samples, path, options, index, features),
        notes=(f"columns that are not read: {', '.join(unread)}",) if unread else (),
    )


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """The file; whatever the library has against it or its content is an InputError."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise InputError(path, "", "a whole Parquet file", describe(str(error))) from error


def _columns(options: ParquetOptions) -> dict[str, pa.DataType]:
    """Every column that is read, and what it is read as."""
    return {**_NEEDED, **_OPTIONAL, **dict.fromkeys(options.modalities, _STEPS)}


def _check_columns(path: Path, schema: pa.Schema, options: ParquetOptions) -> None:
    for name in _columns(options):
        count = schema.names.count(name)
        if count > 1 or (count == 0 and name not in _OPTIONAL):
            names = ", ".join(map(describe, schema.names[:20]))
            raise InputError(path, name, "one column of that name", f"{count} among {names}")


def _index(path: Path, file: pq.ParquetFile, options: ParquetOptions) -> _Index:
    wanted = ("sample_id", "split", "group_id", "labels", "start", "end")
    table = file.read([n for n in wanted if n in file.schema_arrow.names], use_threads=False)
    names = {name: _values(path, table, name) for name in ("sample_id", "split", "group_id")}
    for name, values in names.items():
        for row, value in enumerate(values):
            if value is None or (name == "split" and value not in SPLITS):
                expected = f"one of {', '.join(SPLITS)}" if name == "split" else "a name"
                raise InputError(path, f"row {row}, {name}", expected, describe(value))
    for sample_id, times in Counter(names["sample_id"]).most_common(1):
        if times > 1:
            found = f"{describe(sample_id)} {times} times"
            raise InputError(path, "sample_id", "each sample once", found)
    groups = file.metadata.num_row_groups
    counts = [file.metadata.row_group(number).num_rows for number in range(groups)]
    return _Index(
        sample_ids=names["sample_id"],
        splits=names["split"],
        group_ids=names["group_id"],
        labels=_label_sets(path, _values(path, table, "labels"), options.labels),
        times=list(zip(_times(path, table, "start"), _times(path, table, "end"), strict=True)),
        first_rows=np.cumsum([0, *counts]).tolist(),
    )


def _label_sets(path: Path, rows: list[list[str | None] | None], known: tuple[str, ...]) -> Any:
    """(N, L), 0 or 1."""
    sets = np.zeros((len(rows), len(known)), np.uint8)
    column = {name: number for number, name in enumerate(known)}
    for row, names in enumerate(rows):
        if names is None:
            raise InputError(path, f"row {row}, labels", "a list of labels, empty if none", "null")
        for name in names:
            if name not in column:
                expected, remedy = ", ".join(known), "Name all in the option `labels`."
                where = f"row {row}, labels"
                raise InputError(path, where, f"some of {expected}", describe(name), remedy)
            sets[row, column[name]] += 1
        if (sets[row] > 1).any():
            found = ", ".join(map(str, names))
            raise InputError(path, f"row {row}, labels", "each label once", found)
    return sets


def _times(path: Path, table: pa.Table, name: str) -> list[float | None]:
    if name not in table.column_names:
        return [None] * len(table)
    seconds = _values(path, table, name)
    for row, value in enumerate(seconds):
        if value is not None and not np.isfinite(value):
            raise InputError(path, f"row {row}, {name}", "seconds, or null", value)
    return seconds


def _values(path: Path, table: pa.Table, name: str) -> list[Any]:
    """A column as Python holds it, once it is what it should be."""
    return _column(path, table, name, {**_NEEDED, **_OPTIONAL}[name]).to_pylist()


def _column(path: Path, table: pa.Table, name: str, kind: pa.DataType) -> pa.Array:
    """A column in one piece, checked to be what its lengths and its text say, and cast."""
    column = table[name]
    column.validate(full=True)
    if column.type != kind and not pa.types.is_null(column.type):
        try:
            column = column.cast(kind)
        except pa.ArrowException as error:
            expected = f"a column of {_KINDS[kind]}"
            raise InputError(path, name, expected, describe(str(column.type))) from error
    return pa.concat_arrays([pa.array([], kind), *column.cast(kind).chunks])


def _width(path: Path, file: pq.ParquetFile, modality: str) -> int:
    """Width of the modality's first step; the others must have the same."""
    for number in range(file.metadata.num_row_groups):
        table = file.read_row_group(number, [modality], use_threads=False)
        steps = _column(path, table, modality, _STEPS).flatten()
        if width := pc.max(steps.slice(0, 1).value_lengths()).as_py():
            return width
    raise InputError(path, modality, "a sample that has it", "none")


def _samples(
    path: Path,
    options: ParquetOptions,
    index: _Index,
    features: dict[str, Features],
    split: Split,
    groups: Collection[str],
) -> Iterator[Sample]:
    """The samples of some groups of a split; row groups without any are not read."""
    ids, asked = zip(index.splits, index.group_ids, strict=True), set(groups)
    wanted = np.flatnonzero([own == split and group in asked for own, group in ids])
    with _opened(path) as file:
        names = [n for n in (*options.modalities, "words") if n in file.schema_arrow.names]
        for number, first in enumerate(index.first_rows[:-1]):
            rows = wanted[(wanted >= first) & (wanted < index.first_rows[number + 1])]
            if not len(rows):
                continue
            table = file.read_row_group(number, names, use_threads=False).take(rows - first)
            arrays = {m: _arrays(path, table, m, features[m].width, rows) for m in features}
            words = _values(path, table, "words") if "words" in names else [None] * len(rows)
            for at, row in enumerate(rows.tolist()):
                own = {modality: arrays[modality][at] for modality in arrays}
                _check_lengths(path, options, row, own, words[at])
                start, end = index.times[row]
                yield Sample(
                    sample_id=index.sample_ids[row],
                    group_id=index.group_ids[row],
                    features=own,
                    labels=index.labels[row],
                    start=start,
                    end=end,
                    words=words[at],
                )


def _arrays(
    path: Path, table: pa.Table, modality: str, width: int, rows: np.ndarray
) -> list[np.ndarray | None]:
    """(T, D) of each row, None where the modality is absent; messages name the file's `rows`."""
    arrays: list[np.ndarray | None] = []
    column = _column(path, table, modality, _STEPS)
    for row, steps in zip(rows, column, strict=True):
        if not steps.is_valid:
            arrays.append(None)
            continue
        widths = steps.values.value_lengths().to_pylist()
        if not widths or set(widths) != {width}:
            expected = f"steps of {width} numbers, or null if it is absent"
            found = ", ".join(map(str, widths[:20])) or "no step"
            raise InputError(path, f"row {row}, {modality}", expected, found)
        values = steps.values.flatten()
        numbers = values.to_numpy(zero_copy_only=False).reshape(-1, width)
        if values.null_count or not np.isfinite(numbers).all():
            step = int(np.flatnonzero(~np.isfinite(numbers).all(axis=1))[0])
            expected = "finite numbers"
            raise InputError(
                path, f"row {row}, {modality}, step {step}", expected, "one that is not"
            )
        arrays.append(numbers)
    return arrays


def _check_lengths(
    path: Path,
    options: ParquetOptions,
    row: int,
    features: dict[str, np.ndarray | None],
    words: list[str] | None,
) -> None:
    steps = {m: len(rows) for m, rows in features.items() if rows is not None}
    if options.alignment != "none" and len(set(steps.values())) > 1:
        expected = f"as many steps in each modality (alignment: {options.alignment})"
        raise InputError(path, f"row {row}", expected, steps)
    if words is not None and (None in words or len(words) != steps.get(options.modalities[0])):
        expected = f"a word for each step of {options.modalities[0]}, or null"
        raise InputError(path, f"row {row}, words", expected, f"{len(words)} words")
