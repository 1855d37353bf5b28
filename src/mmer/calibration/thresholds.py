"""Thresholds that are optimal for a target on given scores: exact searches, no grid.

A label is present where its score is above the threshold. Between two adjacent distinct scores
every threshold decides alike, so only the cuts between them are searched, and the threshold is put
midway. Where several cuts are equally good, the one that predicts least is taken.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mmer.calibration.targets import Target
from mmer.metrics.counts import f1, macro_f1
from mmer.metrics.decisions import decide


def shared_threshold(scores: np.ndarray, truth: np.ndarray, target: Target) -> float:
    """The threshold in [0, 1] for all labels that is best for scores and truth (N, L), exactly."""
    scan = _Scan.of(scores, truth)
    pooled = _Scan.of(scan.scores.reshape(-1, 1), scan.truth.reshape(-1, 1))
    if target.name == "macro_f1":
        values = _shared_macro_f1(pooled, scan)
    elif target.name == "accuracy":
        values = _shared_overlap(pooled, scan)
    else:
        values = _separate_values(pooled, target)
    return float(pooled.thresholds(pooled.best(values))[0])


def label_thresholds(scores: np.ndarray, truth: np.ndarray, target: Target) -> np.ndarray:
    """(L,) one threshold per label in [0, 1], best for scores and truth (N, L).

    Macro-F1 and recall at a precision separate by label: one scan each, exact. Micro-F1 does not:
    Dinkelbach's iteration (Dinkelbach 1967, "On nonlinear fractional programming") over such scans,
    exact. Accuracy does not separate either: coordinate ascent, each step exact, from the best
    shared threshold and from the best F1 thresholds; what it reaches cannot be improved by moving
    one label's threshold, and is never below the shared optimum, but it is a LOCAL optimum.

    A label without positives is never predicted, except where "accuracy" does not mind.
    """
    scan = _Scan.of(scores, truth)
    if target.name == "micro_f1":
        return scan.thresholds(_micro_f1_cuts(scan))
    if target.name == "accuracy":
        starts = (
            decide(scan.scores, shared_threshold(scores, truth, target)).sum(axis=0),
            scan.best(_separate_values(scan, Target("macro_f1"))),
            _micro_f1_cuts(scan),
        )
        # max() keeps the first of equals: the shared threshold, unless another start is better.
        cuts, _ = max((_ascend(scan, start) for start in starts), key=lambda found: found[1])
        return scan.thresholds(cuts)
    return scan.thresholds(scan.best(_separate_values(scan, target)))


class _Scan(NamedTuple):
    """The columns' scores in falling order. Cut k of a column predicts its k largest scores.

    Attributes:
        order: (N, L) row of the k-th largest score.
        falling: (N, L) the scores in that order.
        hits: (N+1, L) positives among the k largest.
        allowed: (N+1, L) False where cut k would part equal scores, or predict a score of 0.
    """

    scores: np.ndarray
    truth: np.ndarray
    order: np.ndarray
    falling: np.ndarray
    hits: np.ndarray
    allowed: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, truth: np.ndarray) -> _Scan:
        scores, truth = np.asarray(scores, np.float64), np.asarray(truth, bool)
        order = np.argsort(-scores, axis=0)
        falling = np.take_along_axis(scores, order, axis=0)
        hits = np.zeros((len(scores) + 1, scores.shape[1]), np.int64)
        np.cumsum(np.take_along_axis(truth, order, axis=0), axis=0, out=hits[1:])
        below = np.concatenate([falling[1:], np.zeros_like(falling[:1])])
        allowed = np.concatenate([np.ones_like(truth[:1]), falling > below])
        return cls(scores, truth, order, falling, hits, allowed)

    @property
    def sizes(self) -> np.ndarray:
        """(N+1, 1): cut k predicts k samples."""
        return np.arange(len(self.hits))[:, None]

    def best(self, values: np.ndarray) -> np.ndarray:
        """(L,) the allowed cut of largest value (N+1, L), the smallest of equals."""
        lowest = np.iinfo(np.int64).min if values.dtype == np.int64 else -np.inf
        return np.where(self.allowed, values, lowest).argmax(axis=0)

    def thresholds(self, cuts: np.ndarray) -> np.ndarray:
        """(L,) thresholds midway between the scores on both sides of the cuts; 1 and 0 bound."""
        columns = np.arange(self.falling.shape[1])
        edges = np.ones_like(self.falling[:1]), self.falling, np.zeros_like(self.falling[:1])
        bounded = np.concatenate(edges)
        above, below = bounded[cuts, columns], bounded[cuts + 1, columns]
        midway = below + (above - below) / 2
        # Between neighbouring floats there is nothing, and the midpoint may round up.
        return np.where(midway < above, midway, below)


def _separate_values(scan: _Scan, target: Target) -> np.ndarray:
    """(N+1, L) value of each cut of each column, taken by itself."""
    positives = scan.hits[-1]
    if target.name == "recall_at_precision":
        precise = scan.hits / np.maximum(scan.sizes, 1) >= target.minimum_precision
        # No cut precise enough: cut 0 predicts nothing, and it is the first of equals.
        return np.where(precise, scan.hits, 0)
    return f1(scan.hits, scan.sizes, positives)


def _micro_f1_cuts(scan: _Scan) -> np.ndarray:
    """(L,) cuts of largest micro-F1 = 2 TP / (predicted + positives).

    For a guess lambda the cuts that maximise 2 TP - lambda * predicted separate by label. Their F1
    is the next guess; when it stands still it is the maximum. Lambda is kept as a fraction of
    integers, so that neither ties nor the end depend on rounding.
    """
    positives = scan.hits[-1].sum()
    columns = np.arange(scan.hits.shape[1])
    above, below = 0, 1
    while True:
        cuts = scan.best(2 * scan.hits * below - above * scan.sizes)
        next_above = 2 * int(scan.hits[cuts, columns].sum())
        next_below = int(cuts.sum() + positives)
        if next_above * below == above * next_below:
            return cuts
        above, below = next_above, next_below


def _shared_macro_f1(pooled: _Scan, scan: _Scan) -> np.ndarray:
    """(N*L+1, 1) macro-F1 of each cut through the pooled scores."""
    width = scan.scores.shape[1]
    label = pooled.order % width == np.arange(width)  # (N*L, L): whose score is the k-th
    hits = label & pooled.truth[pooled.order[:, 0]]
    means = macro_f1(hits.cumsum(axis=0), label.cumsum(axis=0), scan.hits[-1])
    values = np.concatenate([[0.0], np.nan_to_num(means)])
    # Means that are equal in exact arithmetic differ beyond the fifteenth digit: let them tie.
    return values.round(12)[:, None]


def _overlap_table(samples: int, labels: int) -> np.ndarray:
    """(L+1, L+1) intersection (row) over union (column) in whole units: sums of them are exact.

    The unit divides by every possible union; with too many labels for 64 bits (more than about
    30) it is the finest that fits. An empty union counts 0.
    """
    unit = min(math.lcm(*range(1, labels + 1)), 2**62 // samples)
    sizes = np.arange(labels + 1)
    return sizes[:, None] * unit // np.maximum(sizes, 1)


def _shared_overlap(pooled: _Scan, scan: _Scan) -> np.ndarray:
    """(N*L+1, 1) sum over samples of intersection over union, of each cut."""
    # A sample's own scores fall in the same order as they do among the pooled ones, so what each
    # further label adds to its sample can be found row by row.
    order = np.argsort(-scan.scores, axis=1)
    ranked = np.take_along_axis(scan.truth, order, axis=1)
    union = scan.truth.sum(axis=1, keepdims=True) + (~ranked).cumsum(axis=1)
    overlap = _overlap_table(*ranked.shape)[ranked.cumsum(axis=1), union]
    gain = np.empty_like(overlap)
    np.put_along_axis(gain, order, np.diff(overlap, axis=1, prepend=0), axis=1)
    steps = gain.reshape(-1)[pooled.order[:, 0]]
    return np.concatenate([[0], steps.cumsum()])[:, None]


def _ascend(scan: _Scan, cuts: np.ndarray) -> tuple[np.ndarray, int]:
    """Coordinate ascent on the sum of intersection over union: the cuts, and the sum."""
    cuts, (samples, labels) = cuts.copy(), scan.truth.shape
    overlap = _overlap_table(samples, labels).ravel()
    # A sample stands at hits * (L+1) + union of that table: a label it has, when given, is one more
    # hit; a label it has not is one more in the union, which holds all true labels from the start.
    steps = np.where(scan.truth.T, labels + 1, 1)  # (L, N)
    order, allowed = scan.order.T.copy(), scan.allowed.T.copy()
    present = (np.argsort(order, axis=1) < cuts[:, None]).astype(np.int64)
    place = scan.truth.sum(axis=1) + (present * steps).sum(axis=0)
    best, idle, label = -1, 0, 0
    while idle < labels:
        place -= present[label] * steps[label]
        without = overlap[place]
        gain = overlap[place + steps[label]] - without
        values = without.sum() + np.concatenate([[0], gain[order[label]].cumsum()])
        values = np.where(allowed[label], values, -1)
        idle += 1
        if values.max() > best:
            cuts[label], best, idle = values.argmax(), int(values.max()), 0
        present[label, order[label, : cuts[label]]] = 1
        present[label, order[label, cuts[label] :]] = 0
        place += present[label] * steps[label]
        label = (label + 1) % labels
    return cuts, best
