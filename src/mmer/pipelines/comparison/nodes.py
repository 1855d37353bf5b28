"""Comparison: one system beside the others on the same test samples, and the page that shows it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mmer.calibration.calibration import Calibration
from mmer.corpora import CORPORA
from mmer.evaluation.assessment import Comparison, EvaluationSettings, compare_systems
from mmer.reporting.summary import summary_frame


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
