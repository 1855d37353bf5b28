"""Kedro dataset for sample tables: a stream goes in, a memory-mapped table comes out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
from kedro.io import AbstractDataset

from mmer.corpora.source import SampleStream
from mmer.errors import InputError
from mmer.samples.table import open_table, table_info, write_table

logger = logging.getLogger(__name__)


class SampleTable(AbstractDataset[SampleStream, pa.Table]):
    """A sample table in an Arrow IPC file.

    Saving a stream whose fingerprint the existing table already carries reads nothing and keeps the
    table: sources, settings and code are those that it was made from.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> pa.Table:
        return open_table(self._filepath)

    def save(self, data: SampleStream) -> None:
        if data.info.fingerprint and data.info.fingerprint == self._fingerprint():
            logger.info("%s is up to date: reused", self._filepath)
            return
        count = write_table(self._filepath, data.info, data.samples)
        logger.info("%s: %d samples written", self._filepath, count)

    def _fingerprint(self) -> str | None:
        try:
            return table_info(open_table(self._filepath)).fingerprint
        except InputError:
            return None

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
