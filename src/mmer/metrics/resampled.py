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
from mmer.terminal import with_bar

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
_ELEMENTS_AT_ONCE = 2**18
_FEWEST_RANKED = 1000  # resamples; or so many that all of them together have so many labels
_MOST_RANKED = 4 * 10**7
# How near to 0 and 1 a probability may come in the log loss: as near as in scikit-learn's.
_EPSILON = np.finfo(np.float64).eps
# Standard errors of a bin beyond which it is miscalibrated, whatever random error does.
_CLEAR = 2.5


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
        effective_groups: (K,) how many groups of equal size each figure rests on.
    """

    names: tuple[str, ...]
    most_resamples: int
    effective_groups: np.ndarray

    def values(self, times: np.ndarray) -> np.ndarray:
        """(R, K) of times (R, G)."""

    def resampled(self, times: np.ndarray) -> np.ndarray:
        """(R, K) whose quantiles are an interval's ends: the values, unless these are biased."""
        return self.values(times)


def effective_number(sizes: np.ndarray) -> np.ndarray:
    """(...) how many groups of equal size groups of sizes (G, ...) are worth (Kish 1965).

    0 if all are empty.
    """
    sizes = np.asarray(sizes, np.float64)
    return ratio(sizes.sum(axis=0) ** 2, (sizes**2).sum(axis=0))


class DecisionFigures(Resampled):
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
        whole, labels, mean_of_labels = _effective_groups(scores)
        self.effective_groups = np.array([whole, mean_of_labels, whole, *labels])

    def values(self, times: np.ndarray) -> np.ndarray:
        headline = [getattr(c.weighted(times), name)() for name, c in self.of_metric.items()]
        return np.column_stack([*headline, self.of_labels.weighted(times).label_f1()])


class RankingFigures(Resampled):
    """Average precision and area under the ROC curve, means over labels; ranking of the labels."""

    names = tuple(RANKING)

    def __init__(self, scores: Scores) -> None:
        self.groups = scores.groups
        self.most_resamples = max(_FEWEST_RANKED, _MOST_RANKED // scores.truth.size)
        columns = zip(scores.scores.T, scores.truth.T > 0, strict=True)
        self.columns = [_Ranked.of(*column, self.groups) for column in columns]
        wrong, depth, ranks, finds = _label_ranking(scores.scores, scores.truth > 0)
        self.sums = _sums_of_groups(np.column_stack([wrong, depth, ranks, finds]), self.groups)
        self.sizes = np.bincount(self.groups).astype(float)
        whole, _, mean_of_labels = _effective_groups(scores)
        self.effective_groups = np.array([mean_of_labels, whole, whole, whole])

    def values(self, times: np.ndarray) -> np.ndarray:
        parts = with_bar(list(self._parts(times)), "resamples")
        curves = np.concatenate([self._curves(part) for part in parts])  # (R, 2, L)
        wrong, depth, ranks, finds = (times @ self.sums).T
        samples = times @ self.sizes
        loss = np.where(ranks > 0, ratio(wrong, samples), np.nan)
        coverage = np.where(finds > 0, ratio(depth, samples), np.nan)
        return np.column_stack([_mean_of_defined(curves), loss, coverage])

    def _parts(self, times: np.ndarray) -> Iterator[np.ndarray]:
        at_once = max(1, _ELEMENTS_AT_ONCE // len(self.groups))
        for at in range(0, len(times), at_once):
            yield times[at : at + at_once]

    def _curves(self, times: np.ndarray) -> np.ndarray:
        return np.stack([column.areas(times) for column in self.columns], axis=-1)


class ProbabilityFigures(Resampled):
    """Log loss, Brier score and expected calibration error, means over labels.

    Calibration error is a sum of distances, which random error lifts: that of a finite sample is
    above 0 however well calibrated the system is, and resampling lifts it once more. So its
    interval reaches down by as much as random error can have lifted it, in those bins whose
    distance random error explains, and up by what moves it along with the distances found. It
    covers the truth at least as often as the level says, and holds 0 if the system may be
    calibrated.
    """

    names = tuple(PROBABILITY)
    most_resamples = sys.maxsize

    def __init__(self, judged: Judged) -> None:
        scores, given = judged.scores, judged.given
        truth, groups = scores.truth.astype(float), scores.groups
        inside = np.clip(given, _EPSILON, 1 - _EPSILON)
        losses = -np.log(np.where(truth > 0, inside, 1 - inside)).mean(axis=1)
        squares = ((given - truth) ** 2).mean(axis=1)
        self.sums = _sums_of_groups(np.column_stack([losses, squares]), groups)
        self.sizes = np.bincount(groups).astype(float)
        bins = np.minimum((given * BINS).astype(int), BINS - 1)
        bins += BINS * np.arange(given.shape[1])  # (N, L) one of L * BINS
        # What lies in each bin of each label: probability less truth, summed.
        self.excess = np.zeros((len(self.sizes), BINS * given.shape[1]))
        np.add.at(self.excess, (groups[:, None], bins), given - truth)
        self.effective_groups = np.full(len(self.names), effective_number(self.sizes))

    def values(self, times: np.ndarray) -> np.ndarray:
        error = np.abs(self._excess(times)).sum(axis=1, keepdims=True)
        samples = (times @ self.sizes)[:, None]
        return np.column_stack([ratio(times @ self.sums, samples, np.nan), error])

    def resampled(self, times: np.ndarray) -> np.ndarray:
        (found,) = self._excess(np.ones((1, len(self.sizes))))
        moved = self._excess(times) - found
        along = moved * np.sign(found)
        parts = self.excess / self.sizes.sum() - found * (self.sizes / self.sizes.sum())[:, None]
        clear = np.abs(found) > _CLEAR * np.sqrt((parts**2).sum(axis=0))
        lifted = np.where(clear, -along, np.abs(moved)).sum(axis=1)
        along = along.sum(axis=1)
        error = np.abs(found).sum() + np.where(along > 0, along, -lifted)
        return np.column_stack([self.values(times)[:, :-1], error.clip(min=0)])

    def _excess(self, times: np.ndarray) -> np.ndarray:
        """(R, L * BINS) mean of probability less truth in each bin, shares of its label's 1 / L."""
        samples = (times @ self.sizes)[:, None]
        labels = self.excess.shape[1] // BINS
        return ratio(times @ self.excess, labels * samples, np.nan)


@dataclass(frozen=True)
class _Ranked:
    """One label's samples in the order of falling scores.

    Attributes:
        groups: (N,) of the samples.
        true_groups: (P,) of those that have the label.
        first, last: (D,) places, among all, of the first and last sample of each distinct score
            that some sample with the label has.
        last_true: (D,) place of the last among those that have the label.
    """

    groups: np.ndarray
    true_groups: np.ndarray
    first: np.ndarray
    last: np.ndarray
    last_true: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> _Ranked:
        order = np.argsort(-scores, kind="stable")
        falling, true = -scores[order], truth[order]
        levels = np.unique(falling[true])
        return cls(
            groups=groups[order],
            true_groups=groups[order][true],
            first=np.searchsorted(falling, levels),
            last=np.searchsorted(falling, levels, side="right") - 1,
            last_true=np.searchsorted(falling[true], levels, side="right") - 1,
        )

    def areas(self, times: np.ndarray) -> np.ndarray:
        """(R, 2) average precision and area under the ROC curve, each group `times` (R, G)."""
        weights = times[:, self.groups]
        met = weights.cumsum(axis=1)
        above, before = met[:, self.last], met[:, self.first] - weights[:, self.first]
        hits = times[:, self.true_groups].cumsum(axis=1)[:, self.last_true]
        gained = np.diff(hits, axis=1, prepend=0)
        positives = gained.sum(axis=1)
        negatives = met[:, -1] - positives
        precision = (gained * ratio(hits, above)).sum(axis=1)
        # false ones down to each score, those of the same score counted half
        false = (above + before) / 2 - hits + gained / 2
        below = (gained * (negatives[:, None] - false)).sum(axis=1)
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


def _effective_groups(scores: Scores) -> tuple[float, np.ndarray, float]:
    """Groups of equal size that a figure of all samples rests on, one of each of the L labels (by
    the samples that have it), and a mean over labels (harmonic: the rarest weighs most)."""
    whole = float(effective_number(np.bincount(scores.groups)))
    labels = effective_number(_sums_of_groups(scores.truth.astype(float), scores.groups))
    occur = labels[labels > 0]
    return whole, labels, float(len(occur) / (1 / occur).sum()) if len(occur) else 0.0


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    """(R, K) of (R, K, L), NaN where no label has a value."""
    defined = ~np.isnan(values)
    return ratio(np.nansum(values, axis=-1), defined.sum(axis=-1), np.nan)


def _sums_of_groups(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(G, K) sums of (N, K) over the samples of each group."""
    sums = np.zeros((groups.max() + 1, values.shape[1]))
    np.add.at(sums, groups, values)
    return sums
