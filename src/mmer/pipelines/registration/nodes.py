"""Registration: model, thresholds and test figures become one model that can be served."""

from __future__ import annotations

from mmer.calibration.calibration import Calibration
from mmer.evaluation.assessment import Assessment
from mmer.registry.servable import ServableModel
from mmer.systems.contract import FittedSystem


def bundle_model(
    fitted: FittedSystem, calibration: Calibration, assessment: Assessment
) -> ServableModel:
    """What the registry takes."""
    return ServableModel(fitted, calibration, assessment)
