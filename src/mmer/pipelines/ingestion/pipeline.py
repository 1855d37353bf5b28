from kedro.pipeline import Pipeline

from mmer.corpora import CORPORA
from mmer.pipelines.binding import bound, in_namespace

from .nodes import open_raw_files


def create_pipeline(corpus: str, *, of_several: bool = False) -> Pipeline:
    """Official files -> what they are, checked.

    Nodes are named after the corpus if it is `of_several` in the same pipeline.
    """
    node = in_namespace(f"ingestion.{corpus}" if of_several else "ingestion")
    opened = bound(open_raw_files, {"settings": CORPORA[corpus].ingestion}, corpus=corpus)
    inputs = [f"{corpus}.raw", f"params:{corpus}.ingestion"]
    return Pipeline([node(opened, inputs, f"{corpus}.manifest")])
