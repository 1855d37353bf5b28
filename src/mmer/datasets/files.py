"""Kedro datasets of one file each, by what the file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import pyarrow.parquet as pq
from kedro.utils import load_obj
from kedro_datasets._typing import JSONPreview, PlotlyPreview, TablePreview

from mmer.datasets.versioned_file import VersionedFile
from mmer.metrics.scores import Scores
from mmer.schema import Record
from mmer.systems.contract import FittedSystem
from mmer.systems.storage import load_fitted, save_fitted


class RecordFile(VersionedFile[Record]):
    """A record (see `mmer.schema`) as JSON.

    Args:
        record: The record's class, "mmer.calibration.calibration.Calibration".
        options: Of every versioned file.
    """

    def __init__(self, *, record: str, **options: Any) -> None:
        super().__init__(**options)
        self._record: type[Record] = load_obj(record)

    def _read(self, path: Path) -> Record:
        return self._record.read(path)

    def _write(self, path: Path, data: Record) -> None:
        path.write_text(data.to_json() + "\n", encoding="utf-8")

    def preview(self) -> JSONPreview:
        """For Kedro-Viz."""
        return JSONPreview(Path(self._get_load_path()).read_text(encoding="utf-8"))


class ScoresTable(VersionedFile[Scores]):
    """Scores beside truth and ids, in a Parquet file that names the model they come from."""

    def _read(self, path: Path) -> Scores:
        return Scores.from_arrow(pq.read_table(path), path)

    def _write(self, path: Path, data: Scores) -> None:
        pq.write_table(data.to_arrow(), path)


class FittedSystemFile(VersionedFile[FittedSystem]):
    """A fitted system as safetensors and JSON; nothing in the file can run."""

    def _read(self, path: Path) -> FittedSystem:
        return load_fitted(path)

    def _write(self, path: Path, data: FittedSystem) -> None:
        save_fitted(data, path)


class FigureFile(VersionedFile[go.Figure]):
    """A Plotly figure as JSON."""

    def _read(self, path: Path) -> go.Figure:
        return pio.from_json(path.read_text(encoding="utf-8"))

    def _write(self, path: Path, data: go.Figure) -> None:
        path.write_text(data.to_json(), encoding="utf-8")

    def preview(self) -> PlotlyPreview:
        """For Kedro-Viz."""
        return PlotlyPreview(json.loads(Path(self._get_load_path()).read_text(encoding="utf-8")))


class FrameFile(VersionedFile[pd.DataFrame]):
    """A data frame as CSV."""

    def _read(self, path: Path) -> pd.DataFrame:
        return pd.read_csv(path)

    def _write(self, path: Path, data: pd.DataFrame) -> None:
        data.to_csv(path, index=False)

    def preview(self) -> TablePreview:
        """For Kedro-Viz."""
        frame = pd.read_csv(Path(self._get_load_path()))
        return TablePreview(json.loads(frame.to_json(orient="split")))


class TextFile(VersionedFile[str]):
    """A text, such as a page of HTML."""

    def _read(self, path: Path) -> str:
        return path.read_text(encoding="utf-8")

    def _write(self, path: Path, data: str) -> None:
        path.write_text(data, encoding="utf-8")
