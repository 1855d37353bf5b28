"""Which intervals overlap, against the rule applied to one pair at a time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer.alignment import intervals as module
from mmer.alignment.intervals import (
    TOLERANCE,
    ImplausibleTimesError,
    Overlaps,
    overlapping,
    shares_time,
)

# Times on a coarse grid meet and coincide often; the offsets lie on either side of the tolerance.
_times = st.builds(
    lambda step, offset: step * 0.25 + offset,
    st.integers(0, 12),
    st.sampled_from([0.0, 0.0, 0.0, 4e-6, -4e-6, 2e-5, -2e-5]),
)


def _intervals(least: int = 0):
    pairs = st.lists(st.tuples(_times, _times), min_size=least, max_size=12)
    return pairs.map(lambda rows: np.array(rows, float).reshape(-1, 2))


def _frames():
    """Rows in order, each with a length, next to each other or with gaps."""
    return st.sets(st.integers(0, 14), max_size=12).map(
        lambda steps: np.array([(s * 0.25, s * 0.25 + 0.25) for s in sorted(steps)]).reshape(-1, 2)
    )


def _rows_one_by_one(reference: np.ndarray, intervals: np.ndarray) -> list[list[int]]:
    found = []
    for first, last in reference:
        rows = []
        for row in sorted(range(len(intervals)), key=lambda row: intervals[row, 0]):
            start, end = intervals[row]
            touches = end - first > -TOLERANCE and last - start > -TOLERANCE
            shared = abs(max(start, first) - min(end, last))
            if abs(last - first) >= TOLERANCE and touches and shared > TOLERANCE:
                rows.append(row)
        found.append(rows)
    return found


def _as_lists(overlaps: Overlaps) -> list[list[int]]:
    return [overlaps.of(r).tolist() for r in range(len(overlaps.bounds) - 1)]


@settings(max_examples=200, deadline=None)
@given(_intervals(), _intervals() | _frames())
def test_equals_the_rule_applied_pair_by_pair(reference, intervals):
    assert _as_lists(overlapping(reference, intervals)) == _rows_one_by_one(reference, intervals)


@settings(max_examples=200, deadline=None)
@given(_intervals(least=1), _intervals(least=1))
def test_equals_it_down_the_tree(reference, intervals):
    limit, module._COMPARED_AT_ONCE = module._COMPARED_AT_ONCE, 0
    try:
        overlaps = overlapping(reference, intervals)
    finally:
        module._COMPARED_AT_ONCE = limit
    assert _as_lists(overlaps) == _rows_one_by_one(reference, intervals)


@pytest.mark.parametrize(
    ("reference", "intervals", "rows"),
    [
        pytest.param([[1, 2]], [[0, 1], [1, 1.5], [1.5, 3], [2, 3]], [[1, 2]], id="touching"),
        pytest.param([[1, 1]], [[0, 3]], [[]], id="reference without length"),
        pytest.param([[0, 3]], [[1, 1]], [[]], id="row without length"),
        pytest.param([[2, 1]], [[0, 3], [1.2, 1.8]], [[0]], id="reference that ends first"),
        pytest.param([[0, 3]], [[2, 1]], [[0]], id="row that ends first"),
        pytest.param([[0, 9]], [[5, 6], [1, 2], [1, 3]], [[1, 2, 0]], id="rows out of order"),
        pytest.param([[0, 1], [0, 1]], [[0, 1]], [[0], [0]], id="the same reference twice"),
    ],
)
def test_cases(reference, intervals, rows):
    found = overlapping(np.array(reference, float), np.array(intervals, float))
    assert _as_lists(found) == rows


def test_one_row_that_spans_everything_does_not_hide_the_others():
    starts = np.arange(1000.0)
    frames = np.stack([starts, starts + 1], axis=1)
    frames[0, 1] = 1000
    found = overlapping(np.array([[500.0, 502.0]]), frames)
    assert _as_lists(found) == [[0, 500, 501]]


_MANY, _WORDS = 100_000, 10_000
_WORD_TIMES = np.arange(_WORDS)[:, None] * 0.36 + [0, 0.3]
_FRAME_TIMES = np.arange(_MANY)[:, None] * 0.036 + [0, 0.036]


@pytest.mark.parametrize(
    "intervals",
    [
        pytest.param(np.tile([0.0, 3600], (_MANY, 1)), id="all span everything"),
        pytest.param(np.linspace([0, 3600], [1800, 1800.1], _MANY), id="one within the other"),
        pytest.param(
            np.random.default_rng(0).uniform([0, 3000], [9, 3600], (_MANY, 2)), id="in no order"
        ),
    ],
)
def test_intervals_that_all_overlap_each_other_are_refused_within_bounded_memory(intervals):
    tracemalloc.start()
    try:
        with pytest.raises(ImplausibleTimesError, match="110000 intervals"):
            overlapping(_WORD_TIMES, intervals)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("rows", [slice(0, 1), slice(0, _MANY, 500)])
def test_a_few_rows_that_span_much_cost_memory_as_their_overlaps_do(rows):
    frames = _FRAME_TIMES.copy()
    frames[rows, 1] += 300
    tracemalloc.start()
    try:
        found = overlapping(_WORD_TIMES, frames)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    for word in (0, 1234, _WORDS - 1):
        expected = shares_time(_WORD_TIMES[word], frames).nonzero()[0]
        np.testing.assert_array_equal(found.of(word), expected)
