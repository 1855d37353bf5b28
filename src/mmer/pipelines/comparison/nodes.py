"""Comparison: one system beside the others on the same test samples, and the page that shows it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from mmer.calibration.calibration import Calibration
from mmer.corpora import CORPORA
from mmer.corpora.corpus import Manifest
from mmer.corpora.data_report import DataReport
from mmer.evaluation.assessment import Comparison, EvaluationSettings, compare_systems
from mmer.evaluation.attention import Explanations
from mmer.evaluation.failures import Failures
from mmer.evaluation.robustness import Robustness
from mmer.metrics.scores import Scores
from mmer.reporting.figures import EvaluationFigures, evaluation_figures, learning_curves
from mmer.reporting.report import ReportInput, render_report
from mmer.reporting.summary import summary_frame
from mmer.samples.table import SampleTable
from mmer.systems.contract import FittedSystem
from mmer.training.history import History


def compare(settings: EvaluationSettings, *parts: Any) -> tuple[Comparison, pd.DataFrame]:
    """The first system against each of the others, paired.

    Args:
        settings: Resamples and seed of the bootstrap.
        parts: Test scores, calibration and assessment of the first system, then of the next.

    Raises:
        InputError: They were not scored on the same samples.
    """
    systems = list(zip(parts[::3], parts[1::3], parts[2::3], strict=True))
    comparison = compare_systems(systems, settings)
    return comparison, summary_frame(comparison)


def plot_learning_curves(history: History, fitted: FittedSystem) -> go.Figure:
    """Every term of the loss, and what the epoch was chosen by, over the epochs."""
    return learning_curves(history, fitted.info.title, synthetic=fitted.info.synthetic)


def plot_evaluation(
    scores: Scores,
    calibration: Calibration,
    comparison: Comparison,
    failures: Failures,
    robustness: Robustness,
) -> EvaluationFigures:
    """The figures of the first system's report."""
    return evaluation_figures(scores, calibration, comparison, failures, robustness)


def write_report(
    manifest: Manifest,
    test: SampleTable,
    data: DataReport,
    fitted: FittedSystem,
    comparison: Comparison,
    calibration: Calibration,
    failures: Failures,
    explanations: Explanations,
    learning_curves: go.Figure,
    *figures: go.Figure,
) -> str:
    """Everything of the first system on one page that opens from disk."""
    first = comparison.assessments[0].info
    fitted.check_gave(first)
    test.expect("test", first.fingerprint)
    test.expect("test", manifest.fingerprint)
    corpus = CORPORA[manifest.corpus]
    return render_report(
        ReportInput(
            corpus=corpus.title,
            data=data,
            comparison=comparison,
            calibration=calibration,
            failures=failures,
            explanations=explanations,
            figures=EvaluationFigures(*figures),
            learning_curves=learning_curves,
            published_scores=corpus.published.scores,
            caveats=corpus.published.caveats,
            facts={"Settings": str(fitted.info.settings)},
        )
    )
