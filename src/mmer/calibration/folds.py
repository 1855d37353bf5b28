"""Folds of whole groups: what is fitted on a video or dialogue is never judged on it."""

from __future__ import annotations

import numpy as np


def group_folds(groups: np.ndarray, folds: int, division: int = 0) -> np.ndarray:
    """(N,) number of the fold that holds each sample out, of group numbers (N,).

    No group is in two folds. In division 0 the folds are about equally large and nothing is drawn
    at random; each other number divides the groups by a draw of its own.
    """
    from sklearn.model_selection import GroupKFold  # no part of what is served

    drawn = {"shuffle": True, "random_state": division} if division else {}
    fold = np.empty(len(groups), np.int64)
    for number, (_, held_out) in enumerate(GroupKFold(folds, **drawn).split(groups, groups=groups)):
        fold[held_out] = number
    return fold
