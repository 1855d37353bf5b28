import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from mmer.calibration.targets import Target, value_of
from mmer.metrics.counts import Counts


@pytest.fixture
def decisions(draw):
    scores, truth, groups = draw(3, samples=200)
    return scores > 0.3, truth.astype(bool), groups


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("micro_f1", lambda y, p: f1_score(y, p, average="micro", zero_division=0)),
        ("macro_f1", lambda y, p: f1_score(y, p, average="macro", zero_division=np.nan)),
        ("accuracy", lambda y, p: jaccard_score(y, p, average="samples", zero_division=0)),
    ],
)
def test_values_equal_scikit_learn(decisions, name, reference):
    present, truth, groups = decisions
    truth[:, 4] = present[:, 4] = False
    counts = Counts.by_group(present, truth, groups)
    assert value_of(counts.total(), Target(name))[0] == pytest.approx(reference(truth, present))


@pytest.mark.parametrize("name", ["micro_f1", "macro_f1", "accuracy", "recall_at_precision"])
def test_values_without_each_group_leave_one_out(decisions, name):
    present, truth, groups = decisions
    left_out = value_of(Counts.by_group(present, truth, groups).without_each(), Target(name, 0.5))
    for group in (0, 7, groups.max()):
        kept = groups != group
        one = Counts.by_group(present[kept], truth[kept], np.zeros(kept.sum(), int))
        assert left_out[group] == pytest.approx(value_of(one, Target(name, 0.5))[0])


def test_sample_without_true_label_counts_zero_even_if_nothing_is_predicted():
    truth = np.array([[True, False], [False, False]])
    counts = Counts.by_group(truth, truth, np.array([0, 0]))
    assert value_of(counts, Target("accuracy"))[0] == 0.5


@pytest.mark.parametrize("name", ["micro_f1", "macro_f1", "accuracy", "recall_at_precision"])
def test_what_is_undefined_counts_zero(name):
    nothing = np.zeros((3, 2), bool)
    counts = Counts.by_group(nothing, nothing, np.arange(3))
    np.testing.assert_array_equal(value_of(counts, Target(name)), 0)


def test_missing_precision_costs_more_than_the_recall_it_buys():
    truth = np.array([[True]] * 5 + [[False]] * 5)
    one_group = np.zeros(10, int)
    target = Target("recall_at_precision", 0.8)

    def value(predicted):
        present = np.isin(np.arange(10), predicted)[:, None]
        return value_of(Counts.by_group(present, truth, one_group), target)[0]

    assert value([0, 1, 2]) == pytest.approx(0.6)
    assert value([]) == 0
    assert value(range(10)) == pytest.approx(1 - 10 * (0.8 - 0.5))
