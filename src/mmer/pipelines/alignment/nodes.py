"""Alignment: words, frames and segments become sample tables, one per split."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go

from mmer.corpora import CORPORA
from mmer.corpora.corpus import Manifest
from mmer.corpora.data_report import DataReport, data_report
from mmer.corpora.ingestion import aligned_table
from mmer.reporting.data_figures import corpus_overview
from mmer.samples.table import SampleTable, Split


def align_samples(manifest: Manifest, workspace: Path, split: Split) -> SampleTable:
    """The samples of one split, aligned; reused if they have been made before."""
    return aligned_table(manifest, split, workspace)


def report_data(
    manifest: Manifest, train: SampleTable, valid: SampleTable, test: SampleTable
) -> tuple[DataReport, go.Figure]:
    """What the three tables hold, beside the published counts."""
    tables: dict[Split, SampleTable] = {"train": train, "valid": valid, "test": test}
    corpus = CORPORA[manifest.corpus]
    settings = corpus.ingestion.model_validate(manifest.settings)
    report = data_report(tables, corpus, manifest.notes, settings.constant_labels)
    return report, corpus_overview(report)
