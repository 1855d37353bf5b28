"""Everything that is chosen on the validation split, with the weights that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmer.calibration.conformal import ConformalCut, conformal_cut
from mmer.calibration.folds import group_folds, number_groups
from mmer.calibration.probabilities import (
    Calibrator,
    LabelProbabilities,
    Reliability,
    calibrate_label,
)
from mmer.calibration.selection import Candidate, select_thresholds
from mmer.calibration.settings import CalibrationSettings
from mmer.errors import InputError
from mmer.samples.scores import Scores


@dataclass(frozen=True)
class Calibration:
    """Thresholds, probability calibrators and conformal cuts of one set of weights.

    Attributes:
        labels: L emotion names, in the scores' column order.
        thresholds: L thresholds on the scores themselves (not on the calibrated probabilities).
        method: "fixed", "shared" or "per_label": where the thresholds come from.
        target: What they were to make large.
        reason: Why this method.
        candidates: Every method's cross-fitted value of the target.
        probabilities: Per label, the calibrator with its log losses and reliability.
        conformal: A cut for each alpha.
        weights: Digest of the weights that gave the scores.
        samples: Number of validation samples.
        groups: Number of their groups.
        positives: L numbers of validation samples that have the label.
        synthetic: True if the samples are synthetic.
        notes: What could not be done as asked, and what was done instead.

    Raises:
        InputError: Not one threshold in [0, 1] and one calibrator per label.
    """

    labels: tuple[str, ...]
    thresholds: tuple[float, ...]
    method: str
    target: str
    reason: str
    candidates: tuple[Candidate, ...]
    probabilities: tuple[LabelProbabilities, ...]
    conformal: tuple[ConformalCut, ...]
    weights: str
    samples: int
    groups: int
    positives: tuple[int, ...]
    synthetic: bool
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("thresholds", "probabilities", "positives"):
            if len(getattr(self, name)) != len(self.labels):
                expected = f"one for each of {len(self.labels)} labels"
                raise InputError("calibration", name, expected, len(getattr(self, name)))
        if not all(0 <= threshold <= 1 for threshold in self.thresholds):
            raise InputError("calibration", "thresholds", "numbers in [0, 1]", self.thresholds)

    def check_weights(self, weights: str) -> None:
        """Refuse to be used with other weights.

        Raises:
            InputError: `weights` is not the digest of the weights this belongs to.
        """
        if weights != self.weights:
            raise InputError(
                "calibration",
                "weights",
                f"the weights that it was made for ({self.weights})",
                weights,
                "Calibrate again with these weights.",
            )

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_dict`, before or after JSON.

        Raises:
            InputError: Something is missing, unknown or of another type.
        """
        try:
            values = dict(record)
            for name, kind in (("candidates", Candidate), ("conformal", ConformalCut)):
                values[name] = tuple(_restored(kind, item) for item in values[name])
            values["probabilities"] = tuple(
                LabelProbabilities(
                    **{
                        **item,
                        "calibrator": _restored(Calibrator, item["calibrator"]),
                        "before": _restored(Reliability, item["before"]),
                        "after": _restored(Reliability, item["after"]),
                    }
                )
                for item in values["probabilities"]
            )
            return _restored(cls, values)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "calibration", "", "the record that a calibration was written as", repr(error)
            ) from error


def calibrate(scores: Scores, settings: CalibrationSettings) -> Calibration:
    """Choose thresholds, calibrators and conformal cuts on the validation split.

    Args:
        scores: Of the validation split.
        settings: What to aim at, and how.

    Raises:
        InputError: The scores are of another split; there is no sample, no positive label at all,
            or only one group, so that nothing can be judged on groups held out.
    """
    _check(scores)
    values, truth = scores.scores.astype(np.float64), scores.truth.astype(np.uint8)
    groups = number_groups(scores.group_ids)
    count = int(groups.max()) + 1
    folds = group_folds(groups, min(settings.folds, count))
    selection = select_thresholds(values, truth, groups, folds, settings)
    probabilities = tuple(
        calibrate_label(values[:, column], truth[:, column], folds, settings.minimum_positives)
        for column in range(len(scores.labels))
    )
    cuts = tuple(conformal_cut(values, truth, scores.group_ids, a) for a in settings.alphas)
    return Calibration(
        labels=scores.labels,
        thresholds=tuple(selection.thresholds.tolist()),
        method=selection.chosen.method,
        target=settings.target,
        reason=selection.reason,
        candidates=selection.candidates,
        probabilities=probabilities,
        conformal=cuts,
        weights=scores.weights,
        samples=len(values),
        groups=count,
        positives=tuple(truth.sum(axis=0, dtype=np.int64).tolist()),
        synthetic=scores.synthetic,
        notes=_notes(scores, settings, selection.chosen, probabilities, cuts),
    )


def decide(scores: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Decide which labels are present: where a score is above its label's threshold.

    Args:
        scores: (N, L), columns in the order of `calibration.labels`.
        calibration: Of the weights that gave the scores.

    Returns:
        (N, L) uint8, 1 where the label is present.

    Raises:
        InputError: Another number of columns, or a score that is not a number.
    """
    return (_columns(scores, calibration) > np.array(calibration.thresholds)).astype(np.uint8)


def calibrated_probabilities(scores: np.ndarray, calibration: Calibration) -> np.ndarray:
    """(N, L) probabilities of scores (N, L).

    Raises:
        InputError: Another number of columns, or a score that is not a number.
    """
    scores = _columns(scores, calibration)
    columns = [
        label.calibrator(scores[:, column])
        for column, label in enumerate(calibration.probabilities)
    ]
    return np.stack(columns, axis=1)


def _check(scores: Scores) -> None:
    where = f"scores of {scores.system} on {scores.split}"
    if scores.split != "valid":
        raise InputError(where, "split", "valid: nothing is chosen on another split", scores.split)
    if not scores.scores.size:
        raise InputError(where, "", "at least one sample", "an empty validation split")
    if not scores.truth.any():
        raise InputError(where, "truth", "at least one positive label", "none in any sample")
    if len(set(scores.group_ids)) < 2:
        raise InputError(
            where,
            "group_ids",
            "at least 2 groups, so that one can be held out",
            f"one, {scores.group_ids[0]}",
        )


def _notes(
    scores: Scores,
    settings: CalibrationSettings,
    chosen: Candidate,
    probabilities: tuple[LabelProbabilities, ...],
    cuts: tuple[ConformalCut, ...],
) -> tuple[str, ...]:
    """What could not be done as asked, in words."""
    notes = []
    groups = len(set(scores.group_ids))
    if groups < settings.folds:
        notes.append(f"cross-fitting in {groups} folds: there are only {groups} groups")
    for label, positives in zip(scores.labels, scores.truth.sum(axis=0), strict=True):
        if positives < settings.minimum_positives and chosen.method == "per_label":
            notes.append(
                f"{label}: takes the shared threshold, with {positives} positives in validation "
                f"where {settings.minimum_positives} are asked for"
            )
    notes += [
        f"{label}: scores are taken as probabilities: {calibrated.note}"
        for label, calibrated in zip(scores.labels, probabilities, strict=True)
        if calibrated.note
    ]
    notes += [
        f"alpha {cut.alpha:g} is out of reach with {cut.groups} groups: every label is in every set"
        for cut in cuts
        if not cut.feasible
    ]
    return tuple(notes)


def _columns(scores: np.ndarray, calibration: Calibration) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    width = len(calibration.labels)
    if scores.ndim != 2 or scores.shape[1] != width:
        raise InputError("scores", "shape", f"(N, {width}), one column per label", scores.shape)
    if np.isnan(scores).any():
        row, column = np.argwhere(np.isnan(scores))[0]
        raise InputError("scores", f"row {row}, {calibration.labels[column]}", "a number", "NaN")
    return scores


def _restored(kind: Any, record: Mapping[str, Any]) -> Any:
    """A dataclass from its record, lists of JSON turned back into tuples."""
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in record.items()})
