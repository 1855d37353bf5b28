from kedro.pipeline import Pipeline

from mmer.pipelines.binding import bound, in_namespace
from mmer.systems import SYSTEMS
from mmer.training.checkpoints import CheckpointSettings

from .nodes import fit_system


def create_pipeline(corpus: str, system: str) -> Pipeline:
    """Training and validation samples -> a fitted system and the history of its training."""
    own, node = f"{corpus}.{system}", in_namespace(f"training.{system}")
    types: dict[str, type] = {"settings": SYSTEMS[system].settings, "kept": CheckpointSettings}
    fit = bound(fit_system, types, system=system)
    inputs = [
        *(f"{corpus}.{split}_samples" for split in ("train", "valid")),
        *(f"params:{corpus}.{name}" for name in (system, "checkpoints")),
        f"{own}.checkpoints",
    ]
    return Pipeline([node(fit, inputs, [f"{own}.model", f"{own}.history"], tags="gpu")])
