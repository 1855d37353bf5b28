"""The sample table: one Arrow table per split, one row per sample, whatever the corpus.

Columns
    sample_id     string
    group_id      string, what must never stand in two splits and what a bootstrap resamples
    start, end    float64 seconds, null if unknown
    <modality>    for each modality list<fixed_size_list<float32, D>> of the true length; null if it
                  is absent, and for no other reason (see `TableInfo.zeros_are_absent`)
    words         list<string>, what the steps of the first modality stand for; null if unknown
    labels        fixed_size_list<uint8, L>, 1 where the label is present
    cleaned       fixed_size_list<int32, M>, non-finite values replaced by 0 per modality
    all_zero      fixed_size_list<bool, M>, the source has steps of this modality and all are zero
                  (once cleaned); told also where they became null

Corpora with several persons have more:
    person        int32, the person whose labels these are (a row of `TableInfo.persons`)
    <modality>_person, <modality>_segment
                  list<int32>, whose each step is and in which segment of the conversation

Which modalities and labels there are, and what they mean, stands in the schema's metadata
(`TableInfo`) and nowhere in the code. The file is sealed (`samples/seal.py`): whoever uses its rows
has seen before that they are as they were written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from mmer.errors import InputError, printable
from mmer.files import atomic_file
from mmer.provenance import file_state
from mmer.samples import seal
from mmer.schema import Record

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
_METADATA_KEY = b"mmer"
_ROWS_PER_BATCH = 128
_REMEDY = "Run the alignment stage again."

# Files of this process's tables that have been found whole, as they are by now.
_found_whole: set[tuple[int, ...]] = set()


class Features(Record):
    """One modality's features: the extractor's name and the width D of a step."""

    name: str
    width: int


class Persons(Record):
    """P names, and of each person as many numbers that are known of them (personality)."""

    names: tuple[str, ...]
    traits: tuple[tuple[float, ...], ...]


class Origin(Record):
    """Where samples, and whatever is made of them, come from.

    Attributes:
        labels: L names, in the order of columns.
        synthetic: True if no real recording stands behind the numbers.
        fingerprint: Digest of sources, settings and code, common to the splits of a corpus: equal
            fingerprint and split, equal table.
        groups_known: False if the source does not say which samples belong together, so that each
            is a group of its own.
        bayes_optimal: Metric -> the best expected value of any system, where that is known; and
            perhaps that of micro-F1 with some modalities alone (`corpora.bayes_optimal`).
        one_label: Whether every sample has exactly one label.
    """

    corpus: str
    split: Split
    labels: tuple[str, ...]
    synthetic: bool
    fingerprint: str
    groups_known: bool = True
    bayes_optimal: dict[str, float] = Field(default={})
    one_label: bool = False


class TableInfo(Origin):
    """What a sample table holds and what it was made from.

    Attributes:
        features: Modality -> what its steps are, in the order in which modalities stand everywhere.
        alignment: "word" (the modalities share their steps), "utterance" (likewise, one step per
            utterance) or "none" (each modality has its own steps).
        persons: Of corpora with several persons.
        reading: The reader and its options, as JSON holds them.
        zeros_are_absent: Whether a modality that was zero throughout a sample is null.
    """

    features: dict[str, Features]
    alignment: Literal["word", "utterance", "none"]
    persons: Persons | None = None
    reading: dict[str, Any] = Field(default={})
    zeros_are_absent: bool = True

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.features)

    @property
    def widths(self) -> dict[str, int]:
        """Feature width D of each modality."""
        return {modality: features.width for modality, features in self.features.items()}


@dataclass
class Sample:
    """One row: a labelled segment of a video, or a dialogue.

    Features are (T_m, D_m) float32 of true length, None where the modality is absent. Values that
    are not finite may still be among them: `record_batches` replaces and counts them.

    In corpora with several persons, `person` is the one whose labels these are, and `step_persons`
    and `step_segments` say for each modality whose each of the T_m steps is and in which segment.
    """

    sample_id: str
    group_id: str
    features: dict[str, np.ndarray | None]
    labels: np.ndarray
    start: float | None = None
    end: float | None = None
    words: list[str] | None = None
    person: int | None = None
    step_persons: dict[str, np.ndarray] = field(default_factory=dict)
    step_segments: dict[str, np.ndarray] = field(default_factory=dict)


class SampleTable:
    """A sample table in an Arrow IPC file, opened by memory map when its rows are asked for.

    Raises:
        InputError: The file is missing, cut off, or not a sample table of this version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._reporting():
            schema = self._open().schema
        self.info = table_info(schema, path)
        if not schema.equals(table_schema(self.info)):
            expected = f"the columns {', '.join(table_schema(self.info).names)}"
            raise InputError(path, "schema", expected, ", ".join(schema.names), _REMEDY)

    def arrow(self) -> pa.Table:
        """All rows, mapped; the first time that a process asks, they are read through and checked.

        Raises:
            InputError: The content is not what was written.
        """
        with self._reporting():
            state, reader = file_state(self.path), self._open()
            if state not in _found_whole:
                seal.check(self.path, (reader.metadata or {}).get(seal.KEY, b""))
                for number in range(reader.num_record_batches):
                    reader.get_batch(number).validate(full=True)
                _found_whole.add(state)
            return reader.read_all()

    def __len__(self) -> int:
        return self.arrow().num_rows

    def expect(self, split: Split, fingerprint: str | None = None) -> None:
        """Refuse to be taken for another split, or for a table of another fingerprint.

        Raises:
            InputError: It is one.
        """
        remedy = "Run the alignment stage again, and then what stands on it."
        if self.info.split != split:
            raise InputError(self.path, "split", split, self.info.split, remedy)
        if fingerprint is not None and self.info.fingerprint != fingerprint:
            raise InputError(self.path, "fingerprint", fingerprint, self.info.fingerprint, remedy)

    def _open(self) -> pa.RecordBatchFileReader:
        return pa.ipc.open_file(pa.memory_map(str(self.path)))

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            expected = "a sample table (Arrow IPC file)"
            raise InputError(self.path, "", expected, error, _REMEDY) from error


def table_schema(info: TableInfo) -> pa.Schema:
    """Arrow schema of the sample table that `info` describes."""
    features = [
        pa.field(m, pa.list_(pa.list_(pa.float32(), width))) for m, width in info.widths.items()
    ]
    persons = [
        pa.field("person", pa.int32(), nullable=False),
        *(pa.field(name, pa.list_(pa.int32())) for name in _step_columns(info)),
    ]
    return pa.schema(
        [
            pa.field("sample_id", pa.string(), nullable=False),
            pa.field("group_id", pa.string(), nullable=False),
            pa.field("start", pa.float64()),
            pa.field("end", pa.float64()),
            *features,
            pa.field("words", pa.list_(pa.string())),
            pa.field("labels", pa.list_(pa.uint8(), len(info.labels)), nullable=False),
            pa.field("cleaned", pa.list_(pa.int32(), len(features)), nullable=False),
            pa.field("all_zero", pa.list_(pa.bool_(), len(features)), nullable=False),
            *(persons if info.persons else []),
        ],
        metadata={_METADATA_KEY: info.to_json().encode()},
    )


def table_info(schema: pa.Schema, where: object = "sample table") -> TableInfo:
    """What a sample table says of itself.

    Raises:
        InputError: The schema carries no such metadata, or that of another version.
    """
    metadata = schema.metadata or {}
    if _METADATA_KEY not in metadata:
        raise InputError(where, "schema metadata", "the key 'mmer'", list(metadata))
    return TableInfo.from_json(metadata[_METADATA_KEY], where)


def record_batches(info: TableInfo, samples: Iterable[Sample]) -> Iterator[pa.RecordBatch]:
    """Samples as Arrow record batches, checked and cleaned, a bounded number at a time.

    Raises:
        InputError: A sample's width, shape, labels or persons are not what `info` says.
    """
    schema, samples = table_schema(info), iter(samples)
    while rows := list(islice(samples, _ROWS_PER_BATCH)):
        for sample in rows:
            _check(info, sample)
        columns = {m: _cleaned([s.features[m] for s in rows], info) for m in info.modalities}
        cleaned, all_zero = (
            np.stack([getattr(columns[m], what) for m in info.modalities], axis=1)
            for what in ("cleaned", "all_zero")
        )
        yield pa.RecordBatch.from_arrays(
            [
                pa.array([s.sample_id for s in rows], pa.string()),
                pa.array([s.group_id for s in rows], pa.string()),
                pa.array([s.start for s in rows], pa.float64()),
                pa.array([s.end for s in rows], pa.float64()),
                *(_feature_column(columns[m].kept, schema.field(m).type) for m in info.modalities),
                pa.array([s.words for s in rows], pa.list_(pa.string())),
                _fixed_row_column(np.stack([s.labels for s in rows]).astype(np.uint8)),
                _fixed_row_column(cleaned.astype(np.int32)),
                _fixed_row_column(all_zero),
                *(_person_columns(columns, rows) if info.persons else []),
            ],
            schema=schema,
        )


def write_table(
    path: Path, info: TableInfo, samples: Iterable[Sample], *, may_be_empty: bool = False
) -> SampleTable:
    """Write a sample table as a stream of record batches; it appears when it is whole.

    Raises:
        InputError: No sample came, or one does not fit `info`.
    """
    return write_batches(path, info, record_batches(info, samples), may_be_empty=may_be_empty)


def write_batches(
    path: Path, info: TableInfo, batches: Iterable[pa.RecordBatch], *, may_be_empty: bool = False
) -> SampleTable:
    """Write a sample table of record batches that have its schema, and seal it.

    Raises:
        InputError: It has no rows.
    """
    count = 0
    with atomic_file(path) as partial:
        with (
            pa.OSFile(str(partial), "wb") as sink,
            pa.ipc.new_file(sink, table_schema(info), metadata={seal.KEY: seal.UNSEALED}) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
                count += batch.num_rows
        if count == 0 and not may_be_empty:
            raise InputError(
                f"{info.corpus} {info.split}", "", "at least one sample", "none: the split is empty"
            )
        seal.put(partial)
    return SampleTable(path)


def multi_hot(table: pa.Table) -> np.ndarray:
    """Labels of a sample table, (N, L) uint8."""
    return fixed_rows(table["labels"].combine_chunks())


def fixed_rows(column: pa.FixedSizeListArray) -> np.ndarray:
    """A column of lists of one width as a matrix, not copied."""
    return column.flatten().to_numpy().reshape(-1, column.type.list_size)


def flat_features(chunk: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """Of one chunk of a modality's column: all steps (T, D), not copied, and (N + 1,) offsets."""
    offsets = chunk.offsets.to_numpy()
    rows = chunk.values.slice(offsets[0], offsets[-1] - offsets[0])
    width = chunk.type.value_type.list_size
    return rows.flatten().to_numpy().reshape(-1, width), offsets - offsets[0]


def feature_array(rows: np.ndarray, lengths: np.ndarray, absent: np.ndarray) -> pa.ListArray:
    """The inverse: steps (T, D), not copied, of N samples of these lengths, null where absent."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, _fixed_row_column(rows), mask=pa.array(absent))


def _check(info: TableInfo, sample: Sample) -> None:
    for name, text in (("sample_id", sample.sample_id), ("group_id", sample.group_id)):
        if printable(text) != text or text.strip() != text or not text:
            expected = "a name of visible characters, without spaces around it"
            raise InputError(f"{info.corpus} sample {sample.sample_id}", name, expected, repr(text))
    for modality in info.modalities:
        rows = sample.features[modality]
        if rows is not None and (rows.ndim != 2 or rows.shape[1] != info.features[modality].width):
            raise InputError(
                f"{info.corpus} sample {sample.sample_id}",
                modality,
                f"rows of width {info.features[modality].width}",
                f"shape {rows.shape}",
            )
    labels = sample.labels
    if labels.shape != (len(info.labels),) or not ((labels == 0) | (labels == 1)).all():
        raise InputError(
            f"{info.corpus} sample {sample.sample_id}",
            "labels",
            f"{len(info.labels)} values, each 0 or 1",
            labels,
        )
    if info.one_label and labels.sum() != 1:
        where = f"{info.corpus} sample {sample.sample_id}"
        raise InputError(where, "labels", "exactly one", labels)
    if info.persons:
        _check_persons(info, info.persons, sample)


def _check_persons(info: TableInfo, persons: Persons, sample: Sample) -> None:
    where, count = f"{info.corpus} sample {sample.sample_id}", len(persons.names)
    if sample.person is None or not 0 <= sample.person < count:
        raise InputError(where, "person", f"one of {count} persons", sample.person)
    for modality, rows in sample.features.items():
        if rows is None:
            continue
        for name, given in (("persons", sample.step_persons), ("segments", sample.step_segments)):
            if len(given.get(modality, ())) != len(rows):
                expected = f"one for {len(rows)} steps"
                raise InputError(where, f"{name} of {modality}", expected, given)
        steps = sample.step_persons[modality]
        if (steps < 0).any() or (steps >= count).any():
            raise InputError(where, f"persons of {modality}", f"numbers below {count}", steps)


def _step_columns(info: TableInfo) -> list[str]:
    return [f"{m}_{what}" for m in info.modalities for what in ("person", "segment")]


def _person_columns(columns: dict[str, _Cleaned], rows: list[Sample]) -> list[pa.Array]:
    steps = [
        pa.array(
            [
                None if kept is None else told(s)[m]
                for s, kept in zip(rows, column.kept, strict=True)
            ],
            pa.list_(pa.int32()),
        )
        for m, column in columns.items()
        for told in (lambda s: s.step_persons, lambda s: s.step_segments)
    ]
    return [pa.array([s.person for s in rows], pa.int32()), *steps]


class _Cleaned(NamedTuple):
    """One modality of n samples.

    Attributes:
        kept: Finite rows (T, D) of each sample, None where the modality is absent.
        cleaned: (n,) how many values were not finite.
        all_zero: (n,) whether there were rows, and zero throughout.
    """

    kept: list[np.ndarray | None]
    cleaned: np.ndarray
    all_zero: np.ndarray


def _cleaned(rows: list[np.ndarray | None], info: TableInfo) -> _Cleaned:
    kept: list[np.ndarray | None] = []
    cleaned, all_zero = np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
    for i, given in enumerate(rows):
        if given is None or not len(given):
            kept.append(None)
            continue
        values = given.astype(np.float32, copy=False)
        finite = np.isfinite(values)
        if not finite.all():
            cleaned[i] = finite.size - np.count_nonzero(finite)
            values = np.where(finite, values, np.float32(0))
        all_zero[i] = not values.any()
        kept.append(None if all_zero[i] and info.zeros_are_absent else values)
    return _Cleaned(kept, cleaned, all_zero)


def _feature_column(rows: list[np.ndarray | None], kind: pa.DataType) -> pa.Array:
    """Arrow column of ragged rows."""
    absent = np.array([r is None for r in rows])
    if absent.all():
        return pa.nulls(len(rows), kind)
    lengths = np.array([0 if r is None else len(r) for r in rows])
    return feature_array(np.concatenate([r for r in rows if r is not None]), lengths, absent)


def _fixed_row_column(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
