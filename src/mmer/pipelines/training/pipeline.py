from kedro.pipeline import Node, Pipeline

from mmer.pipelines.binding import bound
from mmer.systems import SYSTEMS

from .nodes import fit_system


def create_pipeline(corpus: str, system: str) -> Pipeline:
    """Training and validation samples -> a fitted system and the history of its training."""
    own = f"{corpus}.{system}"
    return Pipeline(
        [
            Node(
                bound(fit_system, {"settings": SYSTEMS[system].settings}, system=system),
                [f"{corpus}.train_samples", f"{corpus}.valid_samples", f"params:{own}"],
                [f"{own}.model", f"{own}.history"],
                name="fit",
                tags="gpu",
                namespace=f"training.{system}",
            ),
        ]
    )
