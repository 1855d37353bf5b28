from kedro.pipeline import Node, Pipeline

from mmer.pipelines.binding import bound
from mmer.samples.table import SPLITS

from .nodes import align_samples, report_data


def create_pipeline(corpus: str) -> Pipeline:
    """What the official files are -> sample tables, and a report of what they hold."""
    aligned = [
        Node(
            bound(align_samples, {}, split=split),
            [f"{corpus}.manifest", f"{corpus}.workspace"],
            f"{corpus}.{split}_samples",
            name=f"align_{split}",
            namespace="alignment",
        )
        for split in SPLITS
    ]
    return Pipeline(
        [
            *aligned,
            Node(
                report_data,
                [f"{corpus}.manifest", *(f"{corpus}.{split}_samples" for split in SPLITS)],
                [f"{corpus}.data_report", f"{corpus}.data_report_figure"],
                name="report_data",
                namespace="alignment",
            ),
        ]
    )
