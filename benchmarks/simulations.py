"""Do intervals, comparisons, guarantees and calibrators keep what they say?

Run with `python benchmarks/simulations.py`; prints one JSON object. Test splits of 40, 100 and 600
groups are drawn again and again from a population whose true figures are known (`population.py`),
and handed to the functions that the pipelines call. Of every share and mean the Monte-Carlo
standard error stands beside it.
"""

from __future__ import annotations

import argparse
import os

# One process a core: threads of their own would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import joblib
import numpy as np
from measure import peak_memory_mb, show
from population import (
    ERROR,
    LARGER_ERROR,
    MEAN_GROUP_SIZE,
    OVERCONFIDENCE,
    RATES,
    SHARED_IN_GROUP,
    best_thresholds,
    by_figure,
    draw,
    overconfident,
    true_figures,
)
from rich.console import Console
from rich.progress import track

from mmer.calibration.conformal import Unit, conformal_threshold, coverage
from mmer.calibration.folds import group_folds
from mmer.calibration.probabilities import calibrate_label
from mmer.calibration.settings import CalibrationSettings
from mmer.metrics.intervals import Differences, bootstrap_intervals, compare
from mmer.metrics.resampled import METRICS, Judged

GROUPS = (40, 100, 600)
EQUAL_OTHERS = 3
ALPHAS = (0.05, 0.1, 0.2)
UNITS: tuple[Unit, ...] = ("samples", "labels")
NEW_GROUPS = 200  # on which a conformal threshold is judged
DRAWS_PER_CALIBRATION = 5  # fitting is slow: one draw in so many
CALIBRATED = "calibration_error_of_a_calibrated_system"

Key = tuple[str, ...]
"""Where a figure stands in the JSON object: part, groups, figure, what of it."""
Row = Iterator[tuple[Key, float]]


def intervals(judged: Judged, true: dict[str, float], resamples: int, seed: int) -> Row:
    """Whether each interval covers the true value, and one that ignores groups does."""
    assured, scores = overconfident(judged), judged.scores
    alone = replace(assured, scores=replace(scores, group_ids=scores.sample_ids))
    over_groups, over_samples, calibrated = (
        by_figure(bootstrap_intervals(one, resamples=resamples, seed=seed))
        for one in (assured, alone, judged)
    )
    over_groups[CALIBRATED] = calibrated["calibration_error"]
    for name, row in over_groups.items():
        if row.value is None or row.low is None or row.high is None:
            continue
        yield (name, "found"), row.value
        yield (name, "width"), row.high - row.low
        yield (name, "covered"), row.low <= true[name] <= row.high
        yield (name, "truth_below"), true[name] < row.low
        yield (name, "truth_above"), true[name] > row.high
        if name in over_samples:
            other = over_samples[name]
            yield (name, "covered_if_over_samples"), other.low <= true[name] <= other.high


def comparisons(
    systems: list[Judged], differences: dict[str, float], resamples: int, seed: int
) -> Row:
    """Which of the first system's differences to others are called significant.

    All others but the last are as good as the first; the last is worse, its probabilities
    overconfident. Alone, a comparison is judged as if it were the only one; otherwise all p-values
    are corrected together.
    """
    first, *others, last = systems
    found = compare(first, [*others, overconfident(last)], resamples=resamples, seed=seed)
    *equal, worse = found
    for name in METRICS:
        verdicts = [one.metrics[name].verdict for one in equal]
        yield (name, "equal_called_different_alone"), _alone(equal[0], name)
        yield (name, "any_equal_called_different_uncorrected"), any(_alone(o, name) for o in equal)
        yield (name, "any_equal_called_different"), set(verdicts) != {"not significant"}
        yield (name, "worse_called_worse_alone"), _alone(worse, name)
        yield (name, "worse_called_worse"), worse.metrics[name].verdict == "better"
        yield (name, "worse_called_better"), worse.metrics[name].verdict == "worse"
        row = worse.metrics[name]
        yield (name, "true_difference_covered"), row.low <= differences[name] <= row.high


class Truth(NamedTuple):
    """True figures of the system under test, its probabilities overconfident, and its true
    differences, with its scores as probabilities, to the worse system."""

    figures: dict[str, float]
    differences: dict[str, float]

    @classmethod
    def of(cls, thresholds: np.ndarray) -> Truth:
        calibrated = true_figures(ERROR, thresholds) | {"calibration_error": 0.0}
        figures, worse = (
            true_figures(error, thresholds, overconfident) for error in (ERROR, LARGER_ERROR)
        )
        differences = {name: calibrated[name] - worse[name] for name in METRICS}
        return cls(figures | {CALIBRATED: 0.0}, differences)


def _alone(differences: Differences, name: str) -> bool:
    """Whether a difference would be significant if it were the only one."""
    row = differences.metrics[name]
    return row.low is not None and not row.low <= 0 <= row.high and row.p_value <= 0.05


def guarantees(judged: Judged, rng: np.random.Generator) -> Row:
    """What prediction sets miss on new groups, of thresholds made from these."""
    old = judged.scores
    (new,) = draw(rng, NEW_GROUPS, [ERROR])
    for alpha, unit in product(ALPHAS, UNITS):
        threshold = conformal_threshold(old.scores, old.truth, old.group_ids, alpha, unit)
        found = coverage(new.scores, new.truth, new.group_ids, threshold)
        name = f"alpha {alpha:g} over {unit}"
        yield (name, "mean_loss"), found.loss
        yield (name, "above_alpha"), found.loss > alpha
        yield (name, "set_size"), found.mean_set_size


def calibrators(judged: Judged) -> Row:
    """Whether a calibrator is taken although scores are calibrated, and if they are overconfident.

    Only of labels of which there are enough samples to fit one.
    """
    scores, settings = judged.scores, CalibrationSettings()
    folds = group_folds(scores.groups, settings.folds_of(scores.groups))
    for what, given in (
        ("taken_though_calibrated", judged.given),
        ("taken_if_overconfident", overconfident(judged).given),
    ):
        for rate, column, truth in zip(RATES, given.T, scores.truth.T, strict=True):
            found = calibrate_label(column, truth, scores.groups, folds, settings.minimum_positives)
            if not found.note:
                taken = found.calibrator.method != "identity"
                yield (f"label of {rate:.0%}", what), taken
                yield ("all labels", what), taken


def one_draw(
    seed: int, groups: int, thresholds: np.ndarray, true: Truth, resamples: int
) -> list[tuple[Key, float]]:
    """Everything that is asked of one test split of so many groups."""
    rng = np.random.default_rng([2, groups, seed])
    drawn = draw(rng, groups, [*[ERROR] * (1 + EQUAL_OTHERS), LARGER_ERROR])
    systems = [Judged(scores, thresholds) for scores in drawn]
    parts = {
        "intervals": lambda: intervals(systems[0], true.figures, resamples, seed),
        "comparisons": lambda: comparisons(systems, true.differences, resamples, seed),
        "guarantees": lambda: guarantees(systems[0], rng),
    }
    if seed % DRAWS_PER_CALIBRATION == 0:
        parts["calibrators"] = lambda: calibrators(systems[0])
    return [
        ((part, f"{groups} groups", *key), float(value))
        for part, rows in parts.items()
        for key, value in rows()
    ]


def over_draws(run: Callable[..., list], jobs: list[tuple], processes: int) -> dict[str, object]:
    """Mean over draws of everything that a draw yields, with its standard error, nested by key."""
    found: dict[Key, list[float]] = defaultdict(list)
    parallel = joblib.Parallel(n_jobs=processes, return_as="generator_unordered")
    drawn = parallel(joblib.delayed(run)(*job) for job in jobs)
    for rows in track(drawn, "draws", len(jobs), console=Console(stderr=True)):
        for key, value in rows:
            found[key].append(value)
    nested: dict[str, object] = {}
    for (*path, last), values in found.items():
        at: dict = nested
        for name in path:
            at = at.setdefault(name, {})
        error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
        at[last] = {
            "mean": round(float(np.mean(values)), 5),
            "standard_error": round(float(error), 5),
            "draws": len(values),
        }
    return nested


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000, help="of each number of groups")
    parser.add_argument("--resamples", type=int, default=500, help="of every bootstrap")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    thresholds = best_thresholds()
    true = Truth.of(thresholds)
    jobs = [
        (seed, groups, thresholds, true, asked.resamples)
        for seed in range(asked.draws)
        for groups in GROUPS
    ]
    found = over_draws(one_draw, jobs, asked.processes)
    show(
        "simulations",
        draws=asked.draws,
        resamples=asked.resamples,
        population={
            "label_rates": RATES.tolist(),
            "mean_group_size": MEAN_GROUP_SIZE,
            "variance_shared_in_group": SHARED_IN_GROUP,
            "log_odds_of_overconfident_probabilities_times": OVERCONFIDENCE,
            "true_figures": true.figures,
            "true_differences_to_the_worse_system": true.differences,
        },
        **found,
        peak_memory_mb=peak_memory_mb(),
    )


if __name__ == "__main__":
    main()
