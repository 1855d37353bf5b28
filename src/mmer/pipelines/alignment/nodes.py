"""Alignment: words, frames and segments become sample tables, one per split."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import pyarrow as pa

from mmer.corpora.source import CorpusSource, SampleStream
from mmer.evaluation.data_report import data_report
from mmer.evaluation.figures import corpus_overview


def align_train(source: CorpusSource) -> SampleStream:
    """The training samples, read when the table is written."""
    return SampleStream(source.info, source.read("train"))


def align_valid(source: CorpusSource) -> SampleStream:
    """The validation samples, read when the table is written."""
    return SampleStream(source.info, source.read("valid"))


def align_test(source: CorpusSource) -> SampleStream:
    """The test samples, read when the table is written."""
    return SampleStream(source.info, source.read("test"))


def report_data(
    train: pa.Table, valid: pa.Table, test: pa.Table
) -> tuple[dict[str, Any], go.Figure]:
    """What the three tables hold, beside the published counts."""
    report = data_report({"train": train, "valid": valid, "test": test})
    return report, corpus_overview(report)
