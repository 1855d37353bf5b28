from kedro.pipeline import Node, Pipeline

from .nodes import fit_simple_baselines, plot_learning_curves, train_carat


def create_pipeline() -> Pipeline:
    """Training and validation samples -> a trained model, its history, the baselines."""
    return Pipeline(
        [
            Node(
                train_carat,
                ["train_samples", "valid_samples", "params:training"],
                ["model", "history"],
                name="train_carat",
                tags="gpu",
            ),
            Node(fit_simple_baselines, "train_samples", "baselines", name="fit_baselines"),
            Node(
                plot_learning_curves,
                ["history", "model"],
                "learning_curves_figure",
                name="plot_learning_curves",
            ),
        ]
    )
