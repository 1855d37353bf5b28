"""What one system is worth, and how it stands against others on the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from mmer.calibration.calibration import Calibration, probabilities
from mmer.calibration.conformal import Coverage, coverage
from mmer.calibration.probabilities import Reliability, reliability
from mmer.errors import InputError
from mmer.metrics.intervals import Differences, Intervals, bootstrap_intervals, compare
from mmer.metrics.metrics import Metrics, evaluate
from mmer.metrics.resampled import Judged
from mmer.metrics.scores import Scores, ScoresInfo
from mmer.schema import Record, Settings


class EvaluationSettings(Settings):
    """How systems are evaluated.

    Attributes:
        resamples: Of every bootstrap.
        seed: Of the bootstraps and of the draws of hidden modalities.
        missing_rates: Probabilities with which a modality of a sample is hidden.
        repeats: Draws per missing rate, of which the mean is reported.
    """

    resamples: int = Field(10_000, ge=20)
    seed: int = Field(0, ge=0)
    missing_rates: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.0, 0.2, 0.4, 0.6, 0.8)
    repeats: int = Field(5, ge=1)


class Assessment(Record):
    """All figures of one system on one split.

    Attributes:
        thresholds: L thresholds, of the tables per label and of `metrics`.
        of_metric: Headline metric -> L thresholds that were chosen for it; its interval is under
            these.
        intervals: Of decisions, of ranking, and of calibrated probabilities.
        reliability: Of each label's calibrated probabilities.
        coverage: Of each conformal threshold.
    """

    info: ScoresInfo
    thresholds: tuple[float, ...]
    of_metric: dict[str, tuple[float, ...]] = Field(default={})
    metrics: Metrics
    intervals: Intervals
    reliability: tuple[Reliability, ...]
    coverage: tuple[Coverage, ...]


class Comparison(Record):
    """Several systems on the same samples; the first minus each of the others, in their order."""

    assessments: tuple[Assessment, ...]
    differences: tuple[Differences, ...]


def assess(scores: Scores, calibration: Calibration, settings: EvaluationSettings) -> Assessment:
    """Metrics, intervals and coverage of one system.

    Raises:
        InputError: The calibration belongs to another model or to other tables; there are fewer
            than two groups to draw from.
    """
    judged = judged_by(scores, calibration)
    columns = zip(judged.given.T, scores.truth.T, strict=True)
    return Assessment(
        info=scores.info,
        thresholds=calibration.thresholds,
        of_metric={name: one.thresholds for name, one in calibration.of_metric.items()},
        metrics=evaluate(scores, judged.thresholds),
        intervals=bootstrap_intervals(judged, resamples=settings.resamples, seed=settings.seed),
        reliability=tuple(reliability(column, truth) for column, truth in columns),
        coverage=tuple(
            coverage(scores.scores, scores.truth, scores.group_ids, threshold)
            for threshold in calibration.conformal
        ),
    )


def judged_by(scores: Scores, calibration: Calibration) -> Judged:
    """Scores with the thresholds and probabilities that were chosen for them.

    Raises:
        InputError: The calibration belongs to another model or to other tables.
    """
    calibration.check(scores.info.model, scores.info.fingerprint)
    return Judged(
        scores,
        np.array(calibration.thresholds),
        {name: np.array(one.thresholds) for name, one in calibration.of_metric.items()},
        probabilities(scores.scores, calibration),
    )


def compare_systems(
    systems: Sequence[tuple[Scores, Calibration, Assessment]], settings: EvaluationSettings
) -> Comparison:
    """The first system beside each of the others.

    Raises:
        InputError: Scores are of other samples, another split or other tables than the first ones;
            a calibration or an assessment belongs to other scores.
    """
    for scores, calibration, assessment in systems:
        calibration.check(scores.info.model, scores.info.fingerprint)
        if (assessment.info, assessment.thresholds) != (scores.info, calibration.thresholds):
            raise InputError(
                f"assessment of {assessment.info.title}",
                "model, tables and thresholds",
                f"those of the scores and the calibration of {scores.info.title}",
                f"those of model {assessment.info.model}",
                "Assess it again (--tags=evaluation).",
            )
    assessments = tuple(assessment for _, _, assessment in systems)
    first, *others = [judged_by(scores, calibration) for scores, calibration, _ in systems]
    differences = compare(first, others, resamples=settings.resamples, seed=settings.seed)
    return Comparison(assessments=assessments, differences=differences)


def check_model(model: str, **parts: str) -> None:
    """Refuse to show `parts` of which the model's digest is not that of `model`.

    Raises:
        InputError: One is of another.
    """
    for name, found in parts.items():
        if found != model:
            remedy = "Evaluate again (--tags=evaluation)."
            raise InputError(name, "model", f"the model that is shown, {model}", found, remedy)
