from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from mmer.errors import InputError
from mmer.metrics.counts import Counts, f1, micro_f1, number_groups
from mmer.metrics.decisions import decide


@pytest.fixture
def decisions():
    generator = np.random.default_rng(0)
    truth = generator.random((90, 4)) < 0.3
    present = truth ^ (generator.random((90, 4)) < 0.2)
    truth[:, 3] = present[:, 3] = False
    return present, truth, generator.integers(0, 12, 90)


def test_counts_of_repeated_groups_are_those_of_repeated_samples(decisions):
    present, truth, groups = decisions
    times = np.array([[2, 0, 1] * 4, [0, 1, 3] * 4])
    counts = Counts.by_group(present, truth, groups).weighted(times)
    for row, repeats in enumerate(times):
        rows = np.repeat(np.arange(90), repeats[groups])
        true, decided = truth[rows], present[rows]
        for name, average in (("micro_f1", "micro"), ("macro_f1", "macro"), ("label_f1", None)):
            expected = f1_score(true, decided, average=average, zero_division=np.nan)
            np.testing.assert_allclose(getattr(counts, name)()[row], expected)
        overlap = jaccard_score(true, decided, average="samples", zero_division=0)
        assert counts.accuracy()[row] == pytest.approx(overlap)
        assert micro_f1(decided, true) == pytest.approx(counts.micro_f1()[row])


def test_totals_and_totals_without_each_group_are_weighted_sums(decisions):
    counts = Counts.by_group(*decisions)
    ones = np.ones((1, 12))
    for one, other in (
        (counts.total(), counts.weighted(ones)),
        (counts.without_each(), counts.weighted(ones - np.eye(12))),
    ):
        np.testing.assert_allclose(one.label_f1(), other.label_f1())
        np.testing.assert_allclose(one.accuracy(), other.accuracy())


def test_groups_need_not_stand_together(decisions):
    shuffled = np.random.default_rng(0).permutation(90)
    first = Counts.by_group(*decisions)
    second = Counts.by_group(*(values[shuffled] for values in decisions))
    np.testing.assert_array_equal(first.hits, second.hits)
    np.testing.assert_allclose(first.overlap, second.overlap)


def test_f1_without_positives_and_predictions_is_what_it_is_said_to_be():
    assert f1(np.array([0, 1]), np.array([0, 1]), np.array([0, 2]), -1.0).tolist() == [-1, 2 / 3]


def test_groups_are_numbered_by_name():
    assert number_groups(("b", "a", "b", "c")).tolist() == [1, 0, 1, 2]


def test_a_label_is_present_strictly_above_its_threshold():
    scores = np.array([[0.5, 0.5]])
    assert decide(scores, np.array([0.5, 0.49])).tolist() == [[False, True]]
    assert decide(scores, 0.4).tolist() == [[True, True]]


@pytest.mark.parametrize("thresholds", [[0.5], [[0.5, 0.5]], [0.5, np.nan], [np.inf, 0.5]])
def test_unfit_thresholds_are_refused(thresholds):
    with pytest.raises(InputError, match="thresholds"):
        decide(np.ones((3, 2)), np.array(thresholds))
