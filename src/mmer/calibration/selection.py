"""Which thresholds to use: none more complex than held-out groups support.

Thresholds of their own fit rare labels too closely. So every way of setting them is fitted on some
of the validation groups and judged on the others, and a more complex way is taken only where it is
better by more than chance explains.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mmer.calibration.settings import CalibrationSettings
from mmer.calibration.targets import Target, value_of
from mmer.calibration.thresholds import label_thresholds, shared_threshold
from mmer.metrics.counts import Counts
from mmer.metrics.decisions import decide
from mmer.schema import Record

# The fixed threshold is left only for a gain of more than two standard errors: with one, where
# there is nothing to gain, chance alone leaves it about every third time, and half of those lose.
_ERRORS_TO_LEAVE_FIXED = 2.0
# Among the others the one-standard-error rule (Breiman et al. 1984, "Classification and Regression
# Trees", section 3.4.3): the simplest of those that close to the best.
_ERRORS_OF_A_TIE = 1.0


class Candidate(Record):
    """A way of setting thresholds, and what it scored on validation groups it was not fitted on.

    Attributes:
        prior_positives: For "per_label": a label's own threshold weighs as many positives as the
            label has, the shared one weighs this many. 0 is no shrinkage. What is shrunk lies
            between two optima and is neither.
        value: The target's value, cross-fitted.
        gain: How much that is above the fixed threshold's.
        standard_error: Of the gain, by the jackknife over groups.
    """

    method: str
    prior_positives: float | None = None
    value: float = 0.0
    gain: float = 0.0
    standard_error: float = 0.0

    @property
    def name(self) -> str:
        if self.prior_positives is None:
            return self.method
        return f"{self.method}, shrunk by {self.prior_positives:g} positives"


class Selection(NamedTuple):
    """The thresholds (L,) chosen, the candidate they come from, all candidates, and why."""

    thresholds: np.ndarray
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    reason: str


# Simplest first: the order in which a near-tie is decided.
_WAYS = (
    Candidate(method="fixed"),
    Candidate(method="shared"),
    *(Candidate(method="per_label", prior_positives=prior) for prior in (300, 100, 30, 10, 0)),
)


def select_thresholds(
    scores: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray,
    folds: np.ndarray,
    settings: CalibrationSettings,
) -> Selection:
    """Choose between a fixed, a shared and a threshold per label, shrunk more or less.

    Scores and truth are (N, L), group numbers (N,); `folds` (N,) are those of `group_folds`.
    """
    truth = truth.astype(bool)
    target = Target(settings.target, settings.minimum_precision)
    present = np.empty((len(_WAYS), *scores.shape), bool)
    for fold in range(folds.max() + 1):
        out = folds == fold
        fitted = _fitted_thresholds(scores[~out], truth[~out], target, settings)
        present[:, out] = [decide(scores[out], thresholds) for thresholds in fitted]
    counts = [Counts.by_group(decided, truth, groups) for decided in present]
    values = np.array([float(value_of(count.total(), target)[0]) for count in counts])
    left_out = np.stack([value_of(count.without_each(), target) for count in counts])  # (C, G)
    errors = _jackknife_error(left_out - left_out[0])
    candidates = tuple(
        way.model_copy(update={"value": value, "gain": value - values[0], "standard_error": error})
        for way, value, error in zip(_WAYS, values.tolist(), errors.tolist(), strict=True)
    )
    index, best = _choose(candidates, left_out, settings.method)
    return Selection(
        thresholds=_fitted_thresholds(scores, truth, target, settings)[index],
        chosen=candidates[index],
        candidates=candidates,
        reason=_reason(candidates, candidates[index], candidates[best], settings),
    )


def _fitted_thresholds(
    scores: np.ndarray, truth: np.ndarray, target: Target, settings: CalibrationSettings
) -> np.ndarray:
    """(C, L) thresholds of every candidate."""
    shared = shared_threshold(scores, truth, target)
    own = label_thresholds(scores, truth, target)
    positives = truth.sum(axis=0)
    enough = positives >= settings.minimum_positives

    def thresholds(way: Candidate) -> np.ndarray:
        if way.method == "fixed":
            return np.full(len(own), settings.fixed)
        prior = np.inf if way.prior_positives is None else way.prior_positives
        weight = np.where(enough, positives / np.maximum(positives + prior, 1), 0)
        return shared + weight * (own - shared)

    return np.stack([thresholds(way) for way in _WAYS])


def _jackknife_error(left_out: np.ndarray) -> np.ndarray:
    """(...) standard error of a statistic from its values (..., G) without each group."""
    count = left_out.shape[-1]
    return np.sqrt((count - 1) * left_out.var(axis=-1))


def _choose(
    candidates: tuple[Candidate, ...], left_out: np.ndarray, method: str
) -> tuple[int, int]:
    """Index of the candidate to use, and of the best of those that may be used."""
    values = np.array([c.value for c in candidates])
    clear = [c.gain > _ERRORS_TO_LEAVE_FIXED * c.standard_error for c in candidates]
    eligible = np.array(clear if method == "auto" else [c.method == method for c in candidates])
    if not eligible.any():
        return 0, 0
    best = int(np.where(eligible, values, -np.inf).argmax())
    margin = _ERRORS_OF_A_TIE * _jackknife_error(left_out[best] - left_out)
    return int(np.argmax(eligible & (values[best] - values <= margin))), best


def _reason(
    candidates: tuple[Candidate, ...],
    chosen: Candidate,
    best: Candidate,
    settings: CalibrationSettings,
) -> str:
    """Why `chosen` of those that may be used, of which `best` has the largest value."""
    if settings.method != "auto":
        shrunk = ", shrunk as far as held-out groups allow" if chosen.method == "per_label" else ""
        return f"{chosen.name}: as set{shrunk}."
    if chosen.method == "fixed":
        other = max(candidates[1:], key=lambda c: c.value)
        return (
            f"fixed: no candidate gains more than {_ERRORS_TO_LEAVE_FIXED:g} standard errors; the "
            f"largest gain is {other.gain:.4f} (standard error {other.standard_error:.4f})."
        )
    gain = (
        f"{chosen.name}: gains {chosen.gain:.4f} (standard error {chosen.standard_error:.4f}) in "
        f"{settings.target} over the fixed {settings.fixed:g} on held-out groups"
    )
    if chosen == best:
        return f"{gain}, the most of those that gain more than chance explains."
    best_of = f"the best ({best.name}, {best.gain:.4f})"
    return f"{gain}, the simplest within one standard error of {best_of}."
