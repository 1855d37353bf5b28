import numpy as np

from mmer.calibration.folds import group_folds
from mmer.metrics.counts import number_groups


def test_folds_hold_whole_groups_and_are_about_equal():
    rng = np.random.default_rng(0)
    groups = number_groups(tuple(f"v{g}" for g in rng.integers(0, 60, 900)))
    folds = group_folds(groups, 5)
    assert all(len(set(folds[groups == group])) == 1 for group in range(60))
    sizes = np.bincount(folds)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() < 10


def test_folds_depend_on_the_groups_alone():
    groups = np.arange(100) // 7
    order = np.random.default_rng(1).permutation(100)
    np.testing.assert_array_equal(group_folds(groups, 4)[order], group_folds(groups[order], 4))


def test_divisions_differ_and_hold_whole_groups():
    groups = np.arange(120) // 4
    divisions = [group_folds(groups, 5, division) for division in range(3)]
    for folds in divisions:
        assert all(len(set(folds[groups == group])) == 1 for group in range(30))
        assert set(folds) == set(range(5))
    assert len({folds.tobytes() for folds in divisions}) == 3
    np.testing.assert_array_equal(divisions[2], group_folds(groups, 5, 2))
