"""Figures as functions of how often each group of samples counts: what a bootstrap draws anew.

Each class has `names` of K figures and `values(times)`: for times (R, G), how often each of the G
groups counts in each of R resamples, the figures (R, K); NaN where one is undefined. Times of 1
give the figure itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from mmer.metrics.counts import Counts, ratio
from mmer.metrics.decisions import decide
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.scores import Scores

RANKING = {
    "macro_average_precision": "mAP",
    "macro_auroc": "AUROC",
    "ranking_loss": "ranking loss",
    "coverage_error": "coverage error",
}
PROBABILITY = {
    "log_loss": "log loss",
    "brier_score": "Brier score",
    "calibration_error": "calibration error",
}
LOWER_IS_BETTER = {"ranking_loss", "coverage_error", *PROBABILITY}
UNBOUNDED = {"coverage_error", "log_loss"}
"""Metrics that may exceed 1; none is below 0."""
METRICS = {**HEADLINE, **RANKING, **PROBABILITY}
"""All metrics that have intervals, with their names for readers."""

BINS = 10
_ELEMENTS_AT_ONCE = 2**21


@dataclass(frozen=True)
class Judged:
    """Scores, and what was chosen on validation to judge them by.

    Attributes:
        thresholds: (L,) of the decisions on each label.
        of_metric: Headline metric -> (L,) thresholds that were chosen for it; one that is not named
            takes `thresholds`.
        probabilities: (N, L) in [0, 1]; the scores themselves if None.
    """

    scores: Scores
    thresholds: np.ndarray
    of_metric: Mapping[str, np.ndarray] = field(default_factory=dict)
    probabilities: np.ndarray | None = None

    @property
    def given(self) -> np.ndarray:
        """(N, L) probabilities, or the scores in their place."""
        given = self.scores.scores if self.probabilities is None else self.probabilities
        return np.asarray(given, np.float64)

    def figures(self) -> tuple[Resampled, ...]:
        """All figures, of the same groups."""
        return DecisionFigures(self), RankingFigures(self.scores), ProbabilityFigures(self)


class Resampled(Protocol):
    """See the module.

    Attributes:
        most_resamples: Worth drawing: figures that need all samples of every resample take fewer.
    """

    names: tuple[str, ...]
    most_resamples: int

    def values(self, times: np.ndarray) -> np.ndarray:
        """(R, K) of times (R, G)."""


class DecisionFigures:
    """The headline metrics, each under its own thresholds, and F1 of each label."""

    most_resamples = sys.maxsize

    def __init__(self, judged: Judged) -> None:
        scores = judged.scores
        truth, groups = scores.truth > 0, scores.groups

        def counts(thresholds: np.ndarray) -> Counts:
            return Counts.by_group(decide(scores.scores, thresholds), truth, groups)

        self.names = (*HEADLINE, *scores.labels)
        self.of_labels = counts(judged.thresholds)
        self.of_metric = {
            name: counts(judged.of_metric[name]) if name in judged.of_metric else self.of_labels
            for name in HEADLINE
        }

    def values(self, times: np.ndarray) -> np.ndarray:
        headline = [getattr(c.weighted(times), name)() for name, c in self.of_metric.items()]
        return np.column_stack([*headline, self.of_labels.weighted(times).label_f1()])


class RankingFigures:
    """Average precision and area under the ROC curve, means over labels; ranking of the labels."""

    names = tuple(RANKING)
    most_resamples = 1000

    def __init__(self, scores: Scores) -> None:
        self.groups = scores.groups
        self.columns = [
            _Ranked.of(*column) for column in zip(scores.scores.T, scores.truth.T > 0, strict=True)
        ]
        wrong, depth, ranks, finds = _label_ranking(scores.scores, scores.truth > 0)
        self.sums = _sums_of_groups(np.column_stack([wrong, depth, ranks, finds]), self.groups)
        self.sizes = np.bincount(self.groups).astype(float)

    def values(self, times: np.ndarray) -> np.ndarray:
        curves = np.concatenate([self._curves(part) for part in self._parts(times)])  # (R, 2, L)
        wrong, depth, ranks, finds = (times @ self.sums).T
        samples = times @ self.sizes
        loss = np.where(ranks > 0, ratio(wrong, samples), np.nan)
        coverage = np.where(finds > 0, ratio(depth, samples), np.nan)
        return np.column_stack([_mean_of_defined(curves), loss, coverage])

    def _parts(self, times: np.ndarray) -> Iterator[np.ndarray]:
        at_once = max(1, _ELEMENTS_AT_ONCE // len(self.groups))
        for at in range(0, len(times), at_once):
            yield times[at : at + at_once][:, self.groups]

    def _curves(self, weights: np.ndarray) -> np.ndarray:
        return np.stack([column.areas(weights) for column in self.columns], axis=-1)


class ProbabilityFigures:
    """Log loss, Brier score and expected calibration error, means over labels."""

    names = tuple(PROBABILITY)
    most_resamples = sys.maxsize

    def __init__(self, judged: Judged) -> None:
        scores, given = judged.scores, judged.given
        truth, groups = scores.truth.astype(float), scores.groups
        inside = np.clip(given, 1e-12, 1 - 1e-12)
        losses = -np.log(np.where(truth > 0, inside, 1 - inside)).mean(axis=1)
        squares = ((given - truth) ** 2).mean(axis=1)
        self.sums = _sums_of_groups(np.column_stack([losses, squares]), groups)
        self.sizes = np.bincount(groups).astype(float)
        bins = np.minimum((given * BINS).astype(int), BINS - 1)
        bins += BINS * np.arange(given.shape[1])  # (N, L) one of L * BINS
        # What lies in each bin of each label: probability less truth, summed.
        self.excess = np.zeros((len(self.sizes), BINS * given.shape[1]))
        np.add.at(self.excess, (groups[:, None], bins), given - truth)

    def values(self, times: np.ndarray) -> np.ndarray:
        samples = (times @ self.sizes)[:, None]
        excess = np.abs(times @ self.excess).reshape(len(times), -1, BINS).sum(axis=2)
        error = ratio(excess.mean(axis=1, keepdims=True), samples, np.nan)
        return np.column_stack([ratio(times @ self.sums, samples, np.nan), error])


@dataclass(frozen=True)
class _Ranked:
    """One label's samples in the order of falling scores.

    Attributes:
        order: (N,) samples.
        true: (N,) whether they have the label.
        ends: (D,) where each distinct score's last sample stands.
    """

    order: np.ndarray
    true: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, truth: np.ndarray) -> _Ranked:
        order = np.argsort(-scores, kind="stable")
        falling = scores[order]
        return cls(order, truth[order], np.flatnonzero(np.append(falling[1:] < falling[:-1], True)))

    def areas(self, weights: np.ndarray) -> np.ndarray:
        """(R, 2) average precision and area under the ROC curve of weighted samples (R, N)."""
        weights = weights[:, self.order]
        above = weights.cumsum(axis=1)[:, self.ends]
        hits = (weights * self.true).cumsum(axis=1)[:, self.ends]
        gained = np.diff(hits, axis=1, prepend=0)
        false = above - hits
        passed = np.diff(false, axis=1, prepend=0)
        positives, negatives = hits[:, -1], false[:, -1]
        precision = (gained * ratio(hits, above)).sum(axis=1)
        below = (passed * (hits - gained / 2)).sum(axis=1)
        return np.column_stack(
            [
                ratio(precision, positives, np.nan),
                ratio(below, positives * negatives, np.nan),
            ]
        )


def _label_ranking(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, ...]:
    """(N,) each: share of pairs in the wrong order, depth of the last true label, and for how much
    the sample counts in saying that there is a pair to rank, or a label to find.

    Equal scores are in the wrong order, as scikit-learn has it.
    """
    true, false = truth.sum(axis=1), (~truth).sum(axis=1)
    above = scores[:, None, :] >= scores[:, :, None]  # (N, L, L), of each label those not below it
    depth = np.where(truth, above.sum(axis=2), 0).max(axis=1)
    wrong = (above & ~truth[:, None, :] & truth[:, :, None]).sum(axis=(1, 2))
    pairs = true * false
    return ratio(wrong, pairs), depth.astype(float), (pairs > 0) * 1.0, (true > 0) * 1.0


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    """(R, K) of (R, K, L), NaN where no label has a value."""
    defined = ~np.isnan(values)
    return ratio(np.nansum(values, axis=-1), defined.sum(axis=-1), np.nan)


def _sums_of_groups(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(G, K) sums of (N, K) over the samples of each group."""
    sums = np.zeros((groups.max() + 1, values.shape[1]))
    np.add.at(sums, groups, values)
    return sums
