"""Conformal risk control: label sets whose expected false-negative rate has a proven bound.

Source: Angelopoulos, Bates, Fisch, Lei, Schuster, "Conformal Risk Control", 2022
(arXiv 2208.02814; ICLR 2024), theorem 1. For n calibration units and one new unit, exchangeable,
and a loss that never grows with the set and is at most B, the smallest set with

    n / (n + 1) * (mean loss of the n units) + B / (n + 1) <= alpha

has an expected loss of at most alpha on the new unit. Here a unit is a group (a video, a dialogue):
its samples resemble each other, so samples are not exchangeable, but groups are. A unit's loss is
the mean over its samples of the share of a sample's true labels that the set misses, 0 for a sample
without true label; B = 1.

What is bounded is the mean over draws of the n groups and of the new one. It is not promised for
each draw, nor for each label, nor for a corpus unlike the calibration groups; and it takes
calibration groups that had no part in fitting the model, so an epoch picked on them strains it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmer.calibration.folds import number_groups
from mmer.calibration.targets import ratio
from mmer.calibration.thresholds import checked
from mmer.errors import InputError

# Rounding in a sum of n losses, far below 1 / (n + 1).
_ROUNDING = 1e-12
# Below every score: all labels are in the set. Above every score: none is.
_ALL, _NONE = -1.0, 1.0


@dataclass(frozen=True)
class ConformalCut:
    """The cut that makes prediction sets for one alpha.

    Attributes:
        alpha: What the expected false-negative rate is at most.
        cut: A label is in the set if its score is above this.
        bound: The left side of the inequality at this cut.
        groups: n, the number of calibration groups.
        feasible: False if n groups cannot support so small an alpha (1 / (n + 1) is above it):
            then every label is in every set, and nothing is learned from the sets.
    """

    alpha: float
    cut: float
    bound: float
    groups: int
    feasible: bool


@dataclass(frozen=True)
class Coverage:
    """What prediction sets did on some split.

    Attributes:
        false_negative_rate: Mean over groups: what alpha bounds in expectation.
        false_negative_rate_of_samples: Mean over samples.
        covered: Share of samples whose true labels are all in their set.
        mean_set_size: Labels per set.
        groups: Number of groups.
    """

    false_negative_rate: float
    false_negative_rate_of_samples: float
    covered: float
    mean_set_size: float
    groups: int


def conformal_cut(
    scores: np.ndarray, truth: np.ndarray, group_ids: tuple[str, ...], alpha: float
) -> ConformalCut:
    """Find the highest cut whose bound is at most `alpha`.

    Args:
        scores: (N, L) in [0, 1], of samples that the model was not fitted on.
        truth: (N, L) 0 or 1.
        group_ids: N names of groups; give the samples' own names to take samples as units.
        alpha: Between 0 and 1.

    Raises:
        InputError: Sizes differ, nothing is there, a score is not in [0, 1] or a truth not 0 or 1.
    """
    scores, truth = checked(scores, truth)
    weights = _sample_weights(group_ids, len(scores))
    groups = len(set(group_ids))
    # A true label that enters its sample's set takes this much off the mean loss.
    relief = ratio(weights, truth.sum(axis=1))
    rows, columns = np.nonzero(truth)
    order = np.argsort(-scores[rows, columns], kind="stable")
    levels = scores[rows, columns][order]
    highest = float((weights * truth.any(axis=1)).sum())
    risks = np.concatenate([[highest], highest - relief[rows][order].cumsum()]).clip(min=0)
    bounds = groups / (groups + 1) * risks + 1 / (groups + 1)
    holds = bounds <= alpha + _ROUNDING
    if not holds.any():
        return ConformalCut(alpha, _ALL, 1 / (groups + 1), groups, feasible=False)
    count = int(holds.argmax())  # so many true labels must be in their sets
    cut = _just_below(levels[count - 1]) if count else _NONE
    entered = int((levels > cut).sum())  # those of equal score enter together
    return ConformalCut(alpha, cut, float(bounds[entered]), groups, feasible=True)


def prediction_sets(scores: np.ndarray, cut: ConformalCut) -> np.ndarray:
    """(N, L) uint8: 1 where the label is in the sample's set."""
    return (np.asarray(scores, np.float64) > cut.cut).astype(np.uint8)


def coverage(
    scores: np.ndarray, truth: np.ndarray, group_ids: tuple[str, ...], cut: ConformalCut
) -> Coverage:
    """What the sets of `cut` miss on samples with known truth.

    Args:
        scores: (N, L) in [0, 1].
        truth: (N, L) 0 or 1.
        group_ids: N names of groups.
        cut: From calibration.

    Raises:
        InputError: Sizes differ, nothing is there, a score is not in [0, 1] or a truth not 0 or 1.
    """
    scores, truth = checked(scores, truth)
    weights = _sample_weights(group_ids, len(scores))
    sets = prediction_sets(scores, cut).astype(bool)
    missed = (truth & ~sets).sum(axis=1)
    losses = ratio(missed, truth.sum(axis=1))
    return Coverage(
        false_negative_rate=float(losses @ weights),
        false_negative_rate_of_samples=float(losses.mean()),
        covered=float((missed == 0).mean()),
        mean_set_size=float(sets.sum(axis=1).mean()),
        groups=len(set(group_ids)),
    )


def _sample_weights(group_ids: tuple[str, ...], samples: int) -> np.ndarray:
    """(N,) weights with which samples enter a mean over groups of means over a group's samples."""
    if len(group_ids) != samples:
        raise InputError("scores", "group_ids", f"{samples} names", len(group_ids))
    groups = number_groups(group_ids)
    sizes = np.bincount(groups)
    return 1 / (len(sizes) * sizes[groups])


def _just_below(level: float) -> float:
    """The cut that a score of `level` is just above."""
    return float(np.nextafter(level, 0)) if level > 0 else _ALL
