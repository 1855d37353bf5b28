"""New files to be scored: what they are, and their samples a few at a time.

A corpus's official files are read as training read them, by the corpus's own reader. That takes
labels and splits where the reader does. Whoever has none gives a sample table, or a Parquet file
with a column per modality (a list of steps, which are lists of numbers; null where it is absent),
those for persons if the model knows any (`registry/told_persons.py`) and, if wanted, `sample_id`,
each once, and `group_id`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from mmer.corpora.corpus import Ingestion, RawCorpus
from mmer.corpora.ingestion import aligned_table, open_corpus
from mmer.errors import InputError
from mmer.registry.predictor import Predictor, shortened
from mmer.registry.requests import (
    ReadRow,
    check_info,
    check_names,
    columns_of,
    read_row,
    samples_of_rows,
)
from mmer.registry.told_persons import check_columns
from mmer.samples.batches import Samples
from mmer.samples.streaming import in_parts
from mmer.samples.table import SPLITS, SampleTable
from mmer.schema import Record

_ROWS = 64
_ID, _GROUP = "sample_id", "group_id"
_GENERIC = (
    "Without labels or splits: give a sample table (.arrow), or a Parquet file with a column per "
    "modality."
)


class NewFiles(Record):
    """What the user wants scored.

    Attributes:
        raw: Sample tables (.arrow), Parquet files, and whatever else is the corpus's own.
    """

    raw: tuple[RawCorpus, ...]


class NewFile(Record):
    """A file of samples that can be read a few at a time.

    Attributes:
        source: The file that the user named.
        path: Where its samples are.
        rows: How many.
    """

    source: Path
    path: Path
    kind: Literal["table", "parquet"]
    rows: int


class NewSamples(Record):
    """Everything that is to be scored.

    Attributes:
        synthetic: True if no real recording stands behind some of it, as far as is known.
    """

    corpus: str
    files: tuple[NewFile, ...]
    synthetic: bool

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)


@dataclass(frozen=True)
class Part:
    """Some samples of a file.

    Attributes:
        samples: All of them; those that cannot be read have no modality.
        group_ids: None where they are not known.
        faults: Position -> why the sample there cannot be read.
    """

    source: Path
    samples: Samples
    group_ids: list[str | None]
    faults: dict[int, str]


def opened(
    new: NewFiles, predictor: Predictor, corpus: str, settings: Ingestion, workspace: Path
) -> NewSamples:
    """Open and check the files; the corpus's own are aligned, or found aligned.

    Raises:
        InputError: A file cannot be read, or its modalities are not those of the model.
    """
    files, synthetic = [], False
    for raw in new.raw:
        if raw.path.suffix == ".arrow":
            tables = [SampleTable(raw.path)]
        elif raw.path.suffix == ".parquet" and raw.path.is_file():
            files.append(_parquet(raw.path, predictor))
            continue
        else:
            tables = _official(corpus, raw, settings, workspace)
        for table in tables:
            check_info(predictor, table.info, table.path)
            synthetic |= table.info.synthetic
            told = {"source": raw.path, "path": table.path, "rows": len(table)}
            files.append(NewFile(kind="table", **told))
    return NewSamples(corpus=corpus, files=tuple(files), synthetic=synthetic)


def parts(new: NewSamples, predictor: Predictor) -> Iterator[Part]:
    """The samples, a few at a time, file by file."""
    for file in new.files:
        yield from _table_parts(file) if file.kind == "table" else _parquet_parts(file, predictor)


def _official(
    corpus: str, raw: RawCorpus, settings: Ingestion, workspace: Path
) -> list[SampleTable]:
    try:
        manifest = open_corpus(corpus, raw, settings)
        return [aligned_table(manifest, split, workspace) for split in SPLITS]
    except InputError as error:
        remedy = " ".join(filter(None, [error.remedy, _GENERIC]))
        told = error.where, error.key, error.expected, error.found, remedy
        raise type(error)(*told) from error


def _parquet(path: Path, predictor: Predictor) -> NewFile:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(path, "", "a Parquet file", error) from error
    there = file.schema_arrow.names
    info = predictor.table_info
    check_names(there, (*columns_of(info), _ID, _GROUP), path)
    names = [name for name in there if name in info.modalities]
    rows = file.metadata.num_rows
    if not rows or not names:
        raise InputError(path, "", "samples with a column per modality", f"{rows} rows of {names}")
    if info.persons:
        check_columns(path, there, info.modalities)
    if _ID in there:
        _check_ids(file, path)
    return NewFile(source=path, path=path, kind="parquet", rows=rows)


def _check_ids(file: pq.ParquetFile, path: Path) -> None:
    seen: set[str] = set()
    for batch in file.iter_batches(columns=[_ID]):
        for name in batch[_ID].to_pylist():
            if name is None:
                expected, remedy = "a name for each sample", f"Or leave the column {_ID} out."
                raise InputError(path, _ID, expected, f"none in row {len(seen)}", remedy)
            if str(name) in seen:
                expected = "a name of its own for each sample"
                raise InputError(path, _ID, expected, f"{shortened(str(name))} again")
            seen.add(str(name))


def _table_parts(file: NewFile) -> Iterator[Part]:
    for rows, samples in in_parts(SampleTable(file.path), _ROWS):
        yield Part(file.source, samples, rows[_GROUP].to_pylist(), {})


def _parquet_parts(file: NewFile, predictor: Predictor) -> Iterator[Part]:
    at, info = 0, predictor.table_info
    for batch in pq.ParquetFile(file.path).iter_batches(batch_size=_ROWS):
        there = batch.schema.names
        told = {name: batch[name].to_pylist() for name in (_ID, _GROUP) if name in there}
        ids = tuple(str(name) for name in told.get(_ID, range(at, at + batch.num_rows)))
        columns = {name: batch[name].to_pandas() for name in columns_of(info) if name in there}
        rows: list[ReadRow] = []
        faults: dict[int, str] = {}
        for n, name in enumerate(ids):
            row = {column: cells.iloc[n] for column, cells in columns.items()}
            try:
                rows.append(read_row(f"sample {name}", row, info))
            except InputError as error:
                faults[n] = str(error)
                rows.append(read_row(f"sample {name}", {}, info))
        samples = samples_of_rows(info, rows, ids)
        groups = told.get(_GROUP, [None] * len(ids))
        named = [None if name is None else str(name) for name in groups]
        yield Part(file.source, samples, named, faults)
        at += batch.num_rows
