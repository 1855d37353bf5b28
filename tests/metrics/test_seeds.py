from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from mmer.errors import InputError
from mmer.metrics.intervals import bootstrap_intervals
from mmer.metrics.resampled import METRICS, Judged
from mmer.metrics.seeds import ComparedSystems, compare_seeds

THRESHOLDS = np.full(3, 0.5)


@pytest.fixture
def system(drawn_scores):
    """A system's seeds, on one truth."""

    def made(title: str, seeds: int, *, base: int = 0, signal: float = 0.4, seeded: bool = True):
        truth = drawn_scores(samples=240, seed=99).truth
        found = []
        for seed in range(seeds):
            scores = drawn_scores(
                seed=1000 * base + seed, truth=truth, signal=signal, title=title, system=title
            )
            told = {"seed": seed + 1 if seeded else None, "model": f"{title} {seed}"}
            scores = replace(scores, info=scores.info.model_copy(update=told))
            found.append(Judged(scores, THRESHOLDS))
        return found

    return made


def test_one_fit_has_the_interval_of_the_bootstrap_over_groups(system):
    one = system("a", 1, seeded=False)
    found = compare_seeds({"a": one}, resamples=300, seed=4)
    alone = bootstrap_intervals(one[0], resamples=300, seed=4)
    (only,) = found.systems
    assert {name: f.mean for name, f in only.metrics.items()} == alone.metrics
    assert {name: f.mean for name, f in only.label_f1.items()} == alone.label_f1
    assert (only.seeds, only.metrics["micro_f1"].deviation) == ((), None)
    assert found.pairs == ()


def test_a_figure_is_the_mean_over_seeds_with_their_deviation(system):
    several = system("a", 4)
    (found,) = compare_seeds({"a": several}, resamples=50).systems
    assert found.seeds == (1, 2, 3, 4)
    alone = [bootstrap_intervals(one, resamples=50).metrics for one in several]
    for name in METRICS:
        values = [of[name].value for of in alone]
        assert found.metrics[name].values == pytest.approx(values)
        assert found.metrics[name].mean.value == pytest.approx(np.mean(values))
        assert found.metrics[name].deviation == pytest.approx(np.std(values, ddof=1))


def test_the_interval_covers_seeds_as_well_as_groups(system):
    """Its variance is that of the bootstrap and that of the mean over seeds, by the t interval."""
    several = system("a", 3, signal=0.1)
    (found,) = compare_seeds({"a": several}, resamples=40_000).systems
    figure = found.metrics["micro_f1"]
    mean, error = figure.mean.value, figure.deviation / np.sqrt(3)
    over_seeds = stats.t.interval(0.95, 2, mean, error)
    assert figure.mean.low < over_seeds[0]
    assert figure.mean.high > over_seeds[1]
    one = bootstrap_intervals(several[0]).metrics["micro_f1"]
    assert figure.mean.high - figure.mean.low > one.high - one.low


def test_intervals_stay_within_what_is_possible(system):
    (found,) = compare_seeds({"a": system("a", 2, signal=0.0)}, resamples=2000).systems
    for name, figure in found.metrics.items():
        assert figure.mean.low >= 0
        assert name in ("coverage_error", "log_loss") or figure.mean.high <= 1


def test_differences_are_of_the_means_and_turn_round(system):
    systems = {t: system(t, 3, base=i, signal=0.3 * i) for i, t in enumerate("abc")}
    found = compare_seeds(systems, resamples=400)
    means = {one.info.title: one.metrics["micro_f1"].mean.value for one in found.systems}
    assert [(p.first, p.second) for p in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    for first, second in pairwise("abca"):
        one = found.difference(first, second, "micro_f1")
        other = found.difference(second, first, "micro_f1")
        assert one.difference == pytest.approx(means[first] - means[second])
        assert (one.low, one.difference, one.high) == (-other.high, -other.difference, -other.low)
    assert found.difference("c", "a", "micro_f1").verdict == "better"
    assert found.difference("a", "c", "micro_f1").verdict == "worse"
    assert found.difference("c", "a", "brier_score").lower_is_better


def test_p_values_are_corrected_over_all_pairs(system):
    systems = {t: system(t, 3, base=i) for i, t in enumerate("abcd")}
    found = compare_seeds(systems, resamples=400)
    for name in METRICS:
        of = [pair.metrics[name] for pair in found.pairs]
        assert min(o.corrected_p_value for o in of) == pytest.approx(
            min(1, 6 * min(o.p_value for o in of))
        )
        assert all(o.significant <= (o.corrected_p_value <= 0.05) for o in of)


@pytest.mark.parametrize("seeds", [2, 3])
def test_a_system_is_seldom_better_than_itself_under_other_seeds(system, seeds):
    """And often is, if a seed of each is compared as if training had no chance in it."""
    several, single = 0, 0
    for draw in range(40):
        first, second = system("a", seeds, base=2 * draw), system("b", seeds, base=2 * draw + 1)
        found = compare_seeds({"a": first, "b": second}, resamples=200)
        several += found.pairs[0].metrics["micro_f1"].significant
        found = compare_seeds({"a": first[:1], "b": second[:1]}, resamples=200)
        single += found.pairs[0].metrics["micro_f1"].significant
    assert several <= 5  # 2 are to be expected at the nominal rate
    assert single <= 9


def test_other_samples_are_refused(system, drawn_scores):
    other = Judged(drawn_scores(samples=60, seed=5), THRESHOLDS)
    with pytest.raises(InputError, match="comparison of a and Toy"):
        compare_seeds({"a": system("a", 1), "b": [other]}, resamples=10)


def test_it_is_read_back_as_it_was_written(system):
    found = compare_seeds({t: system(t, 2, base=i) for i, t in enumerate("ab")}, resamples=20)
    assert ComparedSystems.from_json(found.to_json(), "here") == found


def changed(one: Judged, **info: object) -> Judged:
    scores = one.scores
    return Judged(replace(scores, info=scores.info.model_copy(update=info)), one.thresholds)


def test_seeds_that_differ_in_more_than_the_seed_are_refused(system):
    first, second = system("a", 2)
    with pytest.raises(InputError, match="settings of seed 1"):
        compare_seeds({"a": [first, changed(second, recipe="other")]}, resamples=10)
    with pytest.raises(InputError, match="another for each seed, found one twice"):
        compare_seeds({"a": [first, changed(first, seed=2)]}, resamples=10)


def test_without_chance_in_the_groups_it_is_students_interval(toy_scores):
    """All groups alike, so that only the seeds are unsure."""
    truth = np.tile([[1, 0], [0, 1]], (40, 1))
    found = {}
    for title, wrong in (("a", (0, 4, 8)), ("b", (12, 18, 20))):
        several = []
        for seed, count in enumerate(wrong):
            values = np.where(truth, 0.9, 0.1)
            values[:] = values - 0.004 * count * (2 * truth - 1)
            info = {"title": title, "system": title, "seed": seed, "model": f"{title}{seed}"}
            several.append(
                Judged(toy_scores(values, truth, "test", groups_of=2, **info), np.full(2, 0.5))
            )
        found[title] = several
    compared = compare_seeds(found, resamples=200)
    briers = [np.array(one.metrics["brier_score"].values) for one in compared.systems]
    mean = compared.systems[0].metrics["brier_score"].mean
    low, high = stats.t.interval(0.95, 2, briers[0].mean(), briers[0].std(ddof=1) / np.sqrt(3))
    assert (mean.low, mean.high) == pytest.approx((max(0, low), high))
    one = compared.difference("a", "b", "brier_score")
    welch = stats.ttest_ind(*briers, equal_var=False)
    ends = welch.confidence_interval(0.95)
    assert (one.low, one.high) == pytest.approx((ends.low, ends.high))
    assert one.p_value == pytest.approx(welch.pvalue)
