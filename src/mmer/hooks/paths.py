"""Paths as a person writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl

from mmer.errors import InputError

_PATHS = ("filepath", "path", "files")


class PathsAsMeant:
    """Expands `~` in the paths of catalog entries, whether files, globals or `--params` set them.

    A relative path is seen from the project's folder, whatever folder a command is given in; one
    that `--params` names, and that there is in the folder that the command is given in, from there.
    """

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Put them into the catalog's configuration; what else is wrong in it is Kedro's to report.

        Raises:
            InputError: A path was read as a number.
        """
        loader = context.config_loader
        try:
            entries = loader["catalog"]
        except MissingConfigException:
            return
        given = {one for one in (loader.runtime_params or {}).values() if isinstance(one, str)}
        here = {one: str(Path(one).absolute()) for one in given if one and Path(one).exists()}
        loader["catalog"] = _meant(entries, here)


def _meant(value: Any, here: Mapping[str, str], key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _meant(one, here, name) for name, one in value.items()}
    if isinstance(value, list):
        return [_meant(one, here, key) for one in value]
    if key not in _PATHS:
        return value
    if isinstance(value, int | float):
        remedy = "It was taken for a number: write ./ before it."  # 0x10 is 16, and 2024_01 202401
        raise InputError("catalog or --params", key, "a path", value, remedy)
    if not isinstance(value, str):
        return value
    return str(Path(value).expanduser()) if value.startswith("~") else here.get(value, value)
