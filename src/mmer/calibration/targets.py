"""What a set of thresholds is to make large, as a function of counts that add up over samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from mmer.errors import InputError

TargetName = Literal["micro_f1", "macro_f1", "accuracy", "recall_at_precision"]

# What a point of missing precision costs in recall when held-out decisions are compared: more than
# any exchange along a precision-recall curve repays, so that a candidate that keeps the precision
# wins over one that does not.
_PRICE_OF_MISSING_PRECISION = 10.0


@dataclass(frozen=True)
class Target:
    """What the thresholds are chosen for.

    Attributes:
        name: "micro_f1"; "macro_f1" (mean over labels, 0 for a label without positives);
            "accuracy" (mean over samples of intersection over union, 0 for a sample without true
            label, as it is published); "recall_at_precision" (the largest micro recall whose
            precision is at least `minimum_precision`: the micro precision under one shared
            threshold, the precision of each label under one threshold per label).
        minimum_precision: Used by "recall_at_precision" alone.

    Raises:
        InputError: An unknown name, or a precision outside (0, 1].
    """

    name: TargetName = "micro_f1"
    minimum_precision: float = 0.8

    def __post_init__(self) -> None:
        if self.name not in get_args(TargetName):
            known = ", ".join(get_args(TargetName))
            raise InputError("calibration settings", "target", f"one of {known}", self.name)
        if not 0 < self.minimum_precision <= 1:
            raise InputError(
                "calibration settings",
                "minimum_precision",
                "a number above 0, at most 1",
                self.minimum_precision,
            )


@dataclass(frozen=True)
class Counts:
    """Counts from which every target follows; `...` is any number of leading axes.

    Attributes:
        hits: (..., L) samples that have the label and were given it.
        predicted: (..., L) samples that were given the label.
        positives: (..., L) samples that have the label.
        overlap: (...) sum over samples of intersection over union.
        samples: (...) number of samples.
    """

    hits: np.ndarray
    predicted: np.ndarray
    positives: np.ndarray
    overlap: np.ndarray
    samples: np.ndarray

    @classmethod
    def by_group(cls, present: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> Counts:
        """Counts of decisions `present` (N, L) against `truth` (N, L), group by group.

        Args:
            present: (N, L) bool decisions.
            truth: (N, L) bool.
            groups: (N,) group numbers 0 .. G-1, each of which occurs.

        Returns:
            Counts whose one leading axis is the group.
        """
        hits = present & truth
        overlap = ratio(hits.sum(axis=1), (present | truth).sum(axis=1))
        order = np.argsort(groups, kind="stable")
        starts = np.searchsorted(groups[order], np.arange(groups.max() + 1))

        def add(rows: np.ndarray) -> np.ndarray:
            return np.add.reduceat(rows[order].astype(np.float64), starts, axis=0)

        return cls(add(hits), add(present), add(truth), add(overlap), add(np.ones(len(groups))))

    def total(self) -> Counts:
        """Sum over the groups, a leading axis of length 1 kept."""
        return Counts(*(values.sum(axis=0, keepdims=True) for values in self._fields()))

    def without_each(self) -> Counts:
        """Row g: the sum over all groups but g."""
        return Counts(*(values.sum(axis=0) - values for values in self._fields()))

    def _fields(self) -> tuple[np.ndarray, ...]:
        return self.hits, self.predicted, self.positives, self.overlap, self.samples

    def value(self, target: Target) -> np.ndarray:
        """(...) the target's value for decisions that were made without seeing these samples.

        "recall_at_precision" is the micro recall, less ten times what its precision falls short
        of the minimum: a price, since no decision made beforehand can promise a precision.
        """
        if target.name == "accuracy":
            return ratio(self.overlap, self.samples)
        if target.name == "macro_f1":
            return ratio(2 * self.hits, self.predicted + self.positives).mean(axis=-1)
        hits, predicted, positives = (
            values.sum(axis=-1) for values in (self.hits, self.predicted, self.positives)
        )
        if target.name == "micro_f1":
            return ratio(2 * hits, predicted + positives)
        shortfall = np.clip(target.minimum_precision - hits / np.maximum(predicted, 1), 0, None)
        price = np.where(predicted > 0, _PRICE_OF_MISSING_PRECISION * shortfall, 0)
        return ratio(hits, positives) - price


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """`above / below`, and 0 where `below` is 0."""
    return np.divide(above, below, out=np.zeros(np.shape(below)), where=below > 0)
