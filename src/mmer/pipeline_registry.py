"""The registered pipelines: for every corpus the sum of the stages, namespaced by its name."""

from __future__ import annotations

from collections.abc import Callable

from kedro.pipeline import Pipeline

from mmer.pipelines import alignment, calibration, evaluation, ingestion, registration, training

CORPORA = ("mosei", "mosei_unaligned", "m3ed")
STAGES: dict[str, Callable[[], Pipeline]] = {
    "ingestion": ingestion.create_pipeline,
    "alignment": alignment.create_pipeline,
    "training": training.create_pipeline,
    "calibration": calibration.create_pipeline,
    "evaluation": evaluation.create_pipeline,
    "registration": registration.create_pipeline,
}


def register_pipelines() -> dict[str, Pipeline]:
    """`train_<corpus>` for every corpus; `train_mosei` is the default.

    A stage alone is a tag: `kedro run --pipeline=train_mosei --tags=evaluation`.
    """
    pipelines = {f"train_{corpus}": _all_stages(corpus) for corpus in CORPORA}
    return {"__default__": pipelines["train_mosei"], **pipelines}


def _all_stages(corpus: str) -> Pipeline:
    stages = [Pipeline(create(), tags=stage) for stage, create in STAGES.items()]
    return Pipeline(
        sum(stages, Pipeline([])), namespace=corpus, prefix_datasets_with_namespace=True
    )
