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
