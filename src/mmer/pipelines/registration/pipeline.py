from kedro.pipeline import Pipeline

from mmer.pipelines.binding import in_namespace

from .nodes import bundle_model


def create_pipeline(corpus: str, system: str) -> Pipeline:
    """A trained, evaluated and reported system -> a version, `candidate` if it is good enough."""
    own, node = f"{corpus}.{system}", in_namespace("registration")
    parts = ("model", "calibration", "assessment", "test_scores", "robustness", "comparison")
    before = [f"{own}.valid_scores", f"{corpus}.train_samples"]
    settings = [f"params:{corpus}.promotion", f"params:{corpus}.evaluation"]
    inputs = [*(f"{own}.{part}" for part in parts), *before, *settings, f"{own}.report"]
    return Pipeline([node(bundle_model, inputs, f"{own}.nominated_model")])
