"""Which thresholds to use: those that do best on held-out groups, whatever way they were set.

Seven ways are tried: a fixed threshold; the best shared one; and thresholds of each label's own,
drawn towards the shared one by the weight of 300, 100, 30, 10 or 0 positives, because thresholds
of their own fit rare labels too closely. Each way is fitted on some of the validation groups and
judged on the others, in several divisions into folds, so that what fitting varies by counts
against it. The best mean is taken: none has a privilege, the published constant neither. Of equals
the simplest is taken.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mmer.calibration.folds import group_folds
from mmer.calibration.settings import CalibrationSettings
from mmer.calibration.targets import Target, value_of
from mmer.calibration.thresholds import label_thresholds, shared_threshold
from mmer.metrics.counts import Counts
from mmer.metrics.decisions import decide
from mmer.schema import Record

_DIVISIONS = 5


class Candidate(Record):
    """A way of setting thresholds, and what it scored on validation groups it was not fitted on.

    Attributes:
        prior_positives: For "per_label": a label's own threshold weighs as many positives as the
            label has, the shared one weighs this many. 0 is no shrinkage. What is shrunk lies
            between two optima and is neither.
        value: The target's value, cross-fitted, mean over the divisions.
        difference: How much that is above the value of the candidate that was chosen.
        standard_error: Of the difference, by the jackknife over groups.
    """

    method: str
    prior_positives: float | None = None
    value: float = 0.0
    difference: float = 0.0
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


# Simplest first: the order in which a tie is decided.
_WAYS = (
    Candidate(method="fixed"),
    Candidate(method="shared"),
    *(Candidate(method="per_label", prior_positives=prior) for prior in (300, 100, 30, 10, 0)),
)


def select_thresholds(
    scores: np.ndarray, truth: np.ndarray, groups: np.ndarray, settings: CalibrationSettings
) -> Selection:
    """Choose between a fixed, a shared and a threshold per label, shrunk more or less.

    Scores and truth are (N, L), group numbers (N,), of two groups at least.
    """
    truth = truth.astype(bool)
    target = Target(settings.target, settings.minimum_precision)
    values, left_out = np.zeros(len(_WAYS)), np.zeros((len(_WAYS), groups.max() + 1))
    for division in range(_DIVISIONS):
        folds = group_folds(groups, settings.folds_of(groups), division)
        present = _held_out_decisions(scores, truth, folds, target, settings)
        counts = [Counts.by_group(decided, truth, groups) for decided in present]
        values += [float(value_of(count.total(), target)[0]) / _DIVISIONS for count in counts]
        left_out += [value_of(count.without_each(), target) / _DIVISIONS for count in counts]
    allowed = [settings.method in ("auto", way.method) for way in _WAYS]
    index = int(np.where(allowed, _tie(values), -np.inf).argmax())
    errors = _jackknife_error(left_out - left_out[index])
    found = zip(_WAYS, values.tolist(), errors.tolist(), strict=True)
    candidates = tuple(
        way.model_copy(
            update={"value": value, "difference": value - values[index], "standard_error": error}
        )
        for way, value, error in found
    )
    return Selection(
        thresholds=_fitted_thresholds(scores, truth, target, settings)[index],
        chosen=candidates[index],
        candidates=candidates,
        reason=_reason(candidates, index, settings),
    )


def _held_out_decisions(
    scores: np.ndarray,
    truth: np.ndarray,
    folds: np.ndarray,
    target: Target,
    settings: CalibrationSettings,
) -> np.ndarray:
    """(C, N, L) decisions of every candidate, each by thresholds fitted on the other folds."""
    present = np.empty((len(_WAYS), *scores.shape), bool)
    for fold in range(folds.max() + 1):
        out = folds == fold
        fitted = _fitted_thresholds(scores[~out], truth[~out], target, settings)
        present[:, out] = [decide(scores[out], thresholds) for thresholds in fitted]
    return present


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


def _reason(candidates: tuple[Candidate, ...], chosen: int, settings: CalibrationSettings) -> str:
    """Why this candidate, and how far ahead of the others it is."""
    own = candidates[chosen]
    if settings.method != "auto":
        shrunk = ", shrunk as far as held-out groups allow" if own.method == "per_label" else ""
        return f"{own.name}: as set{shrunk}."
    next_best = max((c for c in candidates if c is not own), key=lambda c: c.value)
    ahead = f"{-next_best.difference:.4f} (standard error {next_best.standard_error:.4f}) above"
    if _tie(next_best.value) == _tie(own.value):
        ahead = "equal to but simpler than"
    fixed = candidates[0]
    beside = f"; fixed at {settings.fixed:g} {fixed.value:.4f}" if fixed is not own else ""
    return (
        f"{own.name}: {settings.target} {own.value:.4f} on held-out groups, the largest of "
        f"{len(candidates)} ways, {ahead} the next, {next_best.name}{beside}."
    )


def _tie(value: np.ndarray | float) -> np.ndarray:
    """Means that are equal in exact arithmetic differ beyond the fifteenth digit: let them tie."""
    return np.round(value, 12)
