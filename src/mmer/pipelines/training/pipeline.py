from kedro.pipeline import Pipeline

from mmer.pipelines.binding import bound, in_namespace
from mmer.systems import SYSTEMS

from .nodes import fit_system


def create_pipeline(corpus: str, system: str) -> Pipeline:
    """Training and validation samples -> a fitted system and the history of its training."""
    own, node = f"{corpus}.{system}", in_namespace(f"training.{system}")
    fit = bound(fit_system, {"settings": SYSTEMS[system].settings}, system=system)
    inputs = [f"{corpus}.train_samples", f"{corpus}.valid_samples", f"params:{own}"]
    return Pipeline([node(fit, inputs, [f"{own}.model", f"{own}.history"], tags="gpu")])
