from collections.abc import Sequence

from kedro.pipeline import Pipeline

from mmer.pipelines.binding import in_namespace
from mmer.reporting.figures import EvaluationFigures

from .nodes import compare, plot_evaluation, plot_learning_curves, write_report


def create_pipeline(corpus: str, system: str, beside: Sequence[str]) -> Pipeline:
    """Assessed systems -> the first beside the others: table, figures, report."""
    own, node = f"{corpus}.{system}", in_namespace("comparison")
    scores, calibration, assessment = (
        [f"{corpus}.{name}.{part}" for name in (system, *beside)]
        for part in ("test_scores", "calibration", "assessment")
    )
    assessed = [
        part for parts in zip(scores, calibration, assessment, strict=True) for part in parts
    ]
    comparison, failures, model = f"{own}.comparison", f"{own}.failures", f"{own}.model"
    figures = [f"{own}.{name}_figure" for name in EvaluationFigures._fields]
    curves = f"{own}.learning_curves_figure"
    plotted = [scores[0], calibration[0], comparison, failures, f"{own}.robustness"]
    corpus_parts = [f"{corpus}.{name}" for name in ("manifest", "test_samples", "data_report")]
    told = [model, comparison, calibration[0], failures, f"{own}.explanations", curves, *figures]
    return Pipeline(
        [
            node(
                compare, [f"params:{corpus}.evaluation", *assessed], [comparison, f"{own}.summary"]
            ),
            node(plot_learning_curves, [f"{own}.history", model], curves),
            node(plot_evaluation, plotted, figures),
            node(write_report, [*corpus_parts, *told], f"{own}.report"),
        ]
    )
