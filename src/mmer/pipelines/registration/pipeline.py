from kedro.pipeline import Node, Pipeline

from .nodes import bundle_model


def create_pipeline(corpus: str, system: str) -> Pipeline:
    """Model, thresholds and test figures -> a version in the registry, alias `candidate`."""
    own = f"{corpus}.{system}"
    return Pipeline(
        [
            Node(
                bundle_model,
                [f"{own}.model", f"{own}.calibration", f"{own}.assessment"],
                f"{own}.registered_model",
                name="register",
                namespace="registration",
            )
        ]
    )
