"""What datasets of one versioned file each have in common: atomic writing, and an honest exists."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from kedro.io import AbstractVersionedDataset, Version

from mmer.files import atomic_file

T = TypeVar("T")


class VersionedFile(AbstractVersionedDataset[T, T]):
    """A file of which every run keeps its own version, if the catalog says `versioned`."""

    def __init__(
        self,
        *,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    def load(self) -> T:
        return self._read(Path(self._get_load_path()))

    def save(self, data: T) -> None:
        with atomic_file(Path(self._get_save_path())) as partial:
            self._write(partial, data)

    @abstractmethod
    def _read(self, path: Path) -> T:
        """What the file holds."""

    @abstractmethod
    def _write(self, path: Path, data: T) -> None:
        """Write the file."""

    def _exists(self) -> bool:
        return Path(self._get_load_path()).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
