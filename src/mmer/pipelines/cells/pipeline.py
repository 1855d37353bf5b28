from kedro.pipeline import Pipeline

from mmer.evaluation.assessment import EvaluationSettings
from mmer.evaluation.seeds import ComparisonSettings
from mmer.pipelines import calibration, training
from mmer.pipelines.binding import bound, in_namespace
from mmer.pipelines.evaluation.nodes import score_test

from .cells import Cell, cells
from .nodes import compare_cells, write_comparison


def create_pipeline(corpus: str) -> dict[str, list[Pipeline]]:
    """Sample tables -> systems x seeds -> one table and page; stage -> its pipelines."""
    every = cells(corpus)
    return {
        "training": [
            training.create_pipeline(corpus, cell.system, cell.name, cell.seed) for cell in every
        ],
        "calibration": [calibration.create_pipeline(corpus, cell.name) for cell in every],
        "evaluation": [_scoring(corpus, cell) for cell in every],
        "comparison": [_comparison(corpus, every)],
    }


def _scoring(corpus: str, cell: Cell) -> Pipeline:
    own, node = f"{corpus}.{cell.name}", in_namespace(f"evaluation.{cell.name}")
    given = [f"{own}.model", f"{corpus}.test_samples"]
    return Pipeline([node(score_test, given, f"{own}.test_scores", tags="gpu")])


def _comparison(corpus: str, every: list[Cell]) -> Pipeline:
    node = in_namespace("comparison")
    parts = [
        f"{corpus}.{cell.name}.{part}" for cell in every for part in ("test_scores", "calibration")
    ]
    settings = [f"params:{corpus}.{name}" for name in ("comparison", "evaluation")]
    compared, table, page = (
        f"{corpus}.{name}" for name in ("compared_systems", "compared_table", "compared_page")
    )
    types = {"asked": ComparisonSettings, "evaluation": EvaluationSettings}
    compare = bound(compare_cells, types, cells=tuple(every))
    return Pipeline(
        [
            node(compare, [*settings, *parts], [compared, table]),
            node(write_comparison, [f"{corpus}.manifest", compared], page),
        ]
    )
