import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer.calibration.conformal import ConformalThreshold, conformal_threshold, coverage
from mmer.metrics.decisions import decide


def names(groups):
    return tuple(f"video{g}" for g in groups)


def bound_by_loops(scores, truth, groups, threshold, unit):
    """n/(n+1) mean loss + 1/(n+1), from the definition."""
    losses = []
    for group in sorted(set(groups)):
        missed, true = [], []
        for row in np.flatnonzero(np.asarray(groups) == group):
            labels = np.flatnonzero(truth[row])
            if len(labels):
                true.append(len(labels))
                missed.append(sum(not scores[row, label] > threshold for label in labels))
        if true and unit == "samples":
            losses.append(np.mean(np.array(missed) / np.array(true)))
        elif true:
            losses.append(sum(missed) / sum(true))
    n = len(losses)
    return n / (n + 1) * (np.mean(losses) if losses else 0) + 1 / (n + 1), n


@st.composite
def cases(draw):
    samples, labels = draw(st.integers(1, 14)), draw(st.integers(1, 3))
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    scores = rng.random((samples, labels))
    if draw(st.booleans()):
        scores = scores.round(1)
    truth = (rng.random(scores.shape) < draw(st.sampled_from([0.1, 0.5, 0.9]))).astype(np.uint8)
    groups, unit = rng.integers(0, 9, samples), draw(st.sampled_from(["samples", "labels"]))
    return scores, truth, groups, draw(st.sampled_from([0.1, 0.2, 0.4, 0.7])), unit


@given(case=cases())
@settings(max_examples=250, deadline=None)
def test_the_threshold_is_the_highest_whose_bound_holds(case):
    scores, truth, groups, alpha, unit = case
    found = conformal_threshold(scores, truth, names(groups), alpha, unit)
    bound, n = bound_by_loops(scores, truth, groups, found.threshold, unit)
    assert (found.unit, found.groups) == (unit, n)
    assert found.feasible == (1 / (n + 1) <= alpha + 1e-12)
    if not found.feasible:
        assert decide(scores, found.threshold).all()
        return
    assert found.bound == pytest.approx(bound)
    assert found.bound <= alpha + 1e-9
    for higher in scores[scores > found.threshold]:
        assert bound_by_loops(scores, truth, groups, higher, unit)[0] > alpha


@given(case=cases())
@settings(max_examples=100, deadline=None)
def test_the_loss_on_the_calibration_groups_is_that_of_the_bound(case):
    scores, truth, groups, alpha, unit = case
    threshold = conformal_threshold(scores, truth, names(groups), alpha, unit)
    found, n = coverage(scores, truth, names(groups), threshold), threshold.groups
    assert found.groups == n
    assert (found.loss is None) == (n == 0)
    if found.loss is not None:
        assert n / (n + 1) * found.loss + 1 / (n + 1) == pytest.approx(threshold.bound)


def simulate(draw, alpha, draws, groups, unit):
    """Risk on the groups that the threshold was not made from, in each draw."""
    scores, truth, group = draw(11, samples=6 * 4000)
    rng, members = np.random.default_rng(0), np.arange(len(group)).reshape(-1, 6)
    risks = []
    for _ in range(draws):
        chosen = members[rng.permutation(len(members))[: 2 * groups]]
        calibration, test = chosen[:groups].ravel(), chosen[groups:].ravel()
        threshold = conformal_threshold(
            scores[calibration], truth[calibration], names(group[calibration]), alpha, unit
        )
        found = coverage(scores[test], truth[test], names(group[test]), threshold)
        risks.append(found.loss)
    return np.array(risks)


@pytest.mark.parametrize(
    ("alpha", "groups", "unit"), [(0.1, 30, "samples"), (0.3, 20, "labels"), (0.1, 30, "labels")]
)
def test_expected_risk_of_1000_draws_stays_below_alpha(draw, alpha, groups, unit):
    risks = simulate(draw, alpha, 1000, groups, unit)
    error = risks.std() / np.sqrt(len(risks))
    assert risks.mean() <= alpha + 2 * error
    # The bound is tight to 2 B / (n + 1) (theorem 2 of the paper): the sets are not just large.
    assert risks.mean() >= alpha - 2 / (groups + 1) - 2 * error


def test_too_few_groups_predict_everything():
    scores, truth = np.array([[0.9, 0.0], [0.8, 0.3]]), np.array([[1, 0], [0, 1]])
    threshold = conformal_threshold(scores, truth, ("a", "b"), 0.1)
    assert not threshold.feasible
    assert decide(scores, threshold.threshold).tolist() == [[1, 1], [1, 1]]


def test_groups_without_a_true_label_say_nothing():
    scores, truth = np.full((40, 2), 0.5), np.zeros((40, 2), int)
    threshold = conformal_threshold(scores, truth, names(range(40)), 0.1)
    assert (threshold.groups, threshold.feasible) == (0, False)
    assert coverage(scores, truth, names(range(40)), threshold).loss is None
    truth[:12, 0] = 1
    some = conformal_threshold(scores, truth, names(range(40)), 0.1)
    alone = conformal_threshold(scores[:12], truth[:12], names(range(12)), 0.1)
    assert some == alone


def test_true_label_with_score_zero_can_be_in_the_set():
    scores, truth = np.zeros((20, 1)), np.ones((20, 1), int)
    threshold = conformal_threshold(scores, truth, names(range(20)), 0.1)
    assert decide(scores, threshold.threshold).all()


def test_a_long_video_weighs_no_more_than_a_short_one():
    scores = np.array([[0.9]] * 9 + [[0.2]] * 50)
    truth = np.ones((59, 1), int)
    groups = [*range(9), *[9] * 50]
    assert conformal_threshold(scores, truth, names(groups), 0.2).threshold == pytest.approx(0.9)
    assert conformal_threshold(scores, truth, names(range(59)), 0.2).threshold == pytest.approx(0.2)


def by_hand(unit):
    scores = np.array([[0.9, 0.4, 0.1], [0.2, 0.8, 0.1], [0.9, 0.9, 0.9], [0.9, 0.1, 0.1]])
    truth = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]])
    threshold = ConformalThreshold(
        alpha=0.1, unit=unit, threshold=0.5, bound=0.1, groups=30, feasible=True
    )
    return coverage(scores, truth, ("a", "a", "b", "c"), threshold)


def test_coverage_by_hand():
    found = by_hand("samples")
    assert found.loss == pytest.approx(((0.5 + 1) / 2 + 0) / 2)
    assert by_hand("labels").loss == pytest.approx((2 / 3 + 0) / 2)
    assert found.missed == pytest.approx(2 / 4)
    assert found.missed_by_label == (pytest.approx(1 / 3), 1.0, None)
    assert found.covered == pytest.approx(1 / 3)
    assert found.mean_set_size == pytest.approx(6 / 4)
    assert found.groups == 2
