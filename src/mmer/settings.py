"""What Kedro needs to know of this project."""

import os
from pathlib import Path

import yaml
from kedro.framework.project import LOGGING
from kedro.utils import find_kedro_project

from mmer.hooks import (
    AskedCells,
    DefaultParameters,
    MlflowTracking,
    NothingIgnored,
    PathsAsMeant,
    RawFilesThere,
    RunView,
    SameTables,
    TableStatistics,
    TellPages,
)

# The last is called first.
HOOKS = (
    TellPages(),
    MlflowTracking(),
    SameTables(),
    DefaultParameters(),
    AskedCells(),
    RunView(),
    TableStatistics(),
    RawFilesThere(),
    PathsAsMeant(),
    NothingIgnored(),
)
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
}


def _log_as_from_the_project() -> None:
    """Kedro looks for its logging configuration in the folder that a command is given in."""
    here = Path.cwd()
    project = find_kedro_project(here) or here
    file = project / "conf/logging.yml"
    if here != project and "KEDRO_LOGGING_CONFIG" not in os.environ and file.is_file():
        LOGGING.configure(yaml.safe_load(file.read_text(encoding="utf-8")))


_log_as_from_the_project()
