"""Kedro dataset for scores: a versioned Parquet file."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq
from kedro.io import AbstractVersionedDataset, Version

from mmer.samples.scores import Scores


class ScoresTable(AbstractVersionedDataset[Scores, Scores]):
    """Scores beside truth and ids, in a Parquet file that names the weights they come from."""

    def __init__(
        self,
        *,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    def load(self) -> Scores:
        return Scores.from_arrow(pq.read_table(self._get_load_path()))

    def save(self, data: Scores) -> None:
        path = Path(self._get_save_path())
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            pq.write_table(data.to_arrow(), partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
