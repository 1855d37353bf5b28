"""Everything that is chosen on the validation split, with the model that it belongs to."""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from mmer.calibration.conformal import ConformalThreshold, conformal_threshold
from mmer.calibration.folds import group_folds
from mmer.calibration.probabilities import LabelProbabilities, calibrate_label, uncalibrated_label
from mmer.calibration.selection import Candidate, select_thresholds
from mmer.calibration.settings import CalibrationSettings
from mmer.errors import InputError
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.scores import Scores
from mmer.schema import Record


class ThresholdsFor(Record):
    """L thresholds that were chosen for one metric, and why these."""

    thresholds: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    method: str
    reason: str


class Calibration(Record):
    """Thresholds, probability calibrators and conformal thresholds of one model.

    Attributes:
        thresholds: L thresholds on the scores themselves (not on the calibrated probabilities).
        method: Where they come from: "fixed", "shared", "per_label", or "fixed by the system".
        target: What they were to make large; empty if they are the system's.
        of_metric: Headline metric -> the thresholds by which systems are compared in it; empty if
            they are the system's.
        conformal: A threshold for each alpha and loss.
        model: Digest of the model that gave the scores.
        fingerprint: Of the sample tables that the scores stand on.
        samples, groups: Numbers of those in validation.
        groups_known: False if each sample is taken for a group of its own; see `Origin`.
        positives: L numbers of validation samples that have the label.
        synthetic: True if the samples are synthetic, or those that the model learned from.
        notes: What could not be done as asked, and what was done instead.
    """

    labels: tuple[str, ...]
    thresholds: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    method: str
    target: str
    reason: str
    of_metric: dict[str, ThresholdsFor] = Field(default={})
    candidates: tuple[Candidate, ...]
    probabilities: tuple[LabelProbabilities, ...]
    conformal: tuple[ConformalThreshold, ...]
    model: str
    fingerprint: str
    samples: int
    groups: int
    groups_known: bool
    positives: tuple[int, ...]
    synthetic: bool
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_of_each_for_each_label(self) -> Self:
        for name in ("thresholds", "probabilities", "positives"):
            if len(getattr(self, name)) != len(self.labels):
                raise ValueError(f"{name}: not one for each of {len(self.labels)} labels")
        return self

    def check(self, model: str, fingerprint: str) -> None:
        """Refuse to be used with another model, or on other tables.

        Raises:
            InputError: `model` or `fingerprint` is not that of the scores this was made from.
        """
        remedy = "Calibrate again (--tags=calibration, or the whole pipeline)."
        for key, given in (("model", model), ("fingerprint", fingerprint)):
            if given != getattr(self, key):
                expected = f"the {key} that it was made for ({getattr(self, key)})"
                raise InputError("calibration", key, expected, given, remedy)


def calibrate(scores: Scores, settings: CalibrationSettings) -> Calibration:
    """Choose thresholds, calibrators and conformal thresholds on the validation split.

    A system with a threshold of its own keeps it, and its scores are its probabilities.

    Raises:
        InputError: The scores are of another split; or something is to be chosen and there is no
            positive label at all, or only one group, so that none can be held out.
    """
    where = f"scores of {scores.info.title} on {scores.info.split}"
    if scores.info.split != "valid":
        expected = "valid: nothing is chosen on another split"
        raise InputError(where, "split", expected, scores.info.split)
    if scores.info.fixed_threshold is not None:
        return _fixed_by_the_system(scores, scores.info.fixed_threshold)
    if not scores.truth.any():
        raise InputError(where, "truth", "at least one positive label", "none")
    values, truth, groups = scores.scores.astype(np.float64), scores.truth, scores.groups
    if groups.max() < 1:
        raise InputError(where, "group_ids", "at least 2 groups, so that one can be held out", "1")
    folds = group_folds(groups, settings.folds_of(groups))
    selection = select_thresholds(values, truth, groups, settings)
    of_metric = {
        metric: selection
        if metric == settings.target
        else select_thresholds(
            values, truth, groups, settings.model_copy(update={"target": metric})
        )
        for metric in HEADLINE
    }
    labels = tuple(
        calibrate_label(column, true, groups, folds, settings.minimum_positives)
        for column, true in zip(values.T, truth.T, strict=True)
    )
    found = _record(
        scores,
        thresholds=selection.thresholds,
        method=selection.chosen.method,
        target=settings.target,
        reason=selection.reason,
        of_metric={
            metric: ThresholdsFor(
                thresholds=tuple(one.thresholds.tolist()),
                method=one.chosen.method,
                reason=one.reason,
            )
            for metric, one in of_metric.items()
        },
        candidates=selection.candidates,
        probabilities=labels,
        conformal=tuple(
            conformal_threshold(values, truth, scores.group_ids, alpha, unit)
            for alpha in settings.alphas
            for unit in settings.guarantees
        ),
    )
    return found.model_copy(update={"notes": _notes(found, settings)})


def probabilities(scores: np.ndarray, calibration: Calibration) -> np.ndarray:
    """(N, L) probabilities of scores (N, L)."""
    columns = zip(calibration.probabilities, np.asarray(scores, np.float64).T, strict=True)
    return np.stack([label.calibrator(column) for label, column in columns], axis=1)


def _record(scores: Scores, *, thresholds: np.ndarray, **chosen: Any) -> Calibration:
    """What was chosen, with what it was chosen from."""
    return Calibration(
        labels=scores.labels,
        thresholds=tuple(thresholds.tolist()),
        model=scores.info.model,
        fingerprint=scores.info.fingerprint,
        samples=len(scores.truth),
        groups=int(scores.groups.max()) + 1,
        groups_known=scores.info.groups_known,
        positives=tuple(scores.truth.sum(axis=0, dtype=np.int64).tolist()),
        synthetic=scores.info.synthetic,
        **chosen,
    )


def _fixed_by_the_system(scores: Scores, threshold: float) -> Calibration:
    reason = f"{scores.info.title} has nothing to calibrate."
    values = scores.scores.astype(np.float64)
    return _record(
        scores,
        thresholds=np.full(len(scores.labels), threshold),
        method="fixed by the system",
        target="",
        reason=reason,
        candidates=(),
        probabilities=tuple(
            uncalibrated_label(column, truth, reason)
            for column, truth in zip(values.T, scores.truth.T, strict=True)
        ),
        conformal=(),
    )


def _notes(found: Calibration, settings: CalibrationSettings) -> tuple[str, ...]:
    """What could not be done as asked, in words."""
    notes, groups, asked = [], found.groups, settings.minimum_positives
    if not found.groups_known:
        treated = "cross-fitting and conformal thresholds treat samples as independent"
        notes.append(f"groups are unknown: {treated}")
    if groups < settings.folds:
        notes.append(f"cross-fitting in {groups} folds: there are only {groups} groups")
    columns = zip(found.labels, found.positives, found.probabilities, strict=True)
    for label, positives, calibrated in columns:
        if positives < asked and found.method == "per_label":
            notes.append(
                f"{label}: takes the shared threshold: {positives} positives of {asked} asked for"
            )
        if calibrated.note:
            notes.append(f"{label}: scores are taken as probabilities: {calibrated.note}")
    notes += [
        f"alpha {one.alpha:g} over {one.unit} is out of reach with {one.groups} groups: every "
        "label is in every set"
        for one in found.conformal
        if not one.feasible
    ]
    return tuple(notes)
