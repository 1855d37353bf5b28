"""Scores survive the round trip through Arrow, and refuse what is not a score."""

from __future__ import annotations

import numpy as np
import pytest

from mmer.errors import InputError
from mmer.metrics.scores import Scores, ScoresInfo

INFO = ScoresInfo(
    system="toy",
    title="Toy",
    model="abc",
    corpus="toy",
    split="valid",
    labels=("happy", "sad"),
    fingerprint="made-for-tests",
    synthetic=True,
    fixed_threshold=0.5,
    bayes_optimal={"micro_f1": 0.9},
)


def make(**changes) -> Scores:
    values = {
        "info": INFO,
        "scores": np.array([[0.1, 0.9], [0.5, 0.0], [1.0, 0.25]]),
        "truth": np.array([[0, 1], [1, 0], [1, 1]], np.uint8),
        "sample_ids": ("a", "b", "c"),
        "group_ids": ("g", "g", "h"),
    }
    return Scores(**{**values, **changes})


def test_round_trip():
    before = make()
    after = Scores.from_arrow(before.to_arrow())
    np.testing.assert_array_equal(after.scores, before.scores)
    np.testing.assert_array_equal(after.truth, before.truth)
    assert after.groups.tolist() == [0, 0, 1]
    for name in ("info", "sample_ids", "group_ids", "labels"):
        assert getattr(after, name) == getattr(before, name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scores": np.array([[0.1, np.nan], [0, 0], [0, 0]])}, r"a, sad.*a score in \[0, 1\]"),
        ({"scores": np.array([[0.1, 0], [1.5, 0], [0, 0]])}, r"b, happy.*found 1\.5"),
        ({"scores": np.zeros((3, 3))}, r"shape \(3, 2\), found \(3, 3\)"),
        ({"truth": np.zeros((2, 2))}, r"shape \(3, 2\), found \(2, 2\)"),
        ({"truth": np.full((3, 2), 2)}, "0 or 1"),
        ({"group_ids": ("g",)}, "3 names"),
        ({"sample_ids": ()}, "at least one sample"),
    ],
)
def test_what_is_not_a_score_is_refused(changes, words):
    with pytest.raises(InputError, match=words):
        make(**changes)


def test_a_table_without_scores_is_refused():
    with pytest.raises(InputError, match="the key 'mmer_scores'"):
        Scores.from_arrow(make().to_arrow().replace_schema_metadata({}), "file.arrow")
