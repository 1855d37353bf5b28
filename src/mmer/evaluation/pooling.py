"""Mean-pooled features of a sample table, straight from its Arrow buffers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mmer.samples.table import MODALITIES


def pooled_features(table: pa.Table) -> dict[str, np.ndarray]:
    """Mean over the steps of each sample's features.

    Args:
        table: A sample table of N rows.

    Returns:
        Modality -> (N, D) float64; rows of NaN where a sample lacks the modality or has no step.
    """
    return {
        m: np.concatenate([_pool(chunk) for chunk in table[m].chunks] or [_empty(table, m)])
        for m in MODALITIES
    }


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


def _pool(chunk: pa.ListArray) -> np.ndarray:
    flat, offsets = flat_features(chunk)
    lengths = np.diff(offsets)
    pooled = np.full((len(lengths), flat.shape[1]), np.nan)
    filled = lengths > 0
    if filled.any():
        # reduceat would take one row for an empty sample; the filled ones alone tile the rows.
        sums = np.add.reduceat(flat, offsets[:-1][filled], axis=0, dtype=np.float64)
        pooled[filled] = sums / lengths[filled, None]
    pooled[np.asarray(chunk.is_null())] = np.nan
    return pooled


def _empty(table: pa.Table, modality: str) -> np.ndarray:
    return np.empty((0, table.schema.field(modality).type.value_type.list_size))
