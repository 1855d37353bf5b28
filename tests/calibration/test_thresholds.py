"""The searches against trying every set of cuts, on cases small enough for that."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from mmer.calibration.targets import Target
from mmer.calibration.thresholds import label_thresholds, shared_threshold

EXACT = [
    Target("micro_f1"),
    Target("macro_f1"),
    Target("recall_at_precision", 0.6),
]
ALL = [*EXACT, Target("accuracy")]


@st.composite
def cases(draw, most_samples=5, most_labels=3):
    """Scores with many ties, some 0 or 1, or without; labels without positives or negatives."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(1, most_samples)), draw(st.integers(1, most_labels))
    tied = rng.choice([0.0, 0.2, 0.4, 0.6, 1.0], shape)
    scores = np.where(
        rng.random(shape) < draw(st.sampled_from([0, 0.5, 1])), tied, rng.random(shape)
    )
    rates = rng.choice([0, 0.3, 0.7, 1], shape[1])
    return scores, (rng.random(shape) < rates).astype(np.uint8)


def value(present, truth, target):
    """The target's value of decisions on the very samples that are searched, label by label."""
    truth = truth.astype(bool)
    hits, predicted = (present & truth).sum(axis=0), present.sum(axis=0)
    positives = truth.sum(axis=0)
    if target.name == "micro_f1":
        whole = predicted.sum() + positives.sum()
        return 2 * hits.sum() / whole if whole else 0.0
    if target.name == "macro_f1":
        sums = predicted + positives
        defined = [2 * h / s for h, s in zip(hits, sums, strict=True) if s]
        return np.mean(defined) if defined else 0.0
    rows = zip(present & truth, present | truth, strict=True)
    return np.mean([both.sum() / either.sum() if either.any() else 0.0 for both, either in rows])


def admissible(present, truth, target, shared):
    """Whether the decisions keep the precision: of all labels pooled, or of each."""
    if target.name != "recall_at_precision":
        return True
    axis = None if shared else 0
    hits, predicted = (present & truth).sum(axis=axis), present.sum(axis=axis)
    return bool(np.all((predicted == 0) | (hits >= target.minimum_precision * predicted)))


def recall_or_value(present, truth, target):
    if target.name == "recall_at_precision":
        return (present & truth.astype(bool)).sum() / max(truth.sum(), 1)
    return value(present, truth, target)


def best_by_trying_all(scores, truth, target, shared):
    if shared:
        sets = [np.full(scores.shape[1], t) for t in {0.0, *scores.ravel().tolist()}]
    else:
        sets = itertools.product(*({0.0, *column.tolist()} for column in scores.T))
    tried = (scores > np.array(thresholds) for thresholds in sets)
    kept = (present for present in tried if admissible(present, truth, target, shared))
    return max(recall_or_value(present, truth, target) for present in kept)


@pytest.mark.parametrize("target", ALL, ids=lambda t: t.name)
@given(case=cases())
@settings(max_examples=400, deadline=None)
def test_shared_threshold_equals_trying_all(target, case):
    scores, truth = case
    threshold = shared_threshold(scores, truth, target)
    present = scores > threshold
    assert 0 <= threshold <= 1
    assert admissible(present, truth, target, shared=True)
    expected = best_by_trying_all(scores, truth, target, shared=True)
    assert recall_or_value(present, truth, target) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("target", EXACT, ids=lambda t: t.name)
@given(case=cases())
@settings(max_examples=400, deadline=None)
def test_label_thresholds_equal_trying_all(target, case):
    scores, truth = case
    thresholds = label_thresholds(scores, truth, target)
    present = scores > thresholds
    assert ((thresholds >= 0) & (thresholds <= 1)).all()
    assert admissible(present, truth, target, shared=False)
    expected = best_by_trying_all(scores, truth, target, shared=False)
    assert recall_or_value(present, truth, target) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_accuracy_thresholds_cannot_be_improved_one_label_at_a_time(seed):
    rng, target = np.random.default_rng(seed), Target("accuracy")
    odds = rng.normal(size=(40, 5)) - 0.5
    truth = (rng.random(odds.shape) < 1 / (1 + np.exp(-odds))).astype(np.uint8)
    scores = 1 / (1 + np.exp(-odds - rng.normal(size=5)))
    thresholds = label_thresholds(scores, truth, target)
    reached = value(scores > thresholds, truth, target)
    assert reached >= best_by_trying_all(scores, truth, target, shared=True) - 1e-12
    for label, column in enumerate(scores.T):
        for other in (0.0, *column):
            moved = thresholds.copy()
            moved[label] = other
            assert value(scores > moved, truth, target) <= reached + 1e-12


def test_accuracy_thresholds_reach_the_optimum_in_most_small_cases():
    rng, target, missed = np.random.default_rng(5), Target("accuracy"), 0
    for _ in range(60):
        scores = rng.random((5, 3))
        truth = (rng.random((5, 3)) < 0.2 + 0.6 * scores).astype(np.uint8)
        reached = value(scores > label_thresholds(scores, truth, target), truth, target)
        missed += reached < best_by_trying_all(scores, truth, target, shared=False) - 1e-12
    assert missed <= 6


@pytest.mark.parametrize("target", ALL, ids=lambda t: t.name)
@given(case=cases(), seed=st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_order_of_samples_does_not_matter(target, case, seed):
    scores, truth = case
    order = np.random.default_rng(seed).permutation(len(scores))
    assert shared_threshold(scores, truth, target) == shared_threshold(
        scores[order], truth[order], target
    )
    np.testing.assert_array_equal(
        label_thresholds(scores, truth, target),
        label_thresholds(scores[order], truth[order], target),
    )


def test_macro_f1_reaches_the_top_of_every_precision_recall_curve(draw):
    scores, truth, _ = draw(1, samples=2000)
    thresholds = label_thresholds(scores, truth, Target("macro_f1"))
    for label in range(scores.shape[1]):
        precision, recall, _ = precision_recall_curve(truth[:, label], scores[:, label])
        best = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
        present = scores[:, label] > thresholds[label]
        f1 = 2 * (present & (truth[:, label] == 1)).sum() / (present.sum() + truth[:, label].sum())
        assert f1 == pytest.approx(best)


@pytest.mark.parametrize("target", ALL, ids=lambda t: t.name)
def test_own_thresholds_are_not_below_the_shared_one(draw, target):
    scores, truth, _ = draw(2, samples=1500, bias=np.array([0.8, -0.8, 0.0, 0.5, -0.5, 0.0]))
    own = scores > label_thresholds(scores, truth, target)
    shared = scores > shared_threshold(scores, truth, target)
    if target.name != "recall_at_precision":
        assert value(own, truth, target) > value(shared, truth, target)
    else:
        assert admissible(own, truth, target, shared=False)


def test_threshold_lies_midway():
    scores = np.array([[0.9], [0.6], [0.2]])
    truth = np.array([[1], [1], [0]])
    assert shared_threshold(scores, truth, Target()) == pytest.approx(0.4)
    assert label_thresholds(scores, truth, Target())[0] == pytest.approx(0.4)


def test_equal_cuts_predict_least():
    # One hit of one, or two hits of four: F1 is 2/3 both times.
    scores, truth = np.array([[0.8], [0.6], [0.4], [0.2]]), np.array([[1], [0], [0], [1]])
    for name in ("micro_f1", "macro_f1"):
        assert shared_threshold(scores, truth, Target(name)) == pytest.approx(0.7)
        assert label_thresholds(scores, truth, Target(name))[0] == pytest.approx(0.7)


def test_neighbouring_floats_are_told_apart():
    high = np.nextafter(0.3, 1)
    scores, truth = np.array([[high], [0.3]]), np.array([[1], [0]])
    threshold = label_thresholds(scores, truth, Target())[0]
    assert (scores > threshold).ravel().tolist() == [True, False]


def test_scores_of_single_precision_are_decided_as_searched(draw):
    scores, truth, _ = draw(4, samples=500)
    single = scores.astype(np.float32)
    np.testing.assert_array_equal(
        label_thresholds(single, truth, Target()),
        label_thresholds(single.astype(np.float64), truth, Target()),
    )


@pytest.mark.parametrize("target", ALL, ids=lambda t: t.name)
def test_label_without_positives_is_never_predicted(draw, target):
    scores, truth, _ = draw(6, samples=300)
    truth[:, 5] = 0
    assert not (scores[:, 5] > label_thresholds(scores, truth, target)[5]).any()


def test_unreachable_precision_predicts_nothing():
    scores, truth = np.array([[0.9], [0.5]]), np.array([[0], [1]])
    target = Target("recall_at_precision", 0.9)
    assert not (scores > shared_threshold(scores, truth, target)).any()
    assert not (scores > label_thresholds(scores, truth, target)).any()


@pytest.mark.parametrize("labels", [29, 45])
def test_accuracy_with_many_labels_does_not_overflow(labels):
    rng, target = np.random.default_rng(7), Target("accuracy")
    scores = rng.random((30, labels))
    truth = (rng.random(scores.shape) < scores).astype(np.uint8)
    reached = value(scores > shared_threshold(scores, truth, target), truth, target)
    expected = best_by_trying_all(scores, truth, target, shared=True)
    assert reached == pytest.approx(expected, abs=1e-12)
    assert value(scores > label_thresholds(scores, truth, target), truth, target) >= reached
