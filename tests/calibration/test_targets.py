import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from mmer.calibration.targets import Counts, Target
from mmer.errors import InputError


@pytest.fixture
def decisions(draw):
    scores, truth, groups = draw(3, samples=200)
    return scores > 0.3, truth.astype(bool), groups


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("micro_f1", lambda y, p: f1_score(y, p, average="micro", zero_division=0)),
        ("macro_f1", lambda y, p: f1_score(y, p, average="macro", zero_division=0)),
        ("accuracy", lambda y, p: jaccard_score(y, p, average="samples", zero_division=0)),
    ],
)
def test_values_equal_scikit_learn(decisions, name, reference):
    present, truth, groups = decisions
    counts = Counts.by_group(present, truth, groups)
    assert counts.total().value(Target(name))[0] == pytest.approx(reference(truth, present))


@pytest.mark.parametrize("name", ["micro_f1", "macro_f1", "accuracy", "recall_at_precision"])
def test_without_each_leaves_one_group_out(decisions, name):
    present, truth, groups = decisions
    left_out = Counts.by_group(present, truth, groups).without_each().value(Target(name, 0.5))
    for group in (0, 7, groups.max()):
        kept = groups != group
        one = Counts.by_group(present[kept], truth[kept], np.zeros(kept.sum(), int))
        assert left_out[group] == pytest.approx(one.value(Target(name, 0.5))[0])


def test_groups_need_not_stand_together(decisions):
    present, truth, groups = decisions
    shuffled = np.random.default_rng(0).permutation(len(groups))
    first = Counts.by_group(present, truth, groups)
    second = Counts.by_group(present[shuffled], truth[shuffled], groups[shuffled])
    np.testing.assert_array_equal(first.hits, second.hits)
    np.testing.assert_allclose(first.overlap, second.overlap)


def test_sample_without_true_label_counts_zero_even_if_nothing_is_predicted():
    truth = np.array([[True, False], [False, False]])
    counts = Counts.by_group(truth, truth, np.array([0, 0]))
    assert counts.value(Target("accuracy"))[0] == 0.5


def test_missing_precision_costs_more_than_the_recall_it_buys():
    truth = np.array([[True]] * 5 + [[False]] * 5)
    one_group = np.zeros(10, int)
    target = Target("recall_at_precision", 0.8)

    def value(predicted):
        present = np.isin(np.arange(10), predicted)[:, None]
        return Counts.by_group(present, truth, one_group).value(target)[0]

    assert value([0, 1, 2]) == pytest.approx(0.6)
    assert value([]) == 0
    assert value(range(10)) == pytest.approx(1 - 10 * (0.8 - 0.5))


@pytest.mark.parametrize("precision", [0.0, 1.1, float("nan")])
def test_impossible_precision_is_refused(precision):
    with pytest.raises(InputError, match="minimum_precision"):
        Target("recall_at_precision", precision)


def test_unknown_target_is_refused():
    with pytest.raises(InputError, match=r"micro_f1.*found f2"):
        Target("f2")
