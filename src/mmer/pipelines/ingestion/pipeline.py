from kedro.pipeline import Node, Pipeline

from .nodes import open_corpus


def create_pipeline() -> Pipeline:
    """Official files -> a corpus that has been opened and checked."""
    return Pipeline([Node(open_corpus, ["raw", "params:ingestion"], "source", name="open_corpus")])
