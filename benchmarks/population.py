"""A population whose true figures are known: rare labels, and groups whose members are alike.

A sample has a label if a sum of two normal variables exceeds a bound: the signal, which a system
sees with a normal error of its own, and a rest that no system sees. Of all three a part is shared
by the samples of a group, whose labels, scores and errors therefore resemble each other. A system's
score is the probability of the label given what it sees, in closed form: so every system is exactly
calibrated, and two systems whose errors have the same size are equally good in every metric.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri
from workload import scores_info

from mmer.calibration.targets import Target
from mmer.calibration.thresholds import label_thresholds
from mmer.metrics.intervals import Interval, Intervals, bootstrap_intervals
from mmer.metrics.resampled import Judged
from mmer.metrics.scores import Scores

RATES = np.array([0.5, 0.25, 0.2, 0.1, 0.05, 0.02])
MEAN_GROUP_SIZE = 7  # sizes are geometric: from 1 to about 50
SHARED_IN_GROUP = 0.3  # of the variances
SIGNAL, REST = 1.0, 0.5  # standard deviations, as those of the systems' errors
ERROR = 0.6  # of the system under test and those that are as good
LARGER_ERROR = 0.75  # of one that is worse
OVERCONFIDENCE = 1.5  # times the log-odds
_BOUND = -ndtri(RATES) * np.hypot(SIGNAL, REST)
_POPULATION = (4, 50_000)  # so many draws of so many groups


def draw(rng: np.random.Generator, groups: int, errors: Sequence[float]) -> list[Scores]:
    """Scores of a system for each size of error, on the same samples of so many groups."""
    number = np.repeat(np.arange(groups), rng.geometric(1 / MEAN_GROUP_SIZE, size=groups))

    def normal(deviation: float) -> np.ndarray:
        shared, own = (rng.normal(size=(n, len(RATES))) for n in (groups, len(number)))
        shares = np.sqrt([SHARED_IN_GROUP, 1 - SHARED_IN_GROUP])
        return deviation * (shares[0] * shared[number] + shares[1] * own)

    signal = normal(SIGNAL)
    truth = (signal + normal(REST) > _BOUND).astype(np.uint8)
    ids = tuple(f"sample {n}" for n in range(len(number)))
    names = tuple(f"group {g}" for g in number)
    found = []
    for place, error in enumerate(errors):
        kept = SIGNAL**2 / (SIGNAL**2 + error**2)
        expected = kept * (signal + normal(error))
        scores = ndtr((expected - _BOUND) / np.sqrt(kept * error**2 + REST**2))
        found.append(Scores(scores_info("test", f"system {place}"), scores, truth, ids, names))
    return found


def overconfident(judged: Judged) -> Judged:
    """The same decisions and ranking, with probabilities too near to 0 and 1."""
    scores = judged.scores.scores.clip(1e-12, 1 - 1e-12)
    return replace(judged, probabilities=expit(OVERCONFIDENCE * logit(scores)))


def best_thresholds() -> np.ndarray:
    """(L,) those of the largest F1 of each label in the population."""
    (scores,) = draw(np.random.default_rng(0), _POPULATION[1], [ERROR])
    return label_thresholds(scores.scores, scores.truth, Target("macro_f1"))


def true_figures(
    error: float, thresholds: np.ndarray, change: Callable[[Judged], Judged] = lambda one: one
) -> dict[str, float]:
    """All figures in the population of a system with such an error, changed."""
    found: list[dict[str, float]] = []
    for seed in range(_POPULATION[0]):
        (scores,) = draw(np.random.default_rng([1, seed]), _POPULATION[1], [error])
        judged = change(Judged(scores, thresholds))
        rows = by_figure(bootstrap_intervals(judged, resamples=1))
        found.append({name: row.value or 0.0 for name, row in rows.items()})
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def by_figure(found: Intervals) -> dict[str, Interval]:
    """Metrics, and F1 of each label by how frequent it is."""
    labels = zip(RATES, found.label_f1.values(), strict=True)
    return {**found.metrics, **{f"f1_of_label_of_{rate:.0%}": row for rate, row in labels}}
