"""Mean-pooled features of a sample table, straight from its Arrow buffers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mmer.samples.table import MODALITIES, flat_features


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
