"""What a user may choose about calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from mmer.calibration.targets import Target, TargetName
from mmer.errors import InputError

Method = Literal["auto", "fixed", "shared", "per_label"]


@dataclass(frozen=True)
class CalibrationSettings:
    """How thresholds, probabilities and prediction sets are made from validation scores.

    Attributes:
        target: What the thresholds are to make large (`Target`).
        minimum_precision: For target "recall_at_precision" alone.
        method: "fixed", "shared" (one threshold), "per_label", or "auto": the one that
            cross-fitting over validation groups supports.
        fixed: The fixed threshold; the published program's is 0.25.
        minimum_positives: A label with fewer in validation takes the shared threshold and keeps
            its scores as probabilities.
        folds: Folds of the cross-fitting.
        alphas: Bounds on the expected false-negative rate, each of which gets prediction sets.

    Raises:
        InputError: A value outside its range.
    """

    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    target: TargetName = "micro_f1"
    minimum_precision: float = 0.8
    method: Method = "auto"
    fixed: float = 0.25
    minimum_positives: int = 20
    folds: int = 5
    alphas: tuple[float, ...] = (0.1,)

    def __post_init__(self) -> None:
        self.as_target()
        checks = (
            ("method", self.method in get_args(Method), f"one of {', '.join(get_args(Method))}"),
            ("fixed", 0 <= self.fixed < 1, "at least 0 and below 1"),
            ("minimum_positives", self.minimum_positives >= 1, "at least 1"),
            ("folds", self.folds >= 2, "at least 2"),
            ("alphas", all(0 < a < 1 for a in self.alphas), "numbers between 0 and 1"),
            ("alphas", len(set(self.alphas)) == len(self.alphas), "each number once"),
        )
        for name, holds, expected in checks:
            if not holds:
                raise InputError("calibration settings", name, expected, getattr(self, name))

    def as_target(self) -> Target:
        """The target as the searches take it."""
        return Target(self.target, self.minimum_precision)
