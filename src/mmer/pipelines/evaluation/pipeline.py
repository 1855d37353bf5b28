from kedro.pipeline import Node, Pipeline

from .nodes import (
    assess_systems,
    examine_failures,
    measure_coverage,
    plot_evaluation,
    score_test,
    write_report,
)

FIGURES = (
    "precision_recall",
    "systems",
    "label_f1",
    "reliability",
    "robustness",
    "co_occurrence",
    "failures",
)
_REPORTED = ("test_samples", "model", "assessment", "coverage", "failures")
_PLOTS = [f"{name}_figure" for name in (*FIGURES, "learning_curves")]


def create_pipeline() -> Pipeline:
    """Test samples and everything chosen before -> figures, metrics and a report."""
    return Pipeline(
        [
            Node(
                score_test, ["model", "test_samples"], "test_scores", name="score_test", tags="gpu"
            ),
            Node(
                assess_systems,
                [
                    "test_scores",
                    "carat_calibration",
                    "baselines",
                    "baseline_calibration",
                    "test_samples",
                ],
                ["assessment", "test_metrics", "summary"],
                name="assess_systems",
            ),
            Node(
                measure_coverage,
                ["test_scores", "carat_calibration"],
                "coverage",
                name="measure_coverage",
            ),
            Node(
                examine_failures,
                ["model", "test_samples", "test_scores", "carat_calibration"],
                "failures",
                name="examine_failures",
            ),
            Node(
                plot_evaluation,
                ["test_scores", "carat_calibration", "assessment", "failures"],
                {name: f"{name}_figure" for name in FIGURES},
                name="plot_evaluation",
            ),
            Node(
                write_report,
                {
                    "calibration": "carat_calibration",
                    **{name: name for name in (*_REPORTED, *_PLOTS)},
                },
                "report",
                name="write_report",
            ),
        ]
    )
