from collections.abc import Sequence

from kedro.pipeline import Node, Pipeline

from mmer.reporting.figures import EvaluationFigures

from .nodes import compare, plot_evaluation, plot_learning_curves, write_report


def create_pipeline(corpus: str, system: str, beside: Sequence[str]) -> Pipeline:
    """Assessed systems -> the first beside the others: table, figures, report."""
    own, namespace = f"{corpus}.{system}", "comparison"
    assessed = [
        f"{corpus}.{name}.{part}"
        for name in (system, *beside)
        for part in ("test_scores", "calibration", "assessment")
    ]
    examined = [f"{own}.comparison", f"{own}.failures"]
    figures = [f"{own}.{name}_figure" for name in EvaluationFigures._fields]
    return Pipeline(
        [
            Node(
                compare,
                [f"params:{corpus}.evaluation", *assessed],
                [f"{own}.comparison", f"{own}.summary"],
                name="compare",
                namespace=namespace,
            ),
            Node(
                plot_learning_curves,
                [f"{own}.history", f"{own}.model"],
                f"{own}.learning_curves_figure",
                name="plot_learning_curves",
                namespace=namespace,
            ),
            Node(
                plot_evaluation,
                [f"{own}.test_scores", f"{own}.calibration", *examined, f"{own}.robustness"],
                figures,
                name="plot_evaluation",
                namespace=namespace,
            ),
            Node(
                write_report,
                [
                    f"{corpus}.manifest",
                    f"{corpus}.test_samples",
                    f"{own}.model",
                    f"{own}.comparison",
                    f"{own}.calibration",
                    f"{own}.failures",
                    f"{own}.explanations",
                    f"{own}.learning_curves_figure",
                    *figures,
                ],
                f"{own}.report",
                name="write_report",
                namespace=namespace,
            ),
        ]
    )
