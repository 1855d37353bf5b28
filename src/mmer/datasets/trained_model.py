"""Kedro dataset for trained models: one versioned safetensors file each."""

from __future__ import annotations

from mmer.datasets.versioned_file import VersionedFile
from mmer.models.weights import TrainedModel


class TrainedModelFile(VersionedFile[TrainedModel]):
    """A trained model's weights, with its settings in the header; nothing in it can run."""

    def load(self) -> TrainedModel:
        return TrainedModel.load(self._path_to_load())

    def save(self, data: TrainedModel) -> None:
        data.save(self._path_to_save())
