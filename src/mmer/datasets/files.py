"""Kedro datasets of one file each, by what the file holds.

A file appears when it is whole, and `exists` means that there is one. It lies in a folder or at any
address that fsspec understands (`datasets/places.py`).
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import fsspec
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import pyarrow.parquet as pq
from kedro.io import AbstractVersionedDataset, Version
from kedro.utils import load_obj
from kedro_datasets._typing import JSONPreview, PlotlyPreview, TablePreview

from mmer.datasets.places import Address, place_of
from mmer.errors import InputError
from mmer.files import atomic_file, sweep
from mmer.metrics.scores import Scores
from mmer.reporting.previews import preview
from mmer.schema import Record
from mmer.systems.contract import FittedSystem
from mmer.systems.storage import load_fitted, save_fitted

T = TypeVar("T")


class VersionedFile(AbstractVersionedDataset[T, T]):
    """A file of which every run keeps its own version, if the catalog says `versioned`."""

    def __init__(
        self, *, filepath: str, version: Version | None = None, metadata: Any = None
    ) -> None:
        self.place = place_of(filepath)
        super().__init__(self.place.path, version, self.place.exists, self.place.glob)
        self.metadata = metadata

    def load(self) -> T:
        return self.load_from(self._get_load_path())

    def load_from(self, path: PurePath) -> T:
        """What one version holds."""
        with self.on_disk(path) as file:
            try:
                return self.read(file)
            except InputError as error:
                if not isinstance(self.place, Address) or error.where != str(file):
                    raise
                told = error.key, error.expected, error.found, error.remedy
                raise InputError(self.place.name(path), *told) from error

    def save(self, data: T) -> None:
        if isinstance(self.place, Address):
            path = self._get_save_path()
            with self.as_file(data) as file:
                self.place.put(file, path)
            return
        for version in Path(self._filepath).glob("*/"):
            sweep(version)
        with atomic_file(Path(self._get_save_path())) as partial:
            self.write(partial, data)

    def on_disk(self, path: PurePath) -> AbstractContextManager[Path]:
        """The file of a version, or a copy of it, on this machine."""
        return self.place.fetched(path)

    @contextmanager
    def as_file(self, data: T) -> Iterator[Path]:
        """A file on this machine that holds it, to be copied to an address."""
        with TemporaryDirectory(prefix="mmer-") as folder:
            file = Path(folder, self._filepath.name)
            self.write(file, data)
            yield file

    @abstractmethod
    def read(self, path: Path) -> T:
        """What a file holds."""

    @abstractmethod
    def write(self, path: Path, data: T) -> None:
        """Write a file, in place."""

    def _exists(self) -> bool:
        return self.place.is_file(self._get_load_path())

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self.place.name(self._filepath), "version": self._version}

    @property
    def _fs(self) -> fsspec.AbstractFileSystem:
        """By the name that it has in Kedro's own datasets."""
        return self.place.files


class RecordFile(VersionedFile[Record]):
    """A record as JSON, of the class named ("mmer.calibration.calibration.Calibration")."""

    def __init__(self, *, record: str, **options: Any) -> None:
        super().__init__(**options)
        self._record: type[Record] = load_obj(record)

    def read(self, path: Path) -> Record:
        return self._record.read(path)

    def write(self, path: Path, data: Record) -> None:
        path.write_text(data.to_json() + "\n", encoding="utf-8")

    def preview(self) -> JSONPreview:
        """For Kedro-Viz."""
        return JSONPreview(self.load().to_json())


class ScoresTable(VersionedFile[Scores]):
    """Scores beside truth and ids, in a Parquet file that names the model they come from."""

    def read(self, path: Path) -> Scores:
        return Scores.from_arrow(pq.read_table(path), path)

    def write(self, path: Path, data: Scores) -> None:
        pq.write_table(data.to_arrow(), path)


class FittedSystemFile(VersionedFile[FittedSystem]):
    """A fitted system as safetensors and JSON; nothing in the file can run."""

    def read(self, path: Path) -> FittedSystem:
        return load_fitted(path)

    def write(self, path: Path, data: FittedSystem) -> None:
        save_fitted(data, path)


class FigureFile(VersionedFile[go.Figure]):
    """A Plotly figure as JSON."""

    def read(self, path: Path) -> go.Figure:
        return pio.from_json(path.read_text(encoding="utf-8"))

    def write(self, path: Path, data: go.Figure) -> None:
        path.write_text(data.to_json(), encoding="utf-8")

    def preview(self) -> PlotlyPreview:
        """For Kedro-Viz, in its light and its dark theme."""
        return PlotlyPreview(preview(self.load()))


class FrameFile(VersionedFile[pd.DataFrame]):
    """A data frame as CSV."""

    def read(self, path: Path) -> pd.DataFrame:
        return pd.read_csv(path)

    def write(self, path: Path, data: pd.DataFrame) -> None:
        data.to_csv(path, index=False)

    def preview(self) -> TablePreview:
        """For Kedro-Viz."""
        return TablePreview(json.loads(self.load().to_json(orient="split")))


class TextFile(VersionedFile[str]):
    """A text, such as a page of HTML."""

    def read(self, path: Path) -> str:
        return path.read_text(encoding="utf-8")

    def write(self, path: Path, data: str) -> None:
        path.write_text(data, encoding="utf-8")
