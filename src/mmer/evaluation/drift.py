"""How new samples, and what a model says of them, differ from what the model was made with.

A model that meets other samples than it was trained on does not say so: its scores look as they
always do. What can be seen without labels is put side by side here. Of training there are the
features; of validation, which the model was not fitted on, what it predicts. What is flagged is a
rule of thumb: larger than a fixed amount and than what so few new samples vary by, taken for
independent, which samples of one recording are not. A feature that was constant has no deviation to
measure by: those that are so no longer are counted, and those that have become so.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mmer.calibration.calibration import Calibration, probabilities
from mmer.metrics.decisions import decide
from mmer.metrics.scores import Scores
from mmer.samples.batches import pack
from mmer.samples.statistics import ModalityStatistics, SampleStatistics, sample_statistics
from mmer.samples.table import SampleTable
from mmer.schema import Record

CONFIDENT = (0.2, 0.8)
"""A prediction is confident if none of its labels has a probability between these two."""

_CHANCE_ERRORS = 2.0
_CONSTANT = 1e-6
_ENOUGH_TO_VARY = 30
"""Among fewer new samples a feature may well be constant by chance."""

_SHIFT, _SPREAD, _LENGTHS, _SHARE = 0.25, 0.5, 0.15, 0.1


class PredictionStatistics(Record):
    """What a model says of some samples.

    Attributes:
        label_rates: L shares of the samples in which the label is predicted.
        mean_probabilities: L.
        confident: Share of the samples whose prediction is `CONFIDENT`; None without samples.
    """

    samples: int
    label_rates: tuple[float, ...]
    mean_probabilities: tuple[float, ...]
    confident: float | None


class Reference(Record):
    """What a model was made with, kept beside it.

    Attributes:
        model: Digest of the model.
        features: Of its training samples.
        predictions: What it says of validation, under the thresholds that it is served with.
    """

    model: str
    labels: tuple[str, ...]
    features: SampleStatistics
    predictions: PredictionStatistics


class ModalityDrift(Record):
    """One modality, before and now; None where one of them has no step of it.

    Attributes:
        shift: Root mean square over features of the difference of means, in deviations.
        most_shifted: The feature, counted from 0, whose mean has moved most, and by how much.
        spread: Median over features of the ratio of deviations, now to before.
        absent: Share of samples without it, before and now.
        length: Mean steps of samples that have it, before and now.
        length_distance: Largest difference of the two distribution functions of steps.
        woken: Number of features that were constant and now vary, or have another value.
        stilled: Number of features that varied and now are constant.
    """

    modality: str
    shift: float | None
    most_shifted: tuple[int, float] | None
    spread: float | None
    absent: tuple[float, float]
    length: tuple[float, float] | None
    length_distance: float | None
    woken: int = 0
    stilled: int = 0


class Flag(Record):
    """Something that deserves a look: what it is, and by how much it differs."""

    what: str
    before: float
    now: float
    tolerated: float


class Drift(Record):
    """New samples beside those that a model was made with.

    Attributes:
        name, version: Of the registered model.
        synthetic: True if the model, or the new samples, are.
        samples, refused: Number of new samples, and of those that the model could not score.
        features: Of the new samples that could be read.
    """

    corpus: str
    name: str
    version: str
    model: str
    synthetic: bool
    labels: tuple[str, ...]
    samples: int
    refused: int
    modalities: tuple[ModalityDrift, ...]
    reference: Reference
    features: SampleStatistics
    predictions: PredictionStatistics
    flags: tuple[Flag, ...]


def reference(train: SampleTable, valid: Scores, calibration: Calibration) -> Reference:
    """What a model was made with: its training table, and its scores on validation.

    Raises:
        InputError: The calibration belongs to another model.
    """
    calibration.check(valid.info.model, valid.info.fingerprint)
    values = valid.scores.astype(np.float64)
    said = probabilities(values, calibration), decide(values, np.array(calibration.thresholds))
    return Reference(
        model=valid.info.model,
        labels=valid.labels,
        features=sample_statistics([pack(train)]),
        predictions=prediction_statistics([said], len(valid.labels)),
    )


def prediction_statistics(
    parts: Iterable[tuple[np.ndarray, np.ndarray]], labels: int
) -> PredictionStatistics:
    """Of predictions that come in parts: probabilities (n, L) and which labels are predicted."""
    count, confident = 0, 0
    predicted, total = np.zeros(labels), np.zeros(labels)
    low, high = CONFIDENT
    for given, decided in parts:
        count += len(given)
        predicted += decided.sum(axis=0)
        total += given.sum(axis=0)
        confident += int(((given <= low) | (given >= high)).all(axis=1).sum())
    return PredictionStatistics(
        samples=count,
        label_rates=tuple((predicted / max(count, 1)).tolist()),
        mean_probabilities=tuple((total / max(count, 1)).tolist()),
        confident=confident / count if count else None,
    )


def modality_drift(before: SampleStatistics, now: SampleStatistics, modality: str) -> ModalityDrift:
    """One modality of two sets of samples."""
    old, new = before.modalities[modality], now.modalities[modality]
    absent = tuple(1 - one.present / max(of.samples, 1) for one, of in ((old, before), (new, now)))
    if not (old.present and new.present):
        return ModalityDrift(
            modality=modality,
            shift=None,
            most_shifted=None,
            spread=None,
            absent=absent,
            length=None,
            length_distance=None,
        )
    scale = np.array(old.deviation)
    varies = scale > 0  # a feature that never varied has no unit
    moved = np.divide(np.array(new.mean) - old.mean, scale, out=np.zeros_like(scale), where=varies)
    ratio = np.divide(np.array(new.deviation), scale, out=np.ones_like(scale), where=varies)
    most = int(np.abs(moved).argmax())
    varies_now = np.array(new.deviation) > 0
    elsewhere = ~np.isclose(new.mean, old.mean, rtol=_CONSTANT, atol=0)
    return ModalityDrift(
        modality=modality,
        shift=float(np.sqrt(np.mean(moved**2))),
        most_shifted=(most, float(moved[most])),
        spread=float(np.median(ratio)),
        absent=absent,
        length=(old.steps / old.present, new.steps / new.present),
        length_distance=_distance(old, new),
        woken=int((~varies & (varies_now | elsewhere)).sum()),
        stilled=int((varies & ~varies_now).sum()),
    )


def flags(
    drifts: Iterable[ModalityDrift],
    before: Reference,
    now: PredictionStatistics,
    samples: int,
    refused: int = 0,
) -> tuple[Flag, ...]:
    """What differs by more than is tolerated of so many new samples.

    Args:
        samples: Whose features were measured.
        refused: Number of those that could not be scored.
    """
    found, told = [], [("samples that could not be scored", refused)]
    for one in drifts:
        told.append((f"{one.modality}: features that were constant and are not", one.woken))
        if samples >= _ENOUGH_TO_VARY:
            told.append((f"{one.modality}: features that varied and are constant", one.stilled))
        found.append((f"{one.modality}: share of samples without it", *one.absent, _SHARE))
        if one.shift is not None and one.spread is not None and one.length_distance is not None:
            found.append((f"{one.modality}: shift of feature means", 0.0, one.shift, _SHIFT))
            found.append((f"{one.modality}: spread of features", 1.0, one.spread, _SPREAD))
            apart = one.length_distance
            found.append((f"{one.modality}: distance of lengths", 0.0, apart, _LENGTHS))
    rates = zip(before.labels, before.predictions.label_rates, now.label_rates, strict=True)
    said = [(f"{label}: share predicted", old, new, _SHARE) for label, old, new in rates]
    if before.predictions.confident is not None and now.confident is not None:
        sure = before.predictions.confident, now.confident
        said.append(("share of confident predictions", *sure, _SHARE))
    counted = [Flag(what=w, before=0.0, now=n, tolerated=0.0) for w, n in told if n]
    return (*counted, *_beyond_chance(found, samples), *_beyond_chance(said, now.samples))


def _beyond_chance(
    found: Iterable[tuple[str, float, float, float]], samples: int
) -> tuple[Flag, ...]:
    """What, before, now, amount -> where they differ by more than it and so few samples vary by."""
    chance = _CHANCE_ERRORS / np.sqrt(max(samples, 1))
    return tuple(
        Flag(what=what, before=old, now=new, tolerated=amount + chance)
        for what, old, new, amount in found
        if abs(new - old) > amount + chance
    )


def _distance(old: ModalityStatistics, new: ModalityStatistics) -> float:
    """Kolmogorov-Smirnov distance of the numbers of steps."""
    places = np.array(sorted({*old.lengths, *new.lengths}))
    shares = [
        np.cumsum([one.lengths.get(int(at), 0) for at in places]) / one.present
        for one in (old, new)
    ]
    return float(np.abs(shares[0] - shares[1]).max())
