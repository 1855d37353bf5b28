from kedro.pipeline import Pipeline

from mmer.pipelines.binding import in_namespace

from .nodes import calibrate_scores, score_valid


def create_pipeline(corpus: str, system: str) -> Pipeline:
    """Validation samples and a fitted system -> thresholds and probabilities."""
    own, node = f"{corpus}.{system}", in_namespace(f"calibration.{system}")
    scores = f"{own}.valid_scores"
    return Pipeline(
        [
            node(score_valid, [f"{own}.model", f"{corpus}.valid_samples"], scores, tags="gpu"),
            node(calibrate_scores, [scores, f"params:{corpus}.calibration"], f"{own}.calibration"),
        ]
    )
