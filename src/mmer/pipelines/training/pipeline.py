from kedro.pipeline import Pipeline

from mmer.pipelines.binding import bound, in_namespace
from mmer.systems import SYSTEMS

from .nodes import fit_system


def create_pipeline(corpus: str, system: str, cell: str = "", seed: int | None = None) -> Pipeline:
    """Training and validation samples -> a fitted system and the history of its training.

    They are filed under the system's name, or under `cell` if it is one seed of several.
    """
    cell = cell or system
    own, node = f"{corpus}.{cell}", in_namespace(f"training.{cell}")
    fit = bound(fit_system, {"settings": SYSTEMS[system].settings}, system=system, seed=seed)
    inputs = [f"{corpus}.train_samples", f"{corpus}.valid_samples", f"params:{corpus}.{system}"]
    return Pipeline([node(fit, inputs, [f"{own}.model", f"{own}.history"], tags="gpu")])
