"""The best expected F1, against all decisions tried."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer.corpora.bayes_optimal import bayes_optimal_scores, best_f1


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0.1, 1)), min_size=1, max_size=7, unique_by=lambda x: x
    )
)
@settings(max_examples=100, deadline=None)
def test_best_f1_is_the_best_of_all_decisions(decisions) -> None:
    probability, weight = (np.array(column) for column in zip(*decisions, strict=True))
    present = (probability * weight).sum()
    best = 0.0
    for chosen in product((False, True), repeat=len(decisions)):
        predicted = weight[list(chosen)].sum()
        if predicted + present > 0:
            found = (probability * weight)[list(chosen)].sum()
            best = max(best, 2 * found / (predicted + present))
    assert best_f1(probability, weight) == pytest.approx(best)


def test_rows_count_by_their_weight_or_equally():
    probability = np.array([[0.9, 0.2], [0.4, 0.7], [0.4, 0.7]])
    found = bayes_optimal_scores(probability)
    assert bayes_optimal_scores(probability[:2], np.array([1, 2])) == pytest.approx(found)
    assert found["macro_f1"] == pytest.approx(
        np.mean([best_f1(column, np.ones(3)) for column in probability.T])
    )
