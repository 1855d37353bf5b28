"""The sample table: one Arrow table per split, one row per sample, whatever the corpus.

Columns
    sample_id     string
    group_id      string, the video or dialogue: never in two splits, what a bootstrap resamples
    start, end    float64 seconds, null if unknown
    text, visual, audio
                  list<fixed_size_list<float32, D>> of the true length; null if it is absent
    words         list<string>, what the text rows stand for; null if the corpus does not say
    labels        fixed_size_list<uint8, L>, 1 where the emotion is present
    cleaned       fixed_size_list<int32, 3>, non-finite values replaced by 0 per modality

What the columns mean for this corpus (`TableInfo`) stands in the schema's metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from mmer.errors import InputError

MODALITIES = ("text", "visual", "audio")
SPLITS = ("train", "valid", "test")
_METADATA_KEY = b"mmer"
_ROWS_PER_BATCH = 128


@dataclass(frozen=True)
class Features:
    """One modality's features: the extractor's name and the width D of a row."""

    name: str
    width: int


@dataclass(frozen=True)
class TableInfo:
    """What a sample table holds and what it was made from.

    Attributes:
        corpus: Name of the corpus, "mosei".
        labels: Emotion names in the order of the `labels` column.
        features: Per modality, what the rows are.
        alignment: "word" (the modalities share their steps), "utterance" (likewise, one step per
            utterance) or "none" (each modality has its own steps).
        synthetic: True if no real recording stands behind the numbers.
        sources: Name of each source file -> SHA-256 of its bytes.
        fingerprint: Digest of sources, settings and code: equal fingerprints, equal tables.
    """

    corpus: str
    labels: tuple[str, ...]
    features: dict[str, Features]
    alignment: str
    synthetic: bool
    sources: dict[str, str] = field(default_factory=dict)
    fingerprint: str = ""

    @property
    def widths(self) -> dict[str, int]:
        """Feature width D of each modality."""
        return {modality: self.features[modality].width for modality in MODALITIES}

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> TableInfo:
        record = json.loads(text)
        record["labels"] = tuple(record["labels"])
        record["features"] = {m: Features(**f) for m, f in record["features"].items()}
        return cls(**record)


@dataclass
class Sample:
    """One row: a labelled segment of a video, or a dialogue.

    Features are (T_m, D_m) float32 of true length, None where the modality is absent. Values that
    are not finite may still be among them: `record_batches` replaces and counts them.
    """

    sample_id: str
    group_id: str
    features: dict[str, np.ndarray | None]
    labels: np.ndarray
    start: float | None = None
    end: float | None = None
    words: list[str] | None = None


def table_schema(info: TableInfo) -> pa.Schema:
    """Arrow schema of the sample table that `info` describes."""
    features = [
        pa.field(m, pa.list_(pa.list_(pa.float32(), info.features[m].width))) for m in MODALITIES
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
            pa.field("cleaned", pa.list_(pa.int32(), len(MODALITIES)), nullable=False),
        ],
        metadata={_METADATA_KEY: info.to_json().encode()},
    )


def table_info(table: pa.Table | pa.Schema) -> TableInfo:
    """What a sample table says of itself.

    Raises:
        InputError: The schema carries no such metadata, so it is not a sample table.
    """
    metadata = (table if isinstance(table, pa.Schema) else table.schema).metadata or {}
    if _METADATA_KEY not in metadata:
        raise InputError("sample table", "schema metadata", "the key 'mmer'", list(metadata))
    return TableInfo.from_json(metadata[_METADATA_KEY])


def record_batches(info: TableInfo, samples: Iterable[Sample]) -> Iterator[pa.RecordBatch]:
    """Samples as Arrow record batches, checked and cleaned, a bounded number at a time.

    Raises:
        InputError: A sample's width, shape or labels are not what `info` says.
    """
    schema, samples = table_schema(info), iter(samples)
    while rows := list(islice(samples, _ROWS_PER_BATCH)):
        for sample in rows:
            _check(info, sample)
        columns = {
            m: _feature_column([s.features[m] for s in rows], schema.field(m).type)
            for m in MODALITIES
        }
        cleaned = np.stack([columns[m][1] for m in MODALITIES], axis=1)
        yield pa.RecordBatch.from_arrays(
            [
                pa.array([s.sample_id for s in rows], pa.string()),
                pa.array([s.group_id for s in rows], pa.string()),
                pa.array([s.start for s in rows], pa.float64()),
                pa.array([s.end for s in rows], pa.float64()),
                *(columns[m][0] for m in MODALITIES),
                pa.array([s.words for s in rows], pa.list_(pa.string())),
                _fixed_row_column(np.stack([s.labels for s in rows]).astype(np.uint8)),
                _fixed_row_column(cleaned.astype(np.int32)),
            ],
            schema=schema,
        )


def write_table(path: Path, info: TableInfo, samples: Iterable[Sample]) -> int:
    """Write a sample table as an Arrow IPC file, as a stream; return the number of samples.

    The file appears under its name only when it is whole: an error or a kill on the way leaves
    what was there before.

    Raises:
        InputError: No sample came, or one does not fit `info`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    count = 0
    try:
        with (
            pa.OSFile(str(partial), "wb") as sink,
            pa.ipc.new_file(sink, table_schema(info)) as writer,
        ):
            for batch in record_batches(info, samples):
                writer.write_batch(batch)
                count += batch.num_rows
        if count == 0:
            raise InputError(path, "", "at least one sample", "none: this split is empty")
        with partial.open("rb+") as handle:
            os.fsync(handle.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def open_table(path: Path) -> pa.Table:
    """Open a sample table by memory map: nothing is read until it is used.

    Raises:
        InputError: The file is missing, cut off, or not a sample table.
    """
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(path, "", "a sample table (Arrow IPC file)", error) from error
    table_info(table)
    return table


def multi_hot(table: pa.Table) -> np.ndarray:
    """Labels of a sample table, (N, L) uint8."""
    return fixed_rows(table["labels"].combine_chunks())


def fixed_rows(column: pa.FixedSizeListArray) -> np.ndarray:
    """A column of lists of one width as a matrix, not copied."""
    return column.flatten().to_numpy().reshape(-1, column.type.list_size)


def flat_features(chunk: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of all samples one after the other, and where each sample's begin and end.

    Args:
        chunk: One chunk of a modality's column, N samples.

    Returns:
        (T, D) float32, not copied, and (N + 1,) offsets into it, the last one being T.
    """
    offsets = chunk.offsets.to_numpy()
    rows = chunk.values.slice(offsets[0], offsets[-1] - offsets[0])
    width = chunk.type.value_type.list_size
    return rows.flatten().to_numpy().reshape(-1, width), offsets - offsets[0]


def _check(info: TableInfo, sample: Sample) -> None:
    for modality in MODALITIES:
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


def _feature_column(
    rows: list[np.ndarray | None], kind: pa.DataType
) -> tuple[pa.Array, np.ndarray]:
    """Arrow column of ragged rows, and how many values of each sample were not finite."""
    absent = np.array([r is None for r in rows])
    lengths = np.array([0 if r is None else len(r) for r in rows])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    if absent.all():
        return pa.nulls(len(rows), kind), np.zeros(len(rows), np.int64)
    flat = np.concatenate([r for r in rows if r is not None]).astype(np.float32, copy=False)
    finite = np.isfinite(flat)
    if finite.all():
        cleaned = np.zeros(len(rows), np.int64)
    else:
        bad = np.concatenate([[0], np.cumsum((~finite).sum(axis=1))])
        cleaned = bad[offsets[1:]] - bad[offsets[:-1]]
        flat[~finite] = 0
    column = pa.ListArray.from_arrays(offsets, _fixed_row_column(flat), mask=pa.array(absent))
    return column, cleaned


def _fixed_row_column(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
