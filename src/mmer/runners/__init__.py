"""Kedro runners of this project: `kedro run --runner=mmer.runners.DaskRunner`."""

from .dask_runner import DaskRunner as DaskRunner
from .patient import PatientRunner as PatientRunner
