"""Samples of a table a few at a time, so that memory does not grow with the table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa

from mmer.samples.batches import Samples, samples_of, with_persons
from mmer.samples.table import SampleTable, TableInfo, flat_features


def in_parts(table: SampleTable, rows: int) -> Iterator[tuple[pa.RecordBatch, Samples]]:
    """Some rows of the table at a time, with their samples; labels of the samples are 0."""
    for batch in table.arrow().to_batches():
        for at in range(0, batch.num_rows, rows):
            part = batch.slice(at, rows)
            yield part, samples_of_batch(table.info, part)


def samples_of_batch(info: TableInfo, part: pa.RecordBatch) -> Samples:
    """The samples of some rows of a table; their labels are 0."""
    features: dict[str, list[np.ndarray]] = {}
    for modality in info.modalities:
        values, offsets = flat_features(part[modality])
        features[modality] = [values[begin:end] for begin, end in pairwise(offsets)]
    samples = samples_of(info, features, tuple(part["sample_id"].to_pylist()))
    return with_persons(samples, part)
