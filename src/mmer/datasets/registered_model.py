"""Kedro datasets for what stands in MLflow's registry: models, who is champion, and who would be.

They are of a registered model; each environment of the configuration but "base" has registered
models of its own, whose names end in "-" and its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

if TYPE_CHECKING:
    from mmer.evaluation.champions import Champions, Move
    from mmer.evaluation.promotion import Contenders, Decision
    from mmer.registry.versions import Nominee


class _OfRegisteredModel:
    """The name in this environment."""

    def __init__(self, *, name: str, environment: str = "base", metadata: Any = None) -> None:
        self._name = name if environment == "base" else f"{name}-{environment}"
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name}


class RegisteredModel(_OfRegisteredModel, AbstractDataset["Nominee", Any]):
    """Saving registers a model and nominates it; loading gives a version, an MLflow pyfunc.

    Args:
        name, environment: Of the registered model; see the module.
        which: The version to be loaded: an alias, or a number.
    """

    def __init__(self, *, which: str = "champion", **options: Any) -> None:
        super().__init__(**options)
        self._which = which

    def load(self) -> Any:
        from mmer.registry import versions

        return versions.load(self._name, self._which)

    def save(self, data: Nominee) -> None:
        from mmer.registry import versions

        versions.nominate(data, self._name)

    def _exists(self) -> bool:
        from mmer.registry import versions

        return versions.exists(self._name, self._which)

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name, "which": self._which}


class ContendersForChampion(_OfRegisteredModel, AbstractDataset[Any, "Contenders"]):
    """Loading gives the candidate and the champion, with what they are judged by.

    Args:
        name, environment: Of the registered model; see the module.
        which: The version that would be champion: an alias, or a number.
    """

    def __init__(self, *, which: str | int = "candidate", **options: Any) -> None:
        super().__init__(**options)
        self._which = str(which)

    def load(self) -> Contenders:
        from mmer.registry import champions

        return champions.contenders(self._name, self._which)

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name, "which": self._which}

    def save(self, data: Any) -> NoReturn:
        raise DatasetError("Who contends is read from the registry, and not saved.")


class TableOfChampions(_OfRegisteredModel, AbstractDataset["Decision | Move", "Champions"]):
    """Saving does what was decided, or takes a champion back; loading gives the table of champions.

    A decision for one model is saved to its own name, synthetic or not.

    Args:
        name, environment: Of the registered model; see the module.
        which: As of the contenders whose table it is; without it, what has had champions.
    """

    def __init__(self, *, which: str | int = "", **options: Any) -> None:
        super().__init__(**options)
        self._which = str(which)

    def load(self) -> Champions:
        from mmer.registry import champions

        return champions.champions(self._name, self._which)

    def save(self, data: Decision | Move) -> None:
        from mmer.evaluation.champions import Move
        from mmer.registry import champions

        if isinstance(data, Move):
            champions.take_back(data)
        else:
            champions.decided(data)
