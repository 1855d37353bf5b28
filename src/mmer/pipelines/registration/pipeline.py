from kedro.pipeline import Node, Pipeline

from .nodes import bundle_model


def create_pipeline() -> Pipeline:
    """Model, thresholds and test metrics -> a version in the registry, alias `candidate`."""
    return Pipeline(
        [
            Node(
                bundle_model,
                ["model", "carat_calibration", "test_metrics"],
                "registered_model",
                name="register_model",
            )
        ]
    )
