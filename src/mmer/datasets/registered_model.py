"""Kedro dataset for models in MLflow's registry."""

from __future__ import annotations

from typing import Any

from kedro.io import AbstractDataset

from mmer.registry import servable


class RegisteredModel(AbstractDataset[servable.ServableModel, Any]):
    """Saving registers a model under an alias; loading gives that version, an MLflow pyfunc.

    Args:
        name: Of the registered model.
        environment: Of the configuration; each but "base" has registered models of its own, whose
            names end in "-" and its name.
        alias: What the version is called until another takes the name.
    """

    def __init__(
        self,
        *,
        name: str,
        environment: str = "base",
        alias: str = "candidate",
        metadata: Any = None,
    ) -> None:
        self._name = name if environment == "base" else f"{name}-{environment}"
        self._alias, self.metadata = alias, metadata

    def load(self) -> Any:
        return servable.load(self._name, self._alias)

    def save(self, data: servable.ServableModel) -> None:
        servable.register(data, self._name, self._alias)

    def _exists(self) -> bool:
        return servable.exists(self._name, self._alias)

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name, "alias": self._alias}
