from kedro.pipeline import Node, Pipeline

from .nodes import align_test, align_train, align_valid, report_data


def create_pipeline() -> Pipeline:
    """Opened corpus -> sample tables, and a report of what they hold."""
    return Pipeline(
        [
            Node(align_train, "source", "train_samples", name="align_train"),
            Node(align_valid, "source", "valid_samples", name="align_valid"),
            Node(align_test, "source", "test_samples", name="align_test"),
            Node(
                report_data,
                ["train_samples", "valid_samples", "test_samples"],
                ["data_report", "data_report_figure"],
                name="report_data",
            ),
        ]
    )
