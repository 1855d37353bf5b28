from kedro.pipeline import Node, Pipeline

from mmer.corpora import CORPORA
from mmer.pipelines.binding import bound

from .nodes import open_raw_files


def create_pipeline(corpus: str) -> Pipeline:
    """Official files -> what they are, checked."""
    settings = {"settings": CORPORA[corpus].ingestion}
    return Pipeline(
        [
            Node(
                bound(open_raw_files, settings, corpus=corpus),
                [f"{corpus}.raw", f"params:{corpus}.ingestion"],
                f"{corpus}.manifest",
                name="open_raw_files",
                namespace="ingestion",
            )
        ]
    )
