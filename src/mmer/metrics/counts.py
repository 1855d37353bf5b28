"""Counts from which F1 and accuracy follow, and the formulas themselves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


def ratio(above: np.ndarray, below: np.ndarray, undefined: float = 0.0) -> np.ndarray:
    """`above / below`, and `undefined` where `below` is 0."""
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.full(below.shape, undefined), where=below > 0)


def f1(
    hits: np.ndarray, predicted: np.ndarray, positives: np.ndarray, undefined: float = 0.0
) -> np.ndarray:
    """F1 = 2 TP / (predicted + positives), elementwise; also of weighted or expected counts.

    It is `undefined` where a label neither occurs nor is predicted.
    """
    return ratio(2 * np.asarray(hits), np.asarray(predicted) + positives, undefined)


def macro_f1(hits: np.ndarray, predicted: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """(...) mean F1 of labels (..., L) that occur or are predicted; NaN if there is none."""
    each = f1(hits, predicted, positives, np.nan)
    return ratio(np.nansum(each, axis=-1), (~np.isnan(each)).sum(axis=-1), np.nan)


def micro_f1(present: np.ndarray, truth: np.ndarray) -> float:
    """Micro-F1 of decisions (N, L) against truth (N, L)."""
    truth = truth > 0
    return float(f1((present & truth).sum(), present.sum(), truth.sum()))


def label_pairs(present: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """(L, L) numbers of samples that have both labels, of decisions or truth (N, L)."""
    counts = present.astype(np.int64)
    return tuple(map(tuple, (counts.T @ counts).tolist()))


class Counts(NamedTuple):
    """Counts of decisions; `...` is any number of leading axes.

    Attributes:
        hits: (..., L) samples that have the label and were given it.
        predicted: (..., L) samples that were given the label.
        positives: (..., L) samples that have the label.
        overlap: (...) sum over samples of intersection over union; 0 for a sample without either.
        samples: (...) number of samples.
    """

    hits: np.ndarray
    predicted: np.ndarray
    positives: np.ndarray
    overlap: np.ndarray
    samples: np.ndarray

    @classmethod
    def by_group(cls, present: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> Counts:
        """Counts whose one leading axis is the group.

        Args:
            present: (N, L) bool decisions.
            truth: (N, L) bool.
            groups: (N,) group numbers 0 .. G-1, each of which occurs.
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
        return Counts(*(values.sum(axis=0, keepdims=True) for values in self))

    def without_each(self) -> Counts:
        """Row g: the sum over all groups but g."""
        return Counts(*(values.sum(axis=0) - values for values in self))

    def weighted(self, times: np.ndarray) -> Counts:
        """Row r: the sum in which group g counts `times` (R, G) times."""
        return Counts(*(times @ values for values in self))

    def micro_f1(self) -> np.ndarray:
        """(...) F1 over all decisions; NaN where nothing is positive or predicted."""
        hits, predicted, positives = (values.sum(axis=-1) for values in self[:3])
        return f1(hits, predicted, positives, np.nan)

    def label_f1(self) -> np.ndarray:
        """(..., L) F1 of each label; NaN where it neither occurs nor is predicted."""
        return f1(self.hits, self.predicted, self.positives, np.nan)

    def macro_f1(self) -> np.ndarray:
        """(...) mean F1 of the labels that occur or are predicted; NaN if there is none."""
        return macro_f1(*self[:3])

    def accuracy(self) -> np.ndarray:
        """(...) mean intersection over union."""
        return ratio(self.overlap, self.samples, np.nan)


def number_groups(group_ids: tuple[str, ...]) -> np.ndarray:
    """(N,) numbers 0 .. G-1 of the samples' groups."""
    return np.unique(np.array(group_ids), return_inverse=True)[1]
