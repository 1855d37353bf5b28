"""From scores to probabilities: a monotone map per label, kept only if held-out groups like it."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss

from mmer.schema import Record

CalibratorMethod = Literal["identity", "temperature", "isotonic"]

# Simplest first: the first of equals is taken.
_METHODS: tuple[CalibratorMethod, ...] = get_args(CalibratorMethod)
_LOG_TEMPERATURES = (np.log(1 / 20), np.log(20))
_SMALLEST_SCORE = 1e-12
_BINS = 10


class Calibrator(Record):
    """A non-decreasing map from a label's score to its probability, as plain numbers.

    Attributes:
        method: "identity"; "temperature" (the score's log-odds are divided by `temperature`); or
            "isotonic" (straight lines between knots, constant outside).
        temperature: Above 1 if the scores are too sure of themselves.
        knot_scores, knot_probabilities: Of the isotonic map, ascending.
    """

    method: CalibratorMethod = "identity"
    temperature: float = 1.0
    knot_scores: tuple[float, ...] = ()
    knot_probabilities: tuple[float, ...] = ()

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities of scores, of the same shape."""
        if self.method == "temperature":
            return expit(_log_odds(scores) / self.temperature)
        if self.method == "isotonic":
            return np.interp(scores, self.knot_scores, self.knot_probabilities)
        return np.asarray(scores, np.float64)


class Reliability(Record):
    """A reliability diagram: how often a label is present where its probability is about p.

    Bins are ten of equal width; those without samples are left out.

    Attributes:
        probability: Mean probability in each bin.
        frequency: Share of its samples that have the label.
        count: Number of its samples.
        expected_calibration_error: Mean distance of the two, weighted by count (Guo et al. 2017,
            "On Calibration of Modern Neural Networks", equation 3).
    """

    probability: tuple[float, ...]
    frequency: tuple[float, ...]
    count: tuple[int, ...]
    expected_calibration_error: float


class LabelProbabilities(Record):
    """One label's calibrator, and what speaks for it. All figures are cross-fitted.

    Attributes:
        calibrator: The one to use, fitted on the whole validation split.
        before, after: Of the scores themselves, and of the chosen method's probabilities.
        note: Why nothing was tried, if so.
    """

    calibrator: Calibrator
    log_losses: dict[str, float]
    before: Reliability
    after: Reliability
    note: str = ""


def fit_calibrator(method: CalibratorMethod, scores: np.ndarray, truth: np.ndarray) -> Calibrator:
    """One label's calibrator, fitted on scores (N,) in [0, 1] and truth (N,) 0 or 1.

    Temperature: Guo et al. 2017, by maximum likelihood, between 1/20 and 20. Isotonic:
    scikit-learn's, kept away from 0 and 1 by 1/(N+2), which N samples cannot tell from them.
    """
    if method == "temperature":
        odds = _log_odds(scores)

        def loss(log_temperature: float) -> float:
            scaled = odds / np.exp(log_temperature)
            return float(np.mean(np.logaddexp(0, scaled) - truth * scaled))

        found = minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded")
        return Calibrator(method=method, temperature=float(np.exp(found.x)))
    if method == "isotonic":
        margin = 1 / (len(scores) + 2)
        fitted = IsotonicRegression(y_min=margin, y_max=1 - margin).fit(scores, truth)
        return Calibrator(
            method="isotonic",
            knot_scores=tuple(fitted.X_thresholds_.tolist()),
            knot_probabilities=tuple(fitted.y_thresholds_.tolist()),
        )
    return Calibrator()


def calibrate_label(
    scores: np.ndarray, truth: np.ndarray, folds: np.ndarray, minimum: int
) -> LabelProbabilities:
    """Choose one label's calibrator by cross-fitted log loss.

    With fewer than `minimum` samples with or without the label nothing is fitted.
    """
    positives = int(truth.sum())
    if min(positives, len(truth) - positives) < minimum:
        note = f"{positives} of {len(truth)} samples have the label: too few on one side to fit"
        return uncalibrated_label(scores, truth, note)
    held_out = {method: _held_out(method, scores, truth, folds) for method in _METHODS}
    losses = {method: _loss(truth, given) for method, given in held_out.items()}
    chosen = min(_METHODS, key=losses.__getitem__)
    return LabelProbabilities(
        calibrator=fit_calibrator(chosen, scores, truth),
        log_losses=losses,
        before=reliability(scores, truth),
        after=reliability(held_out[chosen], truth),
    )


def uncalibrated_label(scores: np.ndarray, truth: np.ndarray, note: str) -> LabelProbabilities:
    """One label's scores (N,) taken as probabilities, and why."""
    diagram = reliability(scores, truth)
    return LabelProbabilities(
        calibrator=Calibrator(),
        log_losses={"identity": _loss(truth, scores)},
        before=diagram,
        after=diagram,
        note=note,
    )


def reliability(probabilities: np.ndarray, truth: np.ndarray) -> Reliability:
    """Reliability diagram of probabilities (N,) in [0, 1] against truth (N,) 0 or 1."""
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    bins = np.unique(bins, return_inverse=True)[1]
    count = np.bincount(bins)
    probability, frequency = (
        np.bincount(bins, values) / count for values in (probabilities, truth)
    )
    return Reliability(
        probability=tuple(probability.tolist()),
        frequency=tuple(frequency.tolist()),
        count=tuple(count.tolist()),
        expected_calibration_error=float(np.average(abs(probability - frequency), weights=count)),
    )


def _loss(truth: np.ndarray, probabilities: np.ndarray) -> float:
    return float(log_loss(truth, probabilities, labels=[0, 1]))


def _held_out(
    method: CalibratorMethod, scores: np.ndarray, truth: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """(N,) probabilities, each by a calibrator fitted on the other folds."""
    probabilities = np.empty(len(scores))
    for fold in range(folds.max() + 1):
        out = folds == fold
        probabilities[out] = fit_calibrator(method, scores[~out], truth[~out])(scores[out])
    return probabilities


def _log_odds(scores: np.ndarray) -> np.ndarray:
    return logit(np.clip(scores, _SMALLEST_SCORE, 1 - _SMALLEST_SCORE))
