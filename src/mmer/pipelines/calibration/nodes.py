"""Calibration: thresholds, probabilities and guarantees, chosen on the validation samples alone."""

from __future__ import annotations

import logging

from mmer.calibration.calibration import Calibration, calibrate
from mmer.calibration.settings import CalibrationSettings
from mmer.metrics.scores import Scores
from mmer.pipelines.scoring import score
from mmer.samples.table import SampleTable
from mmer.systems.contract import FittedSystem

logger = logging.getLogger(__name__)


def score_valid(fitted: FittedSystem, valid: SampleTable) -> Scores:
    """The system's scores on the validation samples."""
    valid.expect("valid")
    return score(fitted, valid)


def calibrate_scores(scores: Scores, settings: CalibrationSettings) -> Calibration:
    """Thresholds, probabilities and prediction sets, with the model that they belong to."""
    calibration = calibrate(scores, settings)
    for line in (calibration.reason, *calibration.notes):
        logger.info("%s: %s", scores.info.title, line)
    return calibration
