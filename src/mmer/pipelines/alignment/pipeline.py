from kedro.pipeline import Pipeline

from mmer.pipelines.binding import bound, in_namespace
from mmer.samples.table import SPLITS

from .nodes import align_samples, report_data


def create_pipeline(corpus: str, *, of_several: bool = False) -> Pipeline:
    """What the official files are -> sample tables, and a report of what they hold.

    Nodes are named after the corpus if it is `of_several` in the same pipeline.
    """
    node = in_namespace(f"alignment.{corpus}" if of_several else "alignment")
    manifest = f"{corpus}.manifest"
    tables = {split: f"{corpus}.{split}_samples" for split in SPLITS}
    reports = [f"{corpus}.data_report", f"{corpus}.data_report_figure"]
    aligned = [
        node(
            bound(align_samples, split=split),
            [manifest, f"{corpus}.workspace"],
            table,
            name=f"align_{split}",
        )
        for split, table in tables.items()
    ]
    return Pipeline([*aligned, node(report_data, [manifest, *tables.values()], reports)])
