"""Kedro datasets of sample tables: where they are made, and where the stages find them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from mmer.datasets.files import VersionedFile
from mmer.datasets.places import Disk
from mmer.errors import InputError
from mmer.samples.table import SampleTable


class SampleTableFile(VersionedFile[SampleTable]):
    """A sample table under a name of its own; on one file system it takes no second place.

    A table at an address is fetched once, to be mapped here.
    """

    def read(self, path: Path) -> SampleTable:
        return SampleTable(path)

    def write(self, path: Path, data: SampleTable) -> None:
        try:
            os.link(data.path, path)
        except OSError:  # another file system, or one without links
            shutil.copyfile(data.path, path)

    @contextmanager
    def on_disk(self, path: PurePath) -> Iterator[Path]:
        if isinstance(self.place, Disk):
            yield Path(path)
            return
        file = self.place.kept(path)
        try:
            SampleTable(file).arrow()
        except InputError:  # it was damaged here since
            file.unlink(missing_ok=True)
            file = self.place.kept(path)
        yield file

    @contextmanager
    def as_file(self, data: SampleTable) -> Iterator[Path]:
        yield data.path

    def _exists(self) -> bool:
        """Whether there is a table as it was written, not only a file."""
        if not self.place.is_file(self._get_load_path()):
            return False
        try:
            self.load().arrow()
        except (InputError, DatasetError):
            return False
        return True


class Folder(AbstractDataset[NoReturn, Path]):
    """A folder in which a node may keep what it can reuse."""

    def __init__(self, *, filepath: str, metadata: Any = None) -> None:
        self._filepath, self.metadata = Path(filepath), metadata

    def load(self) -> Path:
        return self._filepath

    def save(self, data: NoReturn) -> None:
        raise DatasetError(f"{self._filepath} is a place to work in; nothing is saved to it.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
