from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    coverage_error,
    f1_score,
    jaccard_score,
    label_ranking_loss,
    log_loss,
    roc_auc_score,
)

from mmer.errors import InputError
from mmer.metrics.intervals import (
    Difference,
    Differences,
    Interval,
    Intervals,
    bootstrap_intervals,
    compare,
    draw_groups,
    holm,
)
from mmer.metrics.metrics import HEADLINE, evaluate
from mmer.metrics.resampled import LOWER_IS_BETTER, METRICS, Judged
from mmer.metrics.scores import Scores, ScoresInfo

THRESHOLDS = np.array([0.5, 0.5, 0.5])


def slow_statistics(scores: Scores, thresholds: np.ndarray, resamples: int, seed: int) -> dict:
    """The obvious bootstrap: collect the drawn groups' samples, hand them to scikit-learn."""
    names = sorted(set(scores.group_ids))
    members = {g: [i for i, one in enumerate(scores.group_ids) if one == g] for g in names}
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    for drawn in np.concatenate(list(draw_groups(len(names), resamples, seed))):
        rows = [i for g in drawn for i in members[names[g]]]
        true, given = scores.truth[rows], scores.scores[rows]
        for name, value in slow_figures(true, given, thresholds).items():
            found[name].append(value)
    return {name: np.array(values) for name, values in found.items()}


def slow_figures(true: np.ndarray, given: np.ndarray, thresholds: np.ndarray) -> dict[str, float]:
    """All metrics of decisions, ranking and probabilities, by scikit-learn."""
    decided = (given > thresholds).astype(int)
    some = [k for k in range(true.shape[1]) if true[:, k].any()]
    both = [k for k in some if not true[:, k].all()]
    columns = list(zip(true.T, given.T, strict=True))
    bins = np.minimum((given * 10).astype(int), 9)
    return {
        "micro_f1": f1_score(true, decided, average="micro", zero_division=np.nan),
        "macro_f1": f1_score(true, decided, average="macro", zero_division=np.nan),
        "accuracy": jaccard_score(true, decided, average="samples", zero_division=0.0),
        "macro_average_precision": mean([average_precision_score(*columns[k]) for k in some]),
        "macro_auroc": mean([roc_auc_score(*columns[k]) for k in both]),
        "ranking_loss": label_ranking_loss(true, given)
        if (true.any(axis=1) & ~true.all(axis=1)).any()
        else np.nan,
        "coverage_error": coverage_error(true, given) if true.any() else np.nan,
        "log_loss": mean([log_loss(t, g, labels=[0, 1]) for t, g in columns]),
        "brier_score": mean([brier_score_loss(t, g, pos_label=1) for t, g in columns]),
        "calibration_error": mean(
            [
                sum(abs((g - t)[b == one].sum()) for one in range(10)) / len(t)
                for (t, g), b in zip(columns, bins.T, strict=True)
            ]
        ),
    }


def slow_holm(p_values: list[float]) -> list[float]:
    """The definition: the largest of the corrected p-values up to and with each."""
    count, rising = len(p_values), sorted(p_values)
    steps = [min(1, (count - rank) * p) for rank, p in enumerate(rising)]
    return [max(steps[: rising.index(p) + 1]) for p in p_values]


def worth(sizes: list[float]) -> float:
    """Groups of equal size that are worth as many of these sizes."""
    return sum(sizes) ** 2 / sum(size**2 for size in sizes) if any(sizes) else 0


def groups_behind(scores: Scores) -> dict[str, float]:
    """Metric -> how many groups of equal size it rests on, by counting."""
    members = [np.array(scores.group_ids) == name for name in sorted(set(scores.group_ids))]
    whole = worth([rows.sum() for rows in members])
    labels = [worth([column[rows].sum() for rows in members]) for column in scores.truth.T]
    occurring = [one for one in labels if one]
    over_labels = len(occurring) / sum(1 / one for one in occurring) if occurring else 0
    found = dict.fromkeys(METRICS, whole)
    return found | dict.fromkeys(("macro_f1", "macro_average_precision"), over_labels)


def ends(values: np.ndarray, groups: float) -> np.ndarray:
    """Ends of the expanded percentile interval."""
    student = stats.t(groups - 1).ppf(0.025) * np.sqrt(groups / (groups - 1))
    tail = stats.norm.cdf(student)
    return np.quantile(values, [tail, 1 - tail])


def mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else np.nan


@settings(max_examples=15, deadline=None)
@given(
    st.integers(2, 30),
    st.integers(2, 3),
    st.integers(1, 4),
    st.integers(0, 1000),
    st.sampled_from([None, 1, 0]),
)
def test_intervals_are_those_of_the_obvious_bootstrap(
    drawn_scores, samples, labels, size, seed, digits
):
    scores = drawn_scores(samples, labels, seed, per_group=size)
    if digits is not None:  # few levels, so that scores tie; or only 0 and 1
        scores = replace(scores, scores=scores.scores.round(digits))
    if len(set(scores.group_ids)) < 2:
        return
    thresholds = np.full(labels, 0.6)
    found = bootstrap_intervals(Judged(scores, thresholds), resamples=20, seed=seed).metrics
    behind = groups_behind(scores)
    for name, values in slow_statistics(scores, thresholds, 20, seed).items():
        defined = values[~np.isnan(values)]
        if found[name].value is None or not len(defined) or behind[name] <= 1:
            assert found[name].low is None
            continue
        if name != "calibration_error":  # what its ends are is tested below
            low, high = ends(defined, behind[name])
            assert found[name].low == pytest.approx(low, abs=1e-12)
            assert found[name].high == pytest.approx(high, abs=1e-12)
        assert found[name].undefined == pytest.approx(np.isnan(values).mean())


def test_paired_differences_are_those_of_the_same_resamples(drawn_scores):
    first = drawn_scores(30, 2, seed=1, per_group=3)
    second = drawn_scores(30, 2, seed=2, truth=first.truth, per_group=3)
    thresholds = np.full(2, 0.5)
    (found,) = compare(
        Judged(first, thresholds), [Judged(second, thresholds)], resamples=200, seed=5
    )
    pairs = [slow_statistics(one, thresholds, 200, 5) for one in (first, second)]
    assert found.bootstrap.effective_groups == found.bootstrap.groups == 10
    for name, row in found.metrics.items():
        differences = pairs[0][name] - pairs[1][name]
        if name == "calibration_error":  # tested below
            continue
        low, high = ends(differences, 10)
        assert row.low == pytest.approx(low, abs=1e-12)
        assert row.high == pytest.approx(high, abs=1e-12)
        smaller = min((differences <= 1e-12).sum(), (differences >= -1e-12).sum())
        student = stats.norm.ppf((smaller + 1) / 201) * np.sqrt(9 / 10)
        assert row.p_value == pytest.approx(min(1, 2 * stats.t(9).cdf(student)))
        ours, theirs = (
            slow_figures(one.truth, one.scores, thresholds)[name] for one in (first, second)
        )
        assert row.difference == pytest.approx(ours - theirs)


def test_figures_of_ties_constant_and_empty_labels_are_scikit_learns(toy_scores):
    """A label of all samples, one of none, scores in few levels, one that is the same for all."""
    generator = np.random.default_rng(0)
    truth = np.column_stack([generator.random((40, 2)) < 0.4, np.ones(40), np.zeros(40)])
    given_ = generator.choice([0.0, 0.2, 0.5, 1.0], (40, 4))
    given_[:, 1] = 0.5
    scores = toy_scores(given_, truth, groups_of=2)
    found = bootstrap_intervals(Judged(scores, np.full(4, 0.3)), resamples=5).metrics
    for name, value in slow_figures(scores.truth, given_, np.full(4, 0.3)).items():
        assert found[name].value == pytest.approx(value), name


def test_groups_of_unequal_size_are_worth_fewer(toy_scores):
    """Nine groups of one sample and one of eleven: (9 + 11)^2 / (9 + 11^2)."""
    scores = toy_scores(np.full((20, 1), 0.5), np.tile([[1], [0]], (10, 1)))
    scores = replace(scores, group_ids=tuple(str(max(0, n - 10)) for n in range(20)))
    found = bootstrap_intervals(Judged(scores, np.array([0.4])), resamples=20).bootstrap
    assert (found.groups, found.effective_groups) == (10, pytest.approx(400 / 130))
    # and so few say little, however clear the resamples are
    assert found.smallest_p_value > 2 / 21
    many = found.model_copy(update={"effective_groups": 1e6})
    assert many.smallest_p_value == pytest.approx(2 / 21, rel=1e-3)


def test_a_p_value_is_that_of_the_interval_which_just_reaches_0(drawn_scores):
    """Below 0.05 the 95 % interval leaves 0 out, above it does not, however few the groups."""
    for seed in range(30):
        first = drawn_scores(40, 2, seed=seed, per_group=4, signal=0.35)
        second = drawn_scores(40, 2, seed=100 + seed, truth=first.truth, per_group=4, signal=0.2)
        judged = [Judged(one, np.full(2, 0.5)) for one in (first, second)]
        (found,) = compare(judged[0], judged[1:], resamples=1000)
        for row in found.metrics.values():
            if not 0.04 < row.p_value < 0.06:  # the interval's ends lie between resamples
                assert (row.p_value < 0.05) == (not row.low <= 0 <= row.high)


def test_values_are_those_of_the_metrics_and_lie_inside(drawn_scores):
    scores = drawn_scores(400)
    found, metrics = bootstrap_intervals(Judged(scores, THRESHOLDS)), evaluate(scores, THRESHOLDS)
    assert tuple(found.metrics) == tuple(METRICS)
    for name, row in found.metrics.items():
        if hasattr(metrics, name):
            assert row.value == pytest.approx(getattr(metrics, name))
        assert row.low < row.high
    for name in HEADLINE:
        assert found.metrics[name].low < found.metrics[name].value < found.metrics[name].high
    assert tuple(found.label_f1) == scores.labels
    for one, row in zip(metrics.per_label, found.label_f1.values(), strict=True):
        assert row.value == pytest.approx(one.f1)
    how = found.bootstrap
    assert (how.groups, how.resamples, how.level) == (100, 10_000, 0.95)


def test_records_survive_json(drawn_scores):
    scores = drawn_scores()
    found = bootstrap_intervals(Judged(scores, THRESHOLDS), resamples=20)
    assert Intervals.from_json(found.to_json(), "intervals") == found
    (compared,) = compare(
        Judged(scores, THRESHOLDS), [Judged(scores, THRESHOLDS + 0.1)], resamples=20
    )
    assert Differences.from_json(compared.to_json(), "differences") == compared


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_values_are_those_of_the_metrics_whatever_is_undefined(toy_scores, seed, level):
    generator = np.random.default_rng(seed)
    # labels that never occur, are never predicted, or both
    truth = generator.random((8, 4)) < generator.choice([0, 0.1, 0.9], 4)
    scores = toy_scores(generator.random((8, 4)) * generator.choice([0, 0.5, 1], 4), truth)
    thresholds = np.full(4, level)
    found = bootstrap_intervals(Judged(scores, thresholds), resamples=5)
    metrics = evaluate(scores, thresholds)
    for name in (*HEADLINE, "macro_average_precision", "macro_auroc", "ranking_loss"):
        value, row = getattr(metrics, name), found.metrics[name]
        assert row.value == (None if value is None else pytest.approx(value))


def test_the_same_seed_draws_the_same_and_another_seed_does_not(drawn_scores):
    scores = drawn_scores()
    one, two, other = (
        bootstrap_intervals(Judged(scores, THRESHOLDS), resamples=200, seed=seed)
        for seed in (3, 3, 4)
    )
    assert one == two
    assert one.metrics != other.metrics


def test_resamples_are_drawn_in_chunks_of_bounded_size():
    chunks = list(draw_groups(100_000, 50, seed=0))
    assert sum(len(chunk) for chunk in chunks) == 50
    assert all(chunk.size <= 2**21 for chunk in chunks)


def test_groups_are_drawn_not_samples(drawn_scores):
    # copies of one sample per group: only the number of groups counts, not that of samples
    single = drawn_scores(25, per_group=1)
    rows = np.repeat(np.arange(25), 8)
    copies = replace(
        single,
        scores=single.scores[rows],
        truth=single.truth[rows],
        sample_ids=tuple(f"s{i}" for i in range(200)),
        group_ids=tuple(single.group_ids[i] for i in rows),
    )
    one, eight = (
        bootstrap_intervals(Judged(s, THRESHOLDS), resamples=300) for s in (single, copies)
    )
    first, second = one.metrics["micro_f1"], eight.metrics["micro_f1"]
    assert (first.low, first.high) == (pytest.approx(second.low), pytest.approx(second.high))


def test_a_system_does_not_differ_from_itself(drawn_scores):
    scores = drawn_scores()
    (found,) = compare(Judged(scores, THRESHOLDS), [Judged(scores, THRESHOLDS)], resamples=100)
    for row in found.metrics.values():
        assert (row.difference, row.low, row.high) == (0, 0, 0)
        assert row.p_value == 1
        assert row.significant is False
        assert row.verdict == "not significant"


def test_a_clearly_better_system_differs_significantly(drawn_scores):
    good = drawn_scores(600, signal=0.8, title="Good")
    bad = drawn_scores(600, seed=1, signal=0.0, truth=good.truth, title="Guessing")
    ours, theirs = Judged(good, THRESHOLDS), Judged(bad, THRESHOLDS)
    (forward,), (backward,) = (
        compare(a, [b], resamples=500) for a, b in ((ours, theirs), (theirs, ours))
    )
    for name, row in forward.metrics.items():
        opposite = backward.metrics[name]
        assert row.significant
        if name == "calibration_error":  # good scores are no probabilities
            continue
        assert (row.verdict, opposite.verdict) == ("better", "worse")
        # none of 500 resampled differences is on the other side: that is all 500 can say
        assert row.p_value == forward.bootstrap.smallest_p_value
        assert row.low < row.difference < row.high
        assert (row.low > 0) != (name in LOWER_IS_BETTER)
        assert opposite.difference == -row.difference
        assert opposite.high == pytest.approx(-row.low)
    assert (forward.first, forward.second) == ("Good", "Guessing")
    assert forward.models == ("digest-0", "digest-1")


def test_p_values_of_several_comparisons_are_corrected_together(drawn_scores):
    good = drawn_scores(120, signal=0.35, title="Good")
    others = [drawn_scores(120, seed=k, signal=0.25, truth=good.truth) for k in range(1, 6)]
    judged = [Judged(one, THRESHOLDS) for one in (good, *others)]
    together = compare(judged[0], judged[1:], resamples=900)
    alone = [compare(judged[0], [one], resamples=900)[0] for one in judged[1:]]
    for name in METRICS:
        rows = [one.metrics[name] for one in together]
        expected = slow_holm([one.metrics[name].p_value for one in alone])
        assert [row.corrected_p_value for row in rows] == pytest.approx(expected)
        for row, one in zip(rows, alone, strict=True):
            assert (row.low, row.high) == (one.metrics[name].low, one.metrics[name].high)
            inside = row.low <= 0 <= row.high
            assert row.significant == (not inside and row.corrected_p_value <= 0.05)
    rows = [row for one in together for row in one.metrics.values()]
    assert any(row.corrected_p_value > row.p_value for row in rows)


@pytest.mark.parametrize(("groups", "systems"), [(10, 1), (10, 5), (40, 10)])
def test_enough_resamples_are_drawn_for_a_clear_difference_to_be_significant(
    drawn_scores, groups, systems
):
    best = drawn_scores(4 * groups, signal=1.0, title="Best")
    others = [
        drawn_scores(4 * groups, seed=k, signal=0.0, truth=best.truth)
        for k in range(1, systems + 1)
    ]
    judged = [Judged(one, THRESHOLDS) for one in (best, *others)]
    for found in compare(judged[0], judged[1:], resamples=20):
        assert found.metrics["micro_f1"].verdict == "better"
        assert found.bootstrap.resamples < 100_000


def test_no_number_of_resamples_makes_up_for_too_few_groups(drawn_scores):
    first = drawn_scores(12, signal=1.0)
    second = drawn_scores(12, seed=1, signal=0.0, truth=first.truth)
    (found,) = compare(Judged(first, THRESHOLDS), [Judged(second, THRESHOLDS)], resamples=20)
    assert (found.bootstrap.groups, found.bootstrap.resamples) == (3, 20)
    assert found.metrics["micro_f1"].verdict == "not significant"


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.3]) == [0.3]


def test_what_is_significant_alone_may_not_be_among_many(drawn_scores):
    good = drawn_scores(90, signal=0.27, title="Good")
    others = [drawn_scores(90, seed=k, signal=0.2, truth=good.truth) for k in range(1, 13)]
    judged = [Judged(one, THRESHOLDS) for one in (good, *others)]
    together = compare(judged[0], judged[1:], resamples=200)
    rows = [row for one in together for row in one.metrics.values()]
    assert any(not row.significant and not row.low <= 0 <= row.high for row in rows)


@pytest.mark.slow
def test_intervals_hold_the_true_value_about_as_often_as_they_say(toy_scores):
    generator = np.random.default_rng(0)
    rate, hit, false_alarm = 0.4, 0.7, 0.2
    precision = rate * hit / (rate * hit + (1 - rate) * false_alarm)
    true_f1 = 2 * precision * hit / (precision + hit)
    held, repeats = 0, 300
    for _ in range(repeats):
        truth = (generator.random((200, 1)) < rate).astype(np.uint8)
        scores = (generator.random((200, 1)) < np.where(truth, hit, false_alarm)).astype(float)
        one = toy_scores(scores, truth, groups_of=1)
        row = bootstrap_intervals(Judged(one, np.array([0.5])), resamples=500).metrics["micro_f1"]
        assert row.value == pytest.approx(f1_score(truth[:, 0], scores[:, 0] > 0.5))
        held += row.low <= true_f1 <= row.high
    assert 0.90 < held / repeats < 0.99


def test_a_label_without_value_has_no_interval(toy_scores):
    truth = np.tile([1, 0], (20, 1))
    scores = toy_scores(np.tile([0.9, 0.1], (20, 1)), truth, labels=("happy", "sad"))
    thresholds = np.array([0.5, 0.5])
    found = bootstrap_intervals(Judged(scores, thresholds), resamples=50)
    assert found.label_f1["sad"] == Interval(value=None, low=None, high=None, undefined=1)
    (compared,) = compare(Judged(scores, thresholds), [Judged(scores, thresholds)], resamples=50)
    assert compared.label_f1["sad"] == Difference()
    assert compared.label_f1["sad"].verdict == "undefined"


def test_every_metric_is_judged_under_the_thresholds_that_were_chosen_for_it(drawn_scores):
    scores = drawn_scores(80)
    own = {"macro_f1": np.full(3, 0.3), "accuracy": np.full(3, 0.8)}
    found = bootstrap_intervals(Judged(scores, THRESHOLDS, own), resamples=20)
    for name, thresholds in {"micro_f1": THRESHOLDS, **own}.items():
        alone = bootstrap_intervals(Judged(scores, thresholds), resamples=20)
        assert found.metrics[name] == alone.metrics[name]
    assert found.label_f1 == bootstrap_intervals(Judged(scores, THRESHOLDS), resamples=20).label_f1


def test_probabilities_are_judged_where_they_are_given(drawn_scores):
    scores = drawn_scores(80)
    found = bootstrap_intervals(
        Judged(scores, THRESHOLDS, probabilities=np.full((80, 3), 0.4)), resamples=20
    ).metrics
    assert found["brier_score"].value == pytest.approx(((scores.truth - 0.4) ** 2).mean())
    assert found["calibration_error"].value == pytest.approx(
        np.abs(scores.truth.mean(axis=0) - 0.4).mean()
    )
    plain = bootstrap_intervals(Judged(scores, THRESHOLDS), resamples=20).metrics
    assert found["macro_auroc"] == plain["macro_auroc"]


def test_one_group_is_refused(drawn_scores):
    with pytest.raises(InputError, match="at least two groups"):
        bootstrap_intervals(Judged(drawn_scores(per_group=100), THRESHOLDS))


@pytest.mark.parametrize(
    "change",
    [
        {"split": "valid"},
        {"labels": ("sad", "happy", "anger")},
        {"sample_ids": tuple(f"other{i}" for i in range(60))},
        {"group_ids": tuple(f"other{i}" for i in range(60))},
        {"truth": np.zeros((60, 3), np.uint8)},
    ],
)
def test_systems_on_other_samples_are_not_compared(drawn_scores, change):
    scores, (key,) = drawn_scores(), change
    if key in ScoresInfo.model_fields:
        other = replace(scores, info=scores.info.model_copy(update=change))
    else:
        other = replace(scores, **change)
    with pytest.raises(InputError) as caught:
        compare(Judged(scores, THRESHOLDS), [Judged(other, THRESHOLDS)])
    assert caught.value.key == key
