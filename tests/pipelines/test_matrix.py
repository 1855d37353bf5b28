"""Every pipeline in every environment, tiny; and every reader and runner, through `kedro run`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from kedro.runner import ParallelRunner, SequentialRunner, ThreadRunner

from mmer.corpora import CORPORA
from mmer.pipeline_registry import register_pipelines
from mmer.samples.table import SampleTable
from mmer.systems import SYSTEMS
from mmer.systems.storage import load_fitted

# What is left of the environments of official files when they are to be tiny.
TINY_NETWORK = {
    "hidden": 16,
    "latent": 8,
    "heads": 2,
    "feed_forward": 16,
    "layers": {"text": 1, "visual": 1, "audio": 1},
    "queue": 64,
}
