from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score

from mmer.errors import InputError
from mmer.evaluation.intervals import bootstrap_intervals, compare, draw_groups
from mmer.evaluation.metrics import evaluate
from mmer.samples.scores import Scores

THRESHOLDS = np.array([0.5, 0.5, 0.5])


def slow_statistics(scores: Scores, thresholds: np.ndarray, resamples: int, seed: int) -> dict:
    """The obvious bootstrap: collect the drawn groups' samples, hand them to scikit-learn."""
    names = sorted(set(scores.group_ids))
    members = {g: [i for i, one in enumerate(scores.group_ids) if one == g] for g in names}
    decided = (scores.scores > thresholds).astype(int)
    found: dict[str, list[float]] = {"micro_f1": [], "macro_f1": [], "accuracy": []}
    for drawn in np.concatenate(list(draw_groups(len(names), resamples, seed))):
        rows = [i for g in drawn for i in members[names[g]]]
        true, predicted = scores.truth[rows], decided[rows]
        for average in ("micro", "macro"):
            value = f1_score(true, predicted, average=average, zero_division=np.nan)
            found[f"{average}_f1"].append(value)
        found["accuracy"].append(
            jaccard_score(true, predicted, average="samples", zero_division=0.0)
        )
    return {name: np.array(values) for name, values in found.items()}


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 30), st.integers(2, 3), st.integers(1, 4), st.integers(0, 1000))
def test_intervals_are_those_of_the_obvious_bootstrap(toy_scores, samples, labels, size, seed):
    scores = toy_scores(samples, labels, seed, per_group=size)
    if len(set(scores.group_ids)) < 2:
        return
    thresholds = np.full(labels, 0.6)
    found = bootstrap_intervals(scores, thresholds, resamples=20, seed=seed)["metrics"]
    for name, values in slow_statistics(scores, thresholds, 20, seed).items():
        defined = values[~np.isnan(values)]
        if found[name]["value"] is None or not len(defined):
            assert found[name]["low"] is None
            continue
        low, high = np.quantile(defined, [0.025, 0.975])
        assert found[name]["low"] == pytest.approx(low, abs=1e-12)
        assert found[name]["high"] == pytest.approx(high, abs=1e-12)
        assert found[name]["undefined"] == pytest.approx(np.isnan(values).mean())


def test_paired_differences_are_those_of_the_same_resamples(toy_scores):
    first = toy_scores(30, 2, seed=1, per_group=3)
    second = replace(toy_scores(30, 2, seed=2, truth=first.truth, per_group=3), system="other")
    thresholds = np.full(2, 0.5)
    found = compare(first, thresholds, second, thresholds, resamples=40, seed=5)
    pairs = [slow_statistics(one, thresholds, 40, 5) for one in (first, second)]
    for name, row in found["metrics"].items():
        differences = pairs[0][name] - pairs[1][name]
        assert row["low"] == pytest.approx(np.quantile(differences, 0.025), abs=1e-12)
        assert row["high"] == pytest.approx(np.quantile(differences, 0.975), abs=1e-12)
        smaller = min((differences <= 1e-12).sum(), (differences >= -1e-12).sum())
        assert row["p_value"] == pytest.approx(min(1, 2 * (smaller + 1) / 41))
        ours, theirs = (evaluate(one, thresholds)[name] for one in (first, second))
        assert row["difference"] == pytest.approx(ours - theirs)


def test_values_are_those_of_the_metrics_and_lie_inside(toy_scores):
    scores = toy_scores(400)
    found, metrics = bootstrap_intervals(scores, THRESHOLDS), evaluate(scores, THRESHOLDS)
    for name, row in found["metrics"].items():
        assert row["value"] == pytest.approx(metrics[name])
        assert row["low"] < row["value"] < row["high"]
    for label, row in found["per_label_f1"].items():
        assert row["value"] == pytest.approx(metrics["per_label"][label]["f1"])
    assert (found["groups"], found["resamples"], found["level"]) == (100, 10_000, 0.95)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_same_seed_draws_the_same_and_another_seed_does_not(toy_scores):
    scores = toy_scores()
    one, two, other = (
        bootstrap_intervals(scores, THRESHOLDS, resamples=200, seed=seed) for seed in (3, 3, 4)
    )
    assert one == two
    assert one["metrics"] != other["metrics"]


def test_resamples_are_drawn_in_chunks_of_bounded_size():
    chunks = list(draw_groups(100_000, 50, seed=0))
    assert sum(len(chunk) for chunk in chunks) == 50
    assert all(chunk.size <= 2**21 for chunk in chunks)


def test_groups_are_drawn_not_samples(toy_scores):
    # copies of one sample per group: only the number of groups counts, not that of samples
    single = toy_scores(25, per_group=1)
    rows = np.repeat(np.arange(25), 8)
    copies = replace(
        single,
        scores=single.scores[rows],
        truth=single.truth[rows],
        sample_ids=tuple(f"s{i}" for i in range(200)),
        group_ids=tuple(single.group_ids[i] for i in rows),
    )
    one, eight = (bootstrap_intervals(s, THRESHOLDS, resamples=300) for s in (single, copies))
    for name in ("low", "high"):
        assert one["metrics"]["micro_f1"][name] == pytest.approx(eight["metrics"]["micro_f1"][name])


def test_a_system_compared_with_itself_is_within_noise(toy_scores):
    scores = toy_scores()
    for row in compare(scores, THRESHOLDS, scores, THRESHOLDS, resamples=100)["metrics"].values():
        assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)
        assert row["p_value"] == 1
        assert row["within_noise"]


def test_a_clearly_better_system_is_not_within_noise(toy_scores):
    good = toy_scores(600, signal=0.8)
    bad = toy_scores(600, seed=1, signal=0.0, truth=good.truth, system="guessing")
    forward = compare(good, THRESHOLDS, bad, THRESHOLDS, resamples=500)
    backward = compare(bad, THRESHOLDS, good, THRESHOLDS, resamples=500)
    for name, row in forward["metrics"].items():
        assert not row["within_noise"]
        assert row["p_value"] < 0.01
        assert 0 < row["low"] < row["difference"] < row["high"]
        assert backward["metrics"][name]["difference"] == -row["difference"]
        assert backward["metrics"][name]["high"] == pytest.approx(-row["low"])
    assert (forward["first"], forward["second"]) == ("CARAT", "guessing")


@pytest.mark.slow
def test_intervals_hold_the_true_value_about_as_often_as_they_say():
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(0)
    rate, hit, false_alarm = 0.4, 0.7, 0.2
    precision = rate * hit / (rate * hit + (1 - rate) * false_alarm)
    true_f1 = 2 * precision * hit / (precision + hit)
    held, repeats = 0, 300
    for _ in range(repeats):
        truth = (generator.random((200, 1)) < rate).astype(np.uint8)
        scores = (generator.random((200, 1)) < np.where(truth, hit, false_alarm)).astype(float)
        names = tuple(str(i) for i in range(200))
        one = Scores(scores, truth, names, names, ("happy",), "test", "w", True)
        row = bootstrap_intervals(one, np.array([0.5]), resamples=500)["metrics"]["micro_f1"]
        assert row["value"] == pytest.approx(f1_score(truth[:, 0], scores[:, 0] > 0.5))
        held += row["low"] <= true_f1 <= row["high"]
    assert 0.90 < held / repeats < 0.99


def test_a_label_without_value_has_no_interval(toy_scores):
    truth = np.zeros((20, 2), np.uint8)
    truth[:, 0] = 1
    scores = toy_scores(truth=truth, scores=np.tile([0.9, 0.1], (20, 1)))
    found = bootstrap_intervals(scores, np.array([0.5, 0.5]), resamples=50)
    assert found["per_label_f1"]["sad"] == {
        "value": None,
        "undefined": 1.0,
        "low": None,
        "high": None,
    }
    compared = compare(scores, np.array([0.5, 0.5]), scores, np.array([0.5, 0.5]), resamples=50)
    assert compared["per_label_f1"]["sad"]["difference"] is None
    assert compared["per_label_f1"]["sad"]["within_noise"] is None


def test_one_group_is_refused(toy_scores):
    with pytest.raises(InputError, match="at least two groups"):
        bootstrap_intervals(toy_scores(per_group=100), THRESHOLDS)


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
def test_systems_on_other_samples_are_not_compared(toy_scores, change):
    scores = toy_scores()
    with pytest.raises(InputError) as caught:
        compare(scores, THRESHOLDS, replace(scores, **change), THRESHOLDS)
    assert caught.value.key == next(iter(change))
