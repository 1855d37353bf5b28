"""Kedro dataset for models in MLflow's registry."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset

from mmer.registry import servable

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

logger = logging.getLogger(__name__)


class RegisteredModel(AbstractDataset[servable.ServableModel, "PyFuncModel"]):
    """Saving registers a new version under an alias; loading gives the version of that alias."""

    def __init__(
        self, *, name: str, alias: str = "candidate", metadata: dict[str, Any] | None = None
    ) -> None:
        self._name, self._alias = name, alias
        self.metadata = metadata

    def load(self) -> PyFuncModel:
        return servable.load(self._name, self._alias)

    def save(self, data: servable.ServableModel) -> None:
        version = servable.register(data, self._name, self._alias)
        logger.info("Registered %s version %s as '%s'", self._name, version, self._alias)

    def _exists(self) -> bool:
        return servable.exists(self._name, self._alias)

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name, "alias": self._alias}
