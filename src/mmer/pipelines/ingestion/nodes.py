"""Ingestion: open a corpus's official files and check them before anything else runs."""

from __future__ import annotations

from mmer.corpora.corpus import Ingestion, Manifest, RawCorpus
from mmer.corpora.ingestion import open_corpus


def open_raw_files(raw: RawCorpus, settings: Ingestion, corpus: str) -> Manifest:
    """Open the files and check them; what they are and which samples they hold is noted down."""
    return open_corpus(corpus, raw, settings)
