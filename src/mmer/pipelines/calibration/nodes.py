"""Calibration: thresholds, probabilities and guarantees, chosen on the validation samples alone."""

from __future__ import annotations

import logging
from typing import Any

import pyarrow as pa
from pydantic import RootModel

from mmer.calibration.calibration import calibrate
from mmer.calibration.settings import CalibrationSettings
from mmer.evaluation.baselines import Baselines
from mmer.models.weights import TrainedModel
from mmer.samples.scores import Scores
from mmer.training.scoring import score_table

logger = logging.getLogger(__name__)


class CalibrationParameters(RootModel[CalibrationSettings]):
    """What the thresholds aim at, and how they are chosen."""


def score_valid(model: TrainedModel, valid_samples: pa.Table) -> Scores:
    """CARAT's scores on the validation samples."""
    return score_table(model, valid_samples, "valid")


def calibrate_carat(valid_scores: Scores, parameters: CalibrationParameters) -> dict[str, Any]:
    """CARAT's thresholds, probabilities and conformal cuts, with the weights they belong to."""
    calibration = calibrate(valid_scores, parameters.root)
    for line in (calibration.reason, *calibration.notes):
        logger.info(line)
    return calibration.to_dict()


def calibrate_baselines(
    baselines: dict[str, Any], valid_samples: pa.Table, parameters: CalibrationParameters
) -> dict[str, dict[str, Any]]:
    """The same for every baseline, so that the comparison is fair."""
    scores = Baselines.from_dict(baselines).scores(valid_samples, "valid")
    return {name: calibrate(s, parameters.root).to_dict() for name, s in scores.items()}
