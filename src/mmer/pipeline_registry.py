"""The registered pipelines: training, comparison and promotion, on every corpus."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from itertools import chain

from kedro.pipeline import Pipeline

from mmer.corpora import CORPORA
from mmer.pipelines import (
    alignment,
    calibration,
    cells,
    comparison,
    evaluation,
    ingestion,
    prediction,
    promotion,
    registration,
    training,
)
from mmer.pipelines.cells.cells import families
from mmer.systems import SYSTEMS


def register_pipelines() -> dict[str, Pipeline]:
    """`train_<corpus>_<system>`; `train_<corpus>` is that of the first system; `promote_<corpus>`
    and `rollback_<corpus>`; `compare_<corpus>` and `ablate_<corpus>`, and these two of every family
    of corpora.

    The first of all is the default. A stage alone is a tag or a namespace:
    `--tags=evaluation`, `--namespaces=training`.
    """
    # Nodes are grouped by stage and datasets named by corpus and system, which Kedro's advice on
    # names does not foresee.
    warnings.filterwarnings("ignore", "One or more dataset names contain '.'", UserWarning)
    pipelines = {}
    for corpus, known in CORPORA.items():
        if known.family:
            continue
        for system in SYSTEMS:
            pipelines[f"train_{corpus}_{system}"] = train_pipeline(corpus, system)
        pipelines[f"train_{corpus}"] = pipelines[f"train_{corpus}_{next(iter(SYSTEMS))}"]
        pipelines[f"predict_{corpus}"] = _joined(
            {"prediction": [prediction.create_pipeline(corpus)]}
        )
        pipelines[f"promote_{corpus}"] = _joined({"promotion": [promotion.create_pipeline(corpus)]})
        pipelines[f"rollback_{corpus}"] = _joined(
            {"promotion": [promotion.create_rollback(corpus)]}
        )
        pipelines[f"compare_{corpus}"] = _on([corpus], cells.compare(corpus))
        pipelines[f"ablate_{corpus}"] = _on([corpus], cells.ablate(corpus))
    for family, corpora in families().items():
        pipelines[f"compare_{family}"] = _on(corpora, cells.compare_family(family, corpora))
        pipelines[f"ablate_{family}"] = _on(corpora, cells.ablate_family(family, corpora))
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


def _on(corpora: Iterable[str], stages: dict[str, list[Pipeline]]) -> Pipeline:
    """From the official files to what cells say together."""
    corpora = list(corpora)
    several = len(corpora) > 1
    tables = {
        "ingestion": [ingestion.create_pipeline(c, of_several=several) for c in corpora],
        "alignment": [alignment.create_pipeline(c, of_several=several) for c in corpora],
    }
    return _joined({**tables, **stages})


def _joined(stages: dict[str, list[Pipeline]]) -> Pipeline:
    parts = (Pipeline(part, tags=stage) for stage, group in stages.items() for part in group)
    return Pipeline(list(chain.from_iterable(part.nodes for part in parts)))
