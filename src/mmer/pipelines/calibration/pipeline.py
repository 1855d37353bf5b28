from kedro.pipeline import Node, Pipeline

from .nodes import calibrate_scores, score_valid


def create_pipeline(corpus: str, system: str) -> Pipeline:
    """Validation samples and a fitted system -> thresholds and probabilities."""
    own, namespace = f"{corpus}.{system}", f"calibration.{system}"
    return Pipeline(
        [
            Node(
                score_valid,
                [f"{own}.model", f"{corpus}.valid_samples"],
                f"{own}.valid_scores",
                name="score_valid",
                tags="gpu",
                namespace=namespace,
            ),
            Node(
                calibrate_scores,
                [f"{own}.valid_scores", f"params:{corpus}.calibration"],
                f"{own}.calibration",
                name="calibrate",
                namespace=namespace,
            ),
        ]
    )
