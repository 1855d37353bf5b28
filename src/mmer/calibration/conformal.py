"""Conformal risk control: label sets whose expected loss on a new group has a proven bound.

Source: Angelopoulos, Bates, Fisch, Lei, Schuster, "Conformal Risk Control", 2022
(arXiv 2208.02814; ICLR 2024), theorem 1. For n calibration units and one new unit, exchangeable,
and a loss that never grows with the set and is at most B, the smallest set with

    n / (n + 1) * (mean loss of the n units) + B / (n + 1) <= alpha

has an expected loss of at most alpha on the new unit. Here a unit is a group (a video, a dialogue)
in which some sample has a true label: its samples resemble each other, so samples are not
exchangeable, but groups are. Its loss is, with B = 1, either of two:

"samples"  the mean, over those of its samples that have a true label, of the share of a sample's
           true labels that its set misses;
"labels"   the share of all true labels of its samples that their sets miss.

So it is the mean over groups of that loss that is bounded, in expectation over draws of the n
groups and of the new one. It is not bounded for any one label, whose share of misses can be far
larger and stands beside it (`Coverage.missed_by_label`); not for each draw; and not for a corpus
unlike the calibration groups. It takes calibration groups that had no part in fitting the model: an
epoch chosen on them strains it. Where groups are unknown each sample is a unit, and the bound holds
only if samples are exchangeable, which those of one recording are not.

In a simulation (`benchmarks/simulations.py`, 1,000 draws) the mean loss on new groups is, for
alpha 0.1, 0.081 with 40 calibration groups, 0.092 with 100 and 0.099 with 600, of either unit; in
a quarter, a third and nearly half of the draws it is above alpha.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from mmer.metrics.counts import number_groups, ratio
from mmer.metrics.decisions import decide
from mmer.schema import Record

Unit = Literal["samples", "labels"]
"""What a group's loss is a mean over: its samples that have a true label, or its true labels."""

# Rounding in a sum of n losses, far below 1 / (n + 1).
_ROUNDING = 1e-12
# Below every score: all labels are in the set. Above every score: none is.
_ALL, _NONE = -1.0, 1.0


class ConformalThreshold(Record):
    """The threshold that makes prediction sets for one alpha.

    Attributes:
        alpha: What the expected loss of a new group is at most.
        unit: Which loss.
        threshold: A label is in the set if its score is above this.
        bound: The left side of the inequality at this threshold.
        groups: n, the number of calibration groups in which some sample has a true label.
        feasible: False if n groups cannot support so small an alpha (1 / (n + 1) is above it):
            then every label is in every set, and nothing is learned from the sets.
    """

    alpha: float
    unit: Unit
    threshold: float
    bound: float
    groups: int
    feasible: bool


class Coverage(Record):
    """What prediction sets did on some split; None where no sample has a true label.

    Attributes:
        loss: Mean over groups of their loss: what alpha bounds in expectation.
        missed: Share of all true labels that the sets miss.
        missed_by_label: The same for each of the L labels; None for one that no sample has.
        covered: Share of the samples with a true label whose true labels are all in their set.
        mean_set_size: Labels per set, over all samples.
        groups: In which some sample has a true label.
    """

    loss: float | None
    missed: float | None
    missed_by_label: tuple[float | None, ...]
    covered: float | None
    mean_set_size: float
    groups: int


def conformal_threshold(
    scores: np.ndarray,
    truth: np.ndarray,
    group_ids: tuple[str, ...],
    alpha: float,
    unit: Unit = "samples",
) -> ConformalThreshold:
    """The highest threshold whose bound is at most `alpha`.

    Scores and truth (N, L) are of samples that the model was not fitted on.
    """
    weights = _label_weights(truth, group_ids, unit)
    rows, columns = np.nonzero(truth)
    order = np.argsort(-scores[rows, columns], kind="stable")
    levels = np.asarray(scores[rows, columns][order], np.float64)  # (K,) of the true labels
    # When the k true labels of highest score are in their sets, the others are missed.
    found = np.concatenate([[0.0], weights[rows][order].cumsum()])
    groups = _labelled_groups(truth, group_ids)
    bounds = groups / (groups + 1) * (1 - found).clip(min=0) + 1 / (groups + 1)
    holds = bounds <= alpha + _ROUNDING
    threshold = _ALL
    if holds.any():
        count = int(holds.argmax())  # so many true labels must be in their sets
        threshold = _just_below(levels[count - 1]) if count else _NONE
    entered = decide(levels, threshold).sum()  # those of equal score enter together
    return ConformalThreshold(
        alpha=alpha,
        unit=unit,
        threshold=threshold,
        bound=bounds[entered],
        groups=groups,
        feasible=holds.any(),
    )


def coverage(
    scores: np.ndarray, truth: np.ndarray, group_ids: tuple[str, ...], threshold: ConformalThreshold
) -> Coverage:
    """What the sets of scores (N, L) under `threshold` miss of the truth (N, L)."""
    sets, true = decide(scores, threshold.threshold), truth > 0
    missed, labelled = true & ~sets, true.any(axis=1)
    per_label = zip(missed.sum(axis=0).tolist(), true.sum(axis=0).tolist(), strict=True)
    weights, some = _label_weights(truth, group_ids, threshold.unit), bool(labelled.any())
    return Coverage(
        loss=float(weights @ missed.sum(axis=1)) if some else None,
        missed=float(missed.sum() / true.sum()) if some else None,
        missed_by_label=tuple(lost / all_ if all_ else None for lost, all_ in per_label),
        covered=float(1 - missed.any(axis=1)[labelled].mean()) if some else None,
        mean_set_size=float(sets.sum(axis=1).mean()),
        groups=_labelled_groups(truth, group_ids),
    )


def _labelled_groups(truth: np.ndarray, group_ids: tuple[str, ...]) -> int:
    return len({group_ids[n] for n in np.flatnonzero(truth.any(axis=1))})


def _label_weights(truth: np.ndarray, group_ids: tuple[str, ...], unit: Unit) -> np.ndarray:
    """(N,) what each true label of a sample adds to the mean loss if it is missed."""
    groups, true = number_groups(group_ids), (truth > 0).sum(axis=1)
    counted = (true > 0).astype(float) if unit == "samples" else true
    in_group = np.bincount(groups, counted)[groups] * max(1, _labelled_groups(truth, group_ids))
    return ratio(ratio(counted, true), in_group)


def _just_below(level: float) -> float:
    """The threshold that a score of `level` is just above."""
    return float(np.nextafter(level, 0)) if level > 0 else _ALL
