"""Kedro dataset for scores: a versioned Parquet file."""

from __future__ import annotations

import os

import pyarrow.parquet as pq

from mmer.datasets.versioned_file import VersionedFile
from mmer.samples.scores import Scores


class ScoresTable(VersionedFile[Scores]):
    """Scores beside truth and ids, in a Parquet file that names the weights they come from."""

    def load(self) -> Scores:
        return Scores.from_arrow(pq.read_table(self._path_to_load()))

    def save(self, data: Scores) -> None:
        path = self._path_to_save()
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            pq.write_table(data.to_arrow(), partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
