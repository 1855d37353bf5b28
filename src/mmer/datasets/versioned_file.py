"""What datasets of one versioned file each have in common."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from kedro.io import AbstractVersionedDataset, Version

T = TypeVar("T")


class VersionedFile(AbstractVersionedDataset[T, T]):
    """A file of which every run keeps its own version."""

    def __init__(
        self,
        *,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    def _path_to_load(self) -> Path:
        return Path(self._get_load_path())

    def _path_to_save(self) -> Path:
        path = Path(self._get_save_path())
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
