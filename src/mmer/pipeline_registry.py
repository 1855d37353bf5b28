"""The registered pipelines: training of every system on every corpus, and their comparison."""

from __future__ import annotations

import warnings
from itertools import chain

from kedro.pipeline import Pipeline

from mmer.corpora import CORPORA
from mmer.pipelines import (
    alignment,
    calibration,
    comparison,
    evaluation,
    ingestion,
    registration,
    seeds,
    training,
)
from mmer.systems import SYSTEMS


def register_pipelines() -> dict[str, Pipeline]:
    """`train_<corpus>_<system>`; `train_<corpus>` is that of the first system; `compare_<corpus>`.

    The first of all is the default. A stage alone is a tag or a namespace:
    `--tags=evaluation`, `--namespaces=training`.
    """
    # Nodes are grouped by stage and datasets named by corpus and system, which Kedro's advice on
    # names does not foresee.
    warnings.filterwarnings("ignore", "One or more dataset names contain '.'", UserWarning)
    pipelines = {}
    for corpus in CORPORA:
        for system in SYSTEMS:
            pipelines[f"train_{corpus}_{system}"] = train_pipeline(corpus, system)
        pipelines[f"train_{corpus}"] = pipelines[f"train_{corpus}_{next(iter(SYSTEMS))}"]
        pipelines[f"compare_{corpus}"] = compare_pipeline(corpus)
    default = pipelines[f"train_{next(iter(CORPORA))}"]
    return {"__default__": default, **pipelines}


def train_pipeline(corpus: str, system: str) -> Pipeline:
    """From the official files to a registered model, with the simple systems beside it."""
    beside = [name for name, other in SYSTEMS.items() if other.simple and name != system]
    systems = [system, *beside]
    stages = {
        "ingestion": [ingestion.create_pipeline(corpus)],
        "alignment": [alignment.create_pipeline(corpus)],
        "training": [training.create_pipeline(corpus, name) for name in systems],
        "calibration": [calibration.create_pipeline(corpus, name) for name in systems],
        "evaluation": [
            evaluation.create_pipeline(corpus, name, examine=name == system) for name in systems
        ],
        "comparison": [comparison.create_pipeline(corpus, system, beside)],
        "registration": [registration.create_pipeline(corpus, system)],
    }
    return _joined(stages)


def compare_pipeline(corpus: str) -> Pipeline:
    """From the official files to systems x seeds in one table."""
    tables = {
        "ingestion": [ingestion.create_pipeline(corpus)],
        "alignment": [alignment.create_pipeline(corpus)],
    }
    return _joined({**tables, **seeds.create_pipeline(corpus)})


def _joined(stages: dict[str, list[Pipeline]]) -> Pipeline:
    parts = (Pipeline(part, tags=stage) for stage, group in stages.items() for part in group)
    return Pipeline(list(chain.from_iterable(part.nodes for part in parts)))
