"""Clips laid onto segments in order: the only layout, against all layouts tried."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmer.corpora.mosei.clip_join import Clips, Segments, _alike, join, only_layout

MATRICES = hnp.arrays(bool, st.tuples(st.integers(1, 5), st.integers(0, 7)))


def _layouts(compatible: np.ndarray) -> list[tuple[int, ...]]:
    clips, segments = compatible.shape
    return [
        chosen
        for chosen in combinations(range(segments), clips)
        if all(compatible[clip, segment] for clip, segment in enumerate(chosen))
    ]


@given(MATRICES)
def test_only_layout_is_what_all_layouts_agree_on(compatible) -> None:
    layouts = _layouts(compatible)
    expected = [
        {layout[clip] for layout in layouts}.pop()
        if layouts and len({layout[clip] for layout in layouts}) == 1
        else -1
        for clip in range(len(compatible))
    ]
    np.testing.assert_array_equal(only_layout(compatible), expected)


def _segments(starts: list[float], sentiment: list[float], words=None) -> Segments:
    intervals = np.array([[start, start + 1] for start in starts])
    return Segments(intervals, np.array(sentiment), np.zeros((len(starts), 6)), words)


def test_segments_out_of_time_order_and_numbers_with_gaps() -> None:
    clips = Clips(np.array([9, 2, 4]), np.array([1.0, -1.0, 0.5]), ["", "", ""])
    segments = _segments([30, 10, 20, 5], [1.0, -1.0, 0.5, 3.0])
    np.testing.assert_array_equal(join(clips, segments), [0, 1, 2])


def test_equal_sentiment_is_ambiguous_without_words() -> None:
    clips = Clips(np.array([1]), np.array([0.0]), ["It's really, REALLY good"])
    starts, sentiment = [0.0, 10.0], [0.0, 0.0]
    assert join(clips, _segments(starts, sentiment)) == [-1]
    words = ["what a bad film", "its really really good"]
    assert join(clips, _segments(starts, sentiment, words)) == [1]


def test_words_join_clips_beside_one_that_fits_nothing() -> None:
    clips = Clips(np.array([1, 2]), np.array([0.0, 0.0]), ["said by nobody", "it is good"])
    segments = _segments([0.0, 10.0], [0.0, 0.0], ["it is good", "it is bad at times"])
    np.testing.assert_array_equal(join(clips, segments), [-1, 0])


TEXTS = st.lists(
    st.lists(st.sampled_from("abcd"), max_size=6).map(" ".join), min_size=1, max_size=4
)


@given(TEXTS, TEXTS)
def test_words_in_common_are_counted_as_often_as_both_have_them(texts, others) -> None:
    found = _alike(texts, others)
    for i, ours in enumerate(Counter(text.split()) for text in texts):
        for j, theirs in enumerate(Counter(text.split()) for text in others):
            enough = 2 * (ours & theirs).total() >= max(ours.total(), theirs.total())
            assert found[i, j] == (enough or not theirs)


def test_a_clip_of_other_sentiment_or_words_is_not_joined() -> None:
    clips = Clips(np.array([1]), np.array([0.4]), ["one two three"])
    assert join(clips, _segments([0.0], [0.0])) == [-1]
    assert join(clips, _segments([0.0], [0.4], ["four five"])) == [-1]
    assert join(clips, _segments([0.0], [0.4], [""])) == [0]
