"""Conformal risk control: label sets whose expected loss on a new group has a proven bound.

Source: Angelopoulos, Bates, Fisch, Lei, Schuster, "Conformal Risk Control", 2022
(arXiv 2208.02814; ICLR 2024), theorem 1. For n calibration units and one new unit, exchangeable,
and a loss that never grows with the set and is at most B, the smallest set with

    n / (n + 1) * (mean loss of the n units) + B / (n + 1) <= alpha

has an expected loss of at most alpha on the new unit. Here a unit is a group (a video, a dialogue):
its samples resemble each other, so samples are not exchangeable, but groups are. A group's loss is
the mean over its samples of the share of a sample's true labels that its set misses; a sample
without a true label counts 0, and B = 1.

So it is the mean over groups of that loss that is bounded, in expectation over draws of the n
groups and of the new one. It is NOT the share of all true labels that the sets miss, which is
larger where many samples have no label or where samples with many labels are the harder ones; not
the share missed of any one label; and not promised for each draw, nor for a corpus unlike the
calibration groups. It takes calibration groups that had no part in fitting the model: an epoch
chosen on them strains it.
"""

from __future__ import annotations

import numpy as np

from mmer.metrics.counts import number_groups, ratio
from mmer.metrics.decisions import decide
from mmer.schema import Record

# Rounding in a sum of n losses, far below 1 / (n + 1).
_ROUNDING = 1e-12
# Below every score: all labels are in the set. Above every score: none is.
_ALL, _NONE = -1.0, 1.0


class ConformalThreshold(Record):
    """The threshold that makes prediction sets for one alpha.

    Attributes:
        alpha: What the expected loss of a new group is at most.
        threshold: A label is in the set if its score is above this.
        bound: The left side of the inequality at this threshold.
        groups: n, the number of calibration groups.
        feasible: False if n groups cannot support so small an alpha (1 / (n + 1) is above it):
            then every label is in every set, and nothing is learned from the sets.
    """

    alpha: float
    threshold: float
    bound: float
    groups: int
    feasible: bool


class Coverage(Record):
    """What prediction sets did on some split.

    Attributes:
        false_negative_rate: Mean over groups of their loss: what alpha bounds in expectation.
        false_negative_rate_of_samples: Mean over samples, those without a true label counting 0.
        covered: Share of samples whose true labels are all in their set.
    """

    false_negative_rate: float
    false_negative_rate_of_samples: float
    covered: float
    mean_set_size: float
    groups: int


def conformal_threshold(
    scores: np.ndarray, truth: np.ndarray, group_ids: tuple[str, ...], alpha: float
) -> ConformalThreshold:
    """The highest threshold whose bound is at most `alpha`.

    Scores and truth (N, L) are of samples that the model was not fitted on.
    """
    bounds, levels = _bounds(scores, truth, group_ids)
    holds = bounds <= alpha + _ROUNDING
    threshold = _ALL
    if holds.any():
        count = int(holds.argmax())  # so many true labels must be in their sets
        threshold = _just_below(levels[count - 1]) if count else _NONE
    entered = decide(levels, threshold).sum()  # those of equal score enter together
    return ConformalThreshold(
        alpha=alpha,
        threshold=threshold,
        bound=bounds[entered],
        groups=len(set(group_ids)),
        feasible=holds.any(),
    )


def coverage(
    scores: np.ndarray, truth: np.ndarray, group_ids: tuple[str, ...], threshold: ConformalThreshold
) -> Coverage:
    """What the sets of scores (N, L) under `threshold` miss of the truth (N, L)."""
    sets = decide(scores, threshold.threshold)
    missed = ((truth > 0) & ~sets).sum(axis=1)
    losses = ratio(missed, truth.sum(axis=1))
    return Coverage(
        false_negative_rate=float(losses @ _sample_weights(group_ids)),
        false_negative_rate_of_samples=float(losses.mean()),
        covered=float((missed == 0).mean()),
        mean_set_size=float(sets.sum(axis=1).mean()),
        groups=len(set(group_ids)),
    )


def _bounds(
    scores: np.ndarray, truth: np.ndarray, group_ids: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """(K + 1,) bound when the k of K true labels of highest score are found; (K,) their scores."""
    weights = _sample_weights(group_ids)
    # A true label that enters its sample's set takes this much off the mean loss.
    relief = ratio(weights, truth.sum(axis=1))
    rows, columns = np.nonzero(truth)
    order = np.argsort(-scores[rows, columns], kind="stable")
    levels = np.asarray(scores[rows, columns][order], np.float64)
    highest = float((weights * truth.any(axis=1)).sum())
    risks = np.concatenate([[highest], highest - relief[rows][order].cumsum()]).clip(min=0)
    groups = len(set(group_ids))
    return groups / (groups + 1) * risks + 1 / (groups + 1), levels


def _sample_weights(group_ids: tuple[str, ...]) -> np.ndarray:
    """(N,) weights with which samples enter a mean over groups of means over a group's samples."""
    groups = number_groups(group_ids)
    sizes = np.bincount(groups)
    return 1 / (len(sizes) * sizes[groups])


def _just_below(level: float) -> float:
    """The threshold that a score of `level` is just above."""
    return float(np.nextafter(level, 0)) if level > 0 else _ALL
