"""Kedro's hooks: parameters are looked at before a run, and MLflow is told of it."""

from .parameters import AskedCells, DefaultParameters, SameTables
from .tracking import MlflowTracking

__all__ = ["AskedCells", "DefaultParameters", "MlflowTracking", "SameTables"]
