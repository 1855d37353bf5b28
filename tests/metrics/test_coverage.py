"""Intervals and comparisons in a small simulation; `benchmarks/simulations.py` is the large one.

The seeds are fixed. The bounds are four standard errors from the nominal shares.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit, ndtr

from mmer.metrics.intervals import bootstrap_intervals, compare
from mmer.metrics.resampled import Judged

GROUPS, DRAWS, RESAMPLES = 12, 150, 200
THRESHOLD = 0.4


def drawn(toy_scores, rng, groups, systems=1, resemblance=0.7):
    """Calibrated scores of equally good systems; members of a group, of any size, resemble each
    other in labels, scores and errors."""
    number = np.repeat(np.arange(groups), rng.geometric(1 / 6, size=groups))

    def normal():
        shared, own = rng.normal(size=(groups, 2))[number], rng.normal(size=(len(number), 2))
        return np.sqrt(resemblance) * shared + np.sqrt(1 - resemblance) * own

    signal, bound = normal(), np.array([0.3, 0.8])
    truth = (signal + 0.5 * normal() > bound).astype(np.uint8)
    found = []
    for _ in range(systems):
        seen = (signal + normal()) / 2
        scores = toy_scores(ndtr((seen - bound) / np.sqrt(0.5 + 0.25)), truth)
        found.append(replace(scores, group_ids=tuple(f"{g:06d}" for g in number)))
    return found


def each_alone(scores):
    return replace(scores, group_ids=scores.sample_ids)


@pytest.fixture(scope="module")
def true_f1(toy_scores):
    (scores,) = drawn(toy_scores, np.random.default_rng(1), 40_000)
    decided, truth = scores.scores > THRESHOLD, scores.truth > 0
    return 2 * (decided & truth).sum() / (decided.sum() + truth.sum())


def test_intervals_cover_the_truth_as_often_as_they_say_and_only_over_groups(toy_scores, true_f1):
    over_groups = over_samples = 0
    for seed in range(DRAWS):
        (scores,) = drawn(toy_scores, np.random.default_rng(seed), GROUPS)
        for one in (scores, each_alone(scores)):
            judged = Judged(one, np.full(2, THRESHOLD))
            row = bootstrap_intervals(judged, resamples=RESAMPLES, seed=seed).metrics["micro_f1"]
            covered = row.low <= true_f1 <= row.high
            over_groups += covered if one is scores else 0
            over_samples += 0 if one is scores else covered
    assert over_groups / DRAWS > 0.88
    assert over_samples / DRAWS < 0.8


@pytest.mark.slow
def test_systems_that_are_equally_good_are_seldom_told_apart(toy_scores):
    over_groups, over_samples, families = 0, 0, 0
    for seed in range(DRAWS):
        systems = drawn(toy_scores, np.random.default_rng(seed), GROUPS, systems=4)
        first, *others = [Judged(one, np.full(2, THRESHOLD)) for one in systems]
        alone = [replace(one, scores=each_alone(one.scores)) for one in (first, others[0])]
        family = compare(first, others, resamples=RESAMPLES, seed=seed)
        (single,) = compare(first, others[:1], resamples=RESAMPLES, seed=seed)
        (independent,) = compare(alone[0], alone[1:], resamples=RESAMPLES, seed=seed)
        over_groups += single.metrics["micro_f1"].significant
        over_samples += independent.metrics["micro_f1"].significant
        families += any(one.metrics["micro_f1"].significant for one in family)
    assert over_groups / DRAWS < 0.12
    assert families / DRAWS < 0.12
    assert over_samples / DRAWS > 0.15


def test_a_calibrated_system_is_not_called_miscalibrated(toy_scores):
    """Its error is never 0, since random error lifts it; the interval says that it may be."""
    values, low = [], []
    for seed in range(100):
        (scores,) = drawn(toy_scores, np.random.default_rng(seed), 40)
        judged = Judged(scores, np.full(2, THRESHOLD))
        row = bootstrap_intervals(judged, resamples=RESAMPLES, seed=seed).metrics
        values.append(row["calibration_error"].value)
        low.append(row["calibration_error"].low)
        assert row["calibration_error"].high > row["calibration_error"].value
    assert min(values) > 0.02
    assert np.mean(np.array(low) == 0) >= 0.9


def test_intervals_of_a_difference_in_calibration_cover_it(toy_scores):
    """Random error lifts the smaller calibration error more than the larger one."""

    def too_sure(scores):
        odds = 2 * logit(scores.scores.clip(1e-12, 1 - 1e-12))
        return Judged(scores, np.full(2, THRESHOLD), probabilities=expit(odds))

    (whole,) = drawn(toy_scores, np.random.default_rng(1), 40_000)
    judged = too_sure(whole)
    true = bootstrap_intervals(judged, resamples=1).metrics["calibration_error"].value
    covered = 0
    for seed in range(100):
        (scores,) = drawn(toy_scores, np.random.default_rng(seed), 100)
        plain = Judged(scores, np.full(2, THRESHOLD))
        (found,) = compare(too_sure(scores), [plain], resamples=RESAMPLES, seed=seed)
        row = found.metrics["calibration_error"]
        covered += row.low <= true <= row.high
    assert covered >= 87
