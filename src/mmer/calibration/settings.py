"""What a user may choose about calibration."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import Field, field_validator

from mmer.calibration.conformal import Unit
from mmer.calibration.targets import TargetName
from mmer.schema import Settings

T = TypeVar("T")
Method = Literal["auto", "fixed", "shared", "per_label"]


class CalibrationSettings(Settings):
    """How thresholds, probabilities and prediction sets are made from validation scores.

    Attributes:
        target: What the thresholds are to make large (`Target`).
        minimum_precision: For target "recall_at_precision" alone.
        method: "fixed", "shared" (one threshold), "per_label", or "auto": the one that does best on
            validation groups that it was not fitted on.
        fixed: The fixed threshold; published programs use 0.25.
        minimum_positives: A label with fewer in validation takes the shared threshold and keeps
            its scores as probabilities.
        alphas: What conformal risk control is to keep below; each gets prediction sets
            (`ConformalThreshold`).
        guarantees: Which losses it is to keep there: that of samples, of true labels, or both.
    """

    target: TargetName = "micro_f1"
    minimum_precision: float = Field(0.8, gt=0, le=1)
    method: Method = "auto"
    fixed: float = Field(0.25, ge=0, lt=1)
    minimum_positives: int = Field(20, ge=1)
    folds: int = Field(5, ge=2)
    alphas: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.1,)
    guarantees: tuple[Unit, ...] = ("samples", "labels")

    def folds_of(self, groups: np.ndarray) -> int:
        """The number of folds that groups numbered from 0 can be divided into."""
        return min(self.folds, int(groups.max()) + 1)

    @field_validator("alphas", "guarantees")
    @classmethod
    def _each_once(cls, values: tuple[T, ...]) -> tuple[T, ...]:
        if len(set(values)) < len(values):
            raise ValueError("each may stand there once")
        return values
