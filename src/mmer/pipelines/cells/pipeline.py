"""Sample tables -> cells -> one table and page. Every function gives stage -> its pipelines."""

from __future__ import annotations

from collections.abc import Iterable

from kedro.pipeline import Pipeline

from mmer.calibration.settings import CalibrationSettings
from mmer.evaluation.assessment import EvaluationSettings
from mmer.evaluation.seeds import AblationSettings, ComparisonSettings
from mmer.pipelines.binding import bound, in_namespace
from mmer.systems import SYSTEMS
from mmer.training.checkpoints import CheckpointSettings

from .cells import Cell, ablated_cells, asked, compared_cells
from .comparing import (
    ablate_cells,
    compare_cells,
    gather_corpora,
    write_ablations,
    write_comparison,
    write_corpora,
)
from .nodes import score_cell, train_cell

Stages = dict[str, list[Pipeline]]


def compare(corpus: str) -> Stages:
    """Systems x seeds on one corpus."""
    return _comparison(corpus, corpus, page=True)


def compare_family(family: str, corpora: Iterable[str]) -> Stages:
    """Systems x seeds on every corpus of a family."""
    corpora = tuple(corpora)
    stages = _joined(_comparison(corpus, family, page=False) for corpus in corpora)
    node = in_namespace("comparison")
    gather = bound(gather_corpora, corpora=corpora)
    compared = f"{family}.compared_corpora"
    told = [f"{family}.compared_{kind}" for kind in ("table", "latex", "figure", "page")]
    nodes = [
        node(gather, [f"{corpus}.compared_systems" for corpus in corpora], compared),
        node(write_corpora, compared, told),
    ]
    stages["comparison"].append(Pipeline(nodes))
    return stages


def ablate(corpus: str) -> Stages:
    """Systems without each of their parts, x seeds, on one corpus."""
    return ablate_family(corpus, [corpus])


def ablate_family(family: str, corpora: Iterable[str]) -> Stages:
    """Systems without each of their parts, x seeds, on every corpus of a family."""
    settings = asked(family, AblationSettings)
    every = [(c, tuple(cells)) for c in corpora for cells in ablated_cells(settings, c).values()]
    stages = _joined(_cells(corpus, cells) for corpus, cells in every)
    node, ablated = in_namespace("comparison"), f"{family}.ablated_systems"
    parts = []
    for corpus, cells in every:
        parts.append(f"params:{corpus}.{cells[0].system}")
        parts += [
            f"{corpus}.{cell.name}.{part}"
            for cell in cells
            for part in ("test_scores", "calibration")
        ]
    types = {"asked": AblationSettings, "evaluation": EvaluationSettings}
    given = [f"params:{family}.ablation", f"params:{family}.evaluation", *parts]
    told = [f"{family}.ablated_{kind}" for kind in ("table", "latex", "page")]
    nodes = [
        node(bound(ablate_cells, types, corpora=tuple(every)), given, ablated),
        node(write_ablations, ablated, told),
    ]
    stages["comparison"] = [Pipeline(nodes)]
    return stages


def _comparison(corpus: str, settings: str, *, page: bool) -> Stages:
    """Systems x seeds on one corpus, with the settings of it or of its family."""
    cells = tuple(compared_cells(asked(settings, ComparisonSettings)))
    node = in_namespace(f"comparison.{corpus}")
    systems = list(dict.fromkeys(cell.system for cell in cells))
    parts = [f"params:{corpus}.{system}" for system in systems]
    parts += [
        f"{corpus}.{cell.name}.{part}"
        for cell in cells
        for part in ("test_scores", "calibration", "scored")
    ]
    types = {"asked": ComparisonSettings, "evaluation": EvaluationSettings}
    given = [f"params:{settings}.comparison", f"params:{settings}.evaluation", *parts]
    compared = [f"{corpus}.compared_systems", f"{corpus}.compared_costs"]
    nodes = [node(bound(compare_cells, types, cells=cells), given, compared)]
    if page:
        told = [f"{corpus}.compared_{kind}" for kind in ("table", "latex", "page")]
        nodes.append(node(write_comparison, [f"{corpus}.manifest", *compared], told))
    return {**_cells(corpus, cells), "comparison": [Pipeline(nodes)]}


def _cells(corpus: str, cells: Iterable[Cell]) -> Stages:
    cells = tuple(cells)
    return {
        "training": [_training(corpus, cell) for cell in cells],
        "evaluation": [_scoring(corpus, cell) for cell in cells],
    }


def _training(corpus: str, cell: Cell) -> Pipeline:
    own, node = f"{corpus}.{cell.name}", in_namespace(f"training.{corpus}.{cell.name}")
    types: dict[str, type] = {
        "settings": SYSTEMS[cell.system].settings,
        "calibration": CalibrationSettings,
        "kept": CheckpointSettings,
    }
    inputs = [
        *(f"{corpus}.{split}_samples" for split in ("train", "valid")),
        *(f"params:{corpus}.{name}" for name in (cell.system, "calibration", "checkpoints")),
        f"{own}.checkpoints",
        f"{own}.finished_training",
    ]
    outputs = [f"{own}.{name}" for name in ("model", "history", "calibration", "trained")]
    return Pipeline([node(bound(train_cell, types, cell=cell), inputs, outputs, tags="gpu")])


def _scoring(corpus: str, cell: Cell) -> Pipeline:
    own, node = f"{corpus}.{cell.name}", in_namespace(f"evaluation.{corpus}.{cell.name}")
    found = f"{own}.finished_scoring"
    inputs = [f"{own}.model", f"{own}.trained", f"{corpus}.test_samples", found]
    outputs = [f"{own}.test_scores", f"{own}.scored"]
    return Pipeline([node(bound(score_cell, cell=cell), inputs, outputs, tags="gpu")])


def _joined(several: Iterable[Stages]) -> Stages:
    stages: Stages = {}
    for one in several:
        for stage, pipelines in one.items():
            stages.setdefault(stage, []).extend(pipelines)
    return stages
