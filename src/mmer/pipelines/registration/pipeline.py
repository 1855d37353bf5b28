from kedro.pipeline import Pipeline

from mmer.pipelines.binding import in_namespace

from .nodes import bundle_model


def create_pipeline(corpus: str, system: str) -> Pipeline:
    """Model, thresholds and test figures -> a version in the registry, alias `candidate`."""
    own, node = f"{corpus}.{system}", in_namespace("registration")
    inputs = [f"{own}.model", f"{own}.calibration", f"{own}.assessment"]
    return Pipeline([node(bundle_model, inputs, f"{own}.registered_model")])
