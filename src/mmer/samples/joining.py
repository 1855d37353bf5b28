"""Several sample tables as one, of a single record batch, so that batches are made without a copy.

What a table holds besides features is small and joined in memory. Features go through files without
a name that are mapped into memory, so that no more of them is held than there is room for.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from mmer.errors import InputError
from mmer.samples.table import (
    SampleTable,
    TableInfo,
    feature_array,
    flat_features,
    table_schema,
    write_batches,
)


def join_tables(path: Path, info: TableInfo, parts: Sequence[Path]) -> SampleTable:
    """Write the rows of `parts`, in this order, as one table; it appears when it is whole.

    Raises:
        InputError: A part is missing, not what was written, or not a part of the table that `info`
            describes; or there are no rows at all.
    """
    tables = []
    for part in map(SampleTable, parts):
        if part.info != info:
            expected = f"a part of {info.corpus} {info.split}, {info.fingerprint}"
            raise InputError(part.path, "", expected, f"{part.info.split}, {part.info.fingerprint}")
        tables.append(part.arrow())
    if not any(table.num_rows for table in tables):
        return write_batches(path, info, [])
    schema = table_schema(info)
    with ExitStack() as opened:
        columns = []
        for name in schema.names:
            chunks = [chunk for table in tables for chunk in table[name].chunks]
            if name in info.features:
                file = opened.enter_context(TemporaryFile(dir=path.parent))
                columns.append(_joined_features(chunks, file))
            else:
                columns.append(pa.concat_arrays(chunks))
        return write_batches(path, info, [pa.RecordBatch.from_arrays(columns, schema=schema)])


def _joined_features(chunks: list[pa.ListArray], file: BinaryIO) -> pa.ListArray:
    """Chunks of a modality's column as one that lies in `file`."""
    lengths = []
    for chunk in chunks:
        rows, offsets = flat_features(chunk)
        file.write(rows.data)
        lengths.append(np.diff(offsets))
    file.flush()
    width = chunks[0].type.value_type.list_size
    flat = np.memmap(file, np.float32, mode="r") if file.tell() else np.zeros(0, np.float32)
    absent = np.concatenate([chunk.is_null().to_numpy(zero_copy_only=False) for chunk in chunks])
    return feature_array(flat.reshape(-1, width), np.concatenate(lengths), absent)
