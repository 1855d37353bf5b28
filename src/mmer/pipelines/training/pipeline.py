from kedro.pipeline import Node, Pipeline

from mmer.pipelines.binding import bound
from mmer.systems import SYSTEMS

from .nodes import fit_system, plot_learning_curves


def create_pipeline(corpus: str, system: str) -> Pipeline:
    """Training and validation samples -> a fitted system and the history of its training."""
    own, namespace = f"{corpus}.{system}", f"training.{system}"
    return Pipeline(
        [
            Node(
                bound(fit_system, {"settings": SYSTEMS[system].settings}, system=system),
                [f"{corpus}.train_samples", f"{corpus}.valid_samples", f"params:{own}"],
                [f"{own}.model", f"{own}.history"],
                name="fit",
                tags="gpu",
                namespace=namespace,
            ),
            Node(
                plot_learning_curves,
                [f"{own}.history", f"{own}.model"],
                f"{own}.learning_curves_figure",
                name="plot_learning_curves",
                namespace=namespace,
            ),
        ]
    )
