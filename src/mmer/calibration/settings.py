"""What a user may choose about calibration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from mmer.calibration.targets import TargetName
from mmer.schema import Settings

Method = Literal["auto", "fixed", "shared", "per_label"]


class CalibrationSettings(Settings):
    """How thresholds, probabilities and prediction sets are made from validation scores.

    Attributes:
        target: What the thresholds are to make large (`Target`).
        minimum_precision: For target "recall_at_precision" alone.
        method: "fixed", "shared" (one threshold), "per_label", or "auto": the one that
            cross-fitting over validation groups supports.
        fixed: The fixed threshold; published programs use 0.25.
        minimum_positives: A label with fewer in validation takes the shared threshold and keeps
            its scores as probabilities.
        alphas: What conformal risk control is to keep below; each gets prediction sets
            (`ConformalThreshold`).
    """

    target: TargetName = "micro_f1"
    minimum_precision: float = Field(0.8, gt=0, le=1)
    method: Method = "auto"
    fixed: float = Field(0.25, ge=0, lt=1)
    minimum_positives: int = Field(20, ge=1)
    folds: int = Field(5, ge=2)
    alphas: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.1,)

    @field_validator("alphas")
    @classmethod
    def _each_once(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(alphas)) < len(alphas):
            raise ValueError("each number may stand there once")
        return alphas
