"""Scores to evaluate, made from a seed, and the calibration that belongs to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mmer.calibration.calibration import Calibration, calibrate
from mmer.calibration.settings import CalibrationSettings
from mmer.metrics.scores import Scores


@pytest.fixture
def noisy_scores(toy_scores) -> Callable[..., Scores]:
    """Test scores in which the truth shows, more the larger `signal` is."""

    def made(
        samples: int = 60,
        labels: int = 3,
        seed: int = 0,
        *,
        signal: float = 0.4,
        truth: np.ndarray | None = None,
        **info: object,
    ) -> Scores:
        rng = np.random.default_rng(seed)
        if truth is None:
            truth = (rng.random((samples, labels)) < 0.4).astype(np.uint8)
        values = signal * truth + (1 - signal) * rng.random(truth.shape)
        return toy_scores(values, truth, "test", groups_of=4, **info)

    return made


@pytest.fixture
def thresholds_for(toy_scores) -> Callable[..., Calibration]:
    """A calibration of the model that gave these scores, with thresholds as given."""

    def made(scores: Scores, thresholds: float | np.ndarray = 0.5) -> Calibration:
        info = scores.info.model_copy(update={"split": "valid"})
        valid = toy_scores(scores.scores, scores.truth, **info.model_dump())
        calibration = calibrate(valid, CalibrationSettings(method="fixed"))
        chosen = np.broadcast_to(thresholds, len(scores.labels))
        return calibration.model_copy(update={"thresholds": tuple(chosen.tolist())})

    return made
