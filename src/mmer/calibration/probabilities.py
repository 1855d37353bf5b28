"""From scores to probabilities: a monotone map per label, for a gain beyond chance only.

Temperature, Platt scaling and isotonic regression are fitted on some of the validation groups and
judged by log loss on the others. One is taken only if it gains more than 1.645 standard errors over
the scores themselves; of those that do, the one with the least log loss.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit

from mmer.schema import Record

CalibratorMethod = Literal["identity", "temperature", "platt", "isotonic"]

# Simplest first: the first of equals is taken.
_METHODS: tuple[CalibratorMethod, ...] = get_args(CalibratorMethod)
_LOG_TEMPERATURES = (np.log(1 / 20), np.log(20))
_LARGEST_SLOPE = 20.0
_LARGEST_SHIFT = 30.0
# One-sided, chance alone exceeds it once in twenty.
_ERRORS_TO_LEAVE_SCORES = 1.645
_SMALLEST_SCORE = 1e-12
_BINS = 10


class Calibrator(Record):
    """A non-decreasing map from a label's score to its probability, as plain numbers.

    Attributes:
        method: "identity"; "temperature" (the score's log-odds are divided by `temperature`);
            "platt" (then `shift` is added); or "isotonic" (straight lines between knots, constant
            outside).
        temperature: Above 1 if the scores are too sure of themselves.
        shift: Above 0 if the scores are too low.
        knot_scores, knot_probabilities: Of the isotonic map, ascending.
    """

    method: CalibratorMethod = "identity"
    temperature: float = 1.0
    shift: float = 0.0
    knot_scores: tuple[float, ...] = ()
    knot_probabilities: tuple[float, ...] = ()

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities of scores, of the same shape."""
        if self.method in ("temperature", "platt"):
            return expit(_log_odds(scores) / self.temperature + self.shift)
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
        log_losses: Method -> mean log loss.
        standard_errors: Method -> that of its gain over the scores themselves, over groups.
        before, after: Of the scores themselves, and of the chosen method's probabilities.
        note: Why nothing was tried, if so.
    """

    calibrator: Calibrator
    log_losses: dict[str, float]
    standard_errors: dict[str, float]
    before: Reliability
    after: Reliability
    note: str = ""


def fit_calibrator(method: CalibratorMethod, scores: np.ndarray, truth: np.ndarray) -> Calibrator:
    """One label's calibrator, fitted on scores (N,) in [0, 1] and truth (N,) 0 or 1.

    Temperature: Guo et al. 2017, by maximum likelihood, between 1/20 and 20. Platt: Platt 1999,
    "Probabilistic outputs for support vector machines", on log-odds, by maximum likelihood, never
    falling. Isotonic: scikit-learn's, kept away from 0 and 1 by 1/(N+2), which N samples cannot
    tell from them.
    """
    if method == "temperature":
        odds = _log_odds(scores)

        def loss(log_temperature: float) -> float:
            scaled = odds / np.exp(log_temperature)
            return float(np.mean(np.logaddexp(0, scaled) - truth * scaled))

        found = minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded")
        return Calibrator(method=method, temperature=float(np.exp(found.x)))
    if method == "platt":
        return _platt(_log_odds(scores), truth)
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression  # no part of what is served

        margin = 1 / (len(scores) + 2)
        fitted = IsotonicRegression(y_min=margin, y_max=1 - margin).fit(scores, truth)
        return Calibrator(
            method="isotonic",
            knot_scores=tuple(fitted.X_thresholds_.tolist()),
            knot_probabilities=tuple(fitted.y_thresholds_.tolist()),
        )
    return Calibrator()


def _platt(odds: np.ndarray, truth: np.ndarray) -> Calibrator:
    """expit(slope * odds + shift) of the largest likelihood, slope from 1/20 to 20."""

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        scaled = at[0] * odds + at[1]
        error = expit(scaled) - truth
        value = float(np.mean(np.logaddexp(0, scaled) - truth * scaled))
        return value, np.array([np.mean(error * odds), np.mean(error)])

    bounds = [(1 / _LARGEST_SLOPE, _LARGEST_SLOPE), (-_LARGEST_SHIFT, _LARGEST_SHIFT)]
    slope, shift = minimize(loss, (1.0, 0.0), jac=True, bounds=bounds, method="L-BFGS-B").x
    return Calibrator(method="platt", temperature=float(1 / slope), shift=float(shift))


def calibrate_label(
    scores: np.ndarray, truth: np.ndarray, groups: np.ndarray, folds: np.ndarray, minimum: int
) -> LabelProbabilities:
    """Choose one label's calibrator by cross-fitted log loss; all arguments but the last are (N,).

    With fewer than `minimum` samples with or without the label nothing is fitted.
    """
    positives = int(truth.sum())
    if min(positives, len(truth) - positives) < minimum:
        note = f"{positives} of {len(truth)} samples have the label: too few on one side to fit"
        return uncalibrated_label(scores, truth, note)
    held_out = {method: _held_out(method, scores, truth, folds) for method in _METHODS}
    losses = {method: _log_losses(truth, given) for method, given in held_out.items()}
    means = {method: float(each.mean()) for method, each in losses.items()}
    errors = {m: _standard_error(losses["identity"] - each, groups) for m, each in losses.items()}
    clear = [
        method
        for method in _METHODS
        if means["identity"] - means[method] > _ERRORS_TO_LEAVE_SCORES * errors[method]
    ]
    chosen = min(clear, key=means.__getitem__) if clear else "identity"
    return LabelProbabilities(
        calibrator=fit_calibrator(chosen, scores, truth),
        log_losses=means,
        standard_errors=errors,
        before=reliability(scores, truth),
        after=reliability(held_out[chosen], truth),
    )


def uncalibrated_label(scores: np.ndarray, truth: np.ndarray, note: str) -> LabelProbabilities:
    """One label's scores (N,) taken as probabilities, and why."""
    diagram = reliability(scores, truth)
    return LabelProbabilities(
        calibrator=Calibrator(),
        log_losses={"identity": float(_log_losses(truth, scores).mean())},
        standard_errors={"identity": 0.0},
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


def _standard_error(gains: np.ndarray, groups: np.ndarray) -> float:
    """Standard error of the mean of (N,) values that resemble each other within groups."""
    sums = np.bincount(groups, gains - gains.mean())
    count = len(sums)
    return float(np.sqrt(count / (count - 1) * (sums**2).sum()) / len(gains))


def _held_out(
    method: CalibratorMethod, scores: np.ndarray, truth: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """(N,) probabilities, each by a calibrator fitted on the other folds."""
    probabilities = np.empty(len(scores))
    for fold in range(folds.max() + 1):
        out = folds == fold
        probabilities[out] = fit_calibrator(method, scores[~out], truth[~out])(scores[out])
    return probabilities


def _log_losses(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(N,) what each sample adds to the log loss."""
    odds = _log_odds(probabilities)
    return np.logaddexp(0, odds) - truth * odds


def _log_odds(scores: np.ndarray) -> np.ndarray:
    return logit(np.clip(scores, _SMALLEST_SCORE, 1 - _SMALLEST_SCORE))
