"""Registration: weights, thresholds and test metrics become one model that can be served."""

from __future__ import annotations

from typing import Any

from mmer.calibration.calibration import Calibration
from mmer.models.weights import TrainedModel
from mmer.registry.servable import ServableModel


def bundle_model(
    model: TrainedModel, calibration: dict[str, Any], test_metrics: dict[str, Any]
) -> ServableModel:
    """What the registry takes.

    Raises:
        InputError: Thresholds or metrics belong to other weights.
    """
    return ServableModel(model, Calibration.from_dict(calibration), test_metrics)
