"""Kedro dataset for trained models: one versioned safetensors file each."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractVersionedDataset, Version

from mmer.models.weights import TrainedModel


class TrainedModelFile(AbstractVersionedDataset[TrainedModel, TrainedModel]):
    """A trained model's weights, with its settings in the header; nothing in it can run."""

    def __init__(
        self,
        *,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(PurePosixPath(filepath), version)
        self.metadata = metadata

    def load(self) -> TrainedModel:
        return TrainedModel.load(Path(self._get_load_path()))

    def save(self, data: TrainedModel) -> None:
        path = Path(self._get_save_path())
        path.parent.mkdir(parents=True, exist_ok=True)
        data.save(path)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}
