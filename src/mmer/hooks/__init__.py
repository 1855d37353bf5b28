"""Kedro's hooks: parameters are looked at before a run, and MLflow and a person are told of it."""

from .ignored import NothingIgnored
from .parameters import AskedCells, DefaultParameters, RawFilesThere, SameTables
from .paths import PathsAsMeant
from .statistics import TableStatistics
from .terminal import RunView
from .this_run import TellPages
from .tracking import MlflowTracking

__all__ = [
    "AskedCells",
    "DefaultParameters",
    "MlflowTracking",
    "NothingIgnored",
    "PathsAsMeant",
    "RawFilesThere",
    "RunView",
    "SameTables",
    "TableStatistics",
    "TellPages",
]
