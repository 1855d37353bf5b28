from kedro.pipeline import Node, Pipeline

from .nodes import calibrate_baselines, calibrate_carat, score_valid


def create_pipeline() -> Pipeline:
    """Validation samples and trained systems -> thresholds and probabilities."""
    return Pipeline(
        [
            Node(
                score_valid,
                ["model", "valid_samples"],
                "valid_scores",
                name="score_valid",
                tags="gpu",
            ),
            Node(
                calibrate_carat,
                ["valid_scores", "params:calibration"],
                "carat_calibration",
                name="calibrate_carat",
            ),
            Node(
                calibrate_baselines,
                ["baselines", "valid_samples", "params:calibration"],
                "baseline_calibration",
                name="calibrate_baselines",
            ),
        ]
    )
