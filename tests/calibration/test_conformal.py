import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer.calibration.conformal import ConformalThreshold, conformal_threshold, coverage
from mmer.metrics.decisions import decide


def names(groups):
    return tuple(f"video{g}" for g in groups)


def bound_by_loops(scores, truth, groups, threshold):
    """n/(n+1) mean loss + 1/(n+1), from the definition."""
    losses = []
    for group in sorted(set(groups)):
        of_group = []
        for row in np.flatnonzero(np.asarray(groups) == group):
            true = np.flatnonzero(truth[row])
            missed = [label for label in true if not scores[row, label] > threshold]
            of_group.append(len(missed) / len(true) if len(true) else 0.0)
        losses.append(np.mean(of_group))
    n = len(losses)
    return n / (n + 1) * np.mean(losses) + 1 / (n + 1)


@st.composite
def cases(draw):
    samples, labels = draw(st.integers(1, 14)), draw(st.integers(1, 3))
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    scores = rng.random((samples, labels))
    if draw(st.booleans()):
        scores = scores.round(1)
    truth = (rng.random(scores.shape) < draw(st.sampled_from([0.1, 0.5, 0.9]))).astype(np.uint8)
    return scores, truth, rng.integers(0, 9, samples), draw(st.sampled_from([0.1, 0.2, 0.4, 0.7]))


@given(case=cases())
@settings(max_examples=250, deadline=None)
def test_the_threshold_is_the_highest_whose_bound_holds(case):
    scores, truth, groups, alpha = case
    found = conformal_threshold(scores, truth, names(groups), alpha)
    n = len(set(groups))
    assert found.groups == n
    assert found.feasible == (1 / (n + 1) <= alpha + 1e-12)
    if not found.feasible:
        assert decide(scores, found.threshold).all()
        return
    assert found.bound == pytest.approx(bound_by_loops(scores, truth, groups, found.threshold))
    assert found.bound <= alpha + 1e-9
    for higher in scores[scores > found.threshold]:
        assert bound_by_loops(scores, truth, groups, higher) > alpha


def simulate(draw, alpha, draws, groups):
    """Risk on the groups that the threshold was not made from, in each draw."""
    scores, truth, group = draw(11, samples=6 * 4000)
    rng, members = np.random.default_rng(0), np.arange(len(group)).reshape(-1, 6)
    risks = []
    for _ in range(draws):
        chosen = members[rng.permutation(len(members))[: 2 * groups]]
        calibration, test = chosen[:groups].ravel(), chosen[groups:].ravel()
        threshold = conformal_threshold(
            scores[calibration], truth[calibration], names(group[calibration]), alpha
        )
        found = coverage(scores[test], truth[test], names(group[test]), threshold)
        risks.append(found.false_negative_rate)
    return np.array(risks)


@pytest.mark.parametrize(("alpha", "groups"), [(0.1, 30), (0.3, 20)])
def test_expected_risk_of_1000_draws_stays_below_alpha(draw, alpha, groups):
    risks = simulate(draw, alpha, 1000, groups)
    error = risks.std() / np.sqrt(len(risks))
    assert risks.mean() <= alpha + 2 * error
    # The bound is tight to 2 B / (n + 1) (theorem 2 of the paper): the sets are not just large.
    assert risks.mean() >= alpha - 2 / (groups + 1) - 2 * error


def test_too_few_groups_predict_everything():
    scores, truth = np.array([[0.9, 0.0], [0.8, 0.3]]), np.array([[1, 0], [0, 1]])
    threshold = conformal_threshold(scores, truth, ("a", "b"), 0.1)
    assert not threshold.feasible
    assert decide(scores, threshold.threshold).tolist() == [[1, 1], [1, 1]]


def test_nothing_to_miss_predicts_nothing():
    scores = np.full((20, 2), 0.5)
    threshold = conformal_threshold(scores, np.zeros((20, 2), int), names(range(20)), 0.1)
    assert threshold.feasible
    assert not decide(scores, threshold.threshold).any()


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


def test_coverage_by_hand():
    scores = np.array([[0.9, 0.4, 0.1], [0.2, 0.8, 0.1], [0.9, 0.9, 0.9]])
    truth = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    threshold = conformal_threshold(
        np.full((30, 1), 0.5), np.ones((30, 1), int), names(range(30)), 0.1
    )
    found = coverage(scores, truth, ("a", "a", "b"), threshold)
    assert found.false_negative_rate == pytest.approx(((0.5 + 1) / 2 + 0) / 2)
    assert found.false_negative_rate_of_samples == pytest.approx(1.5 / 3)
    assert found.covered == pytest.approx(1 / 3)
    assert found.mean_set_size == pytest.approx(5 / 3)
    assert found.groups == 2


def test_what_is_bounded_is_not_the_share_of_all_true_labels_missed():
    # three samples without a label for every one with: the loss of a group is a quarter of it
    scores, truth = np.full((40, 1), 0.5), np.zeros((40, 1), int)
    truth[::4] = 1
    threshold = ConformalThreshold(alpha=0.3, threshold=0.6, bound=0.3, groups=10, feasible=True)
    found = coverage(scores, truth, names(np.arange(40) // 4), threshold)
    assert found.false_negative_rate == pytest.approx(0.25)
    assert truth[~decide(scores, threshold.threshold)].sum() == truth.sum()
