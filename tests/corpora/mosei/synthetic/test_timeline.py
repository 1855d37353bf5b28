"""Synthetic videos in time: what a segment shows is carried by its words, and by no others."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer.corpora.mosei.synthetic.timeline import Timeline, draw_timeline


def _draw(seed: int, segments: int = 6, words: int = 12) -> Timeline:
    return draw_timeline(np.random.default_rng(seed), segments, words)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(12, 30))
@settings(max_examples=40, deadline=None)
def test_cues_are_carried_by_one_or_two_words_of_their_segment(seed, segments, words) -> None:
    video = _draw(seed, segments, words)
    labelled = np.zeros(len(video.starts), dtype=bool)
    for (start, end), cues in zip(video.segments, video.cues, strict=True):
        inside = (video.starts >= start) & (video.starts < end)
        # A word may outlast the next one: where that is the last and has no length, the segment.
        assert (video.ends[inside] <= end + 0.1).all()
        carriers = video.carries[inside].sum(axis=0)
        np.testing.assert_array_equal(carriers > 0, cues > 0)
        assert carriers.max() <= 2
        assert 2 * words // 3 <= inside.sum() <= 4 * words // 3
        labelled |= inside
    assert not video.carries[~labelled].any()
    assert (video.ends - video.starts)[video.carries.any(axis=1)].min(initial=1) > 0


def test_segments_follow_each_other_after_an_unlabelled_start() -> None:
    video = _draw(1)
    np.testing.assert_array_equal(video.segments[1:, 0], video.segments[:-1, 1])
    assert (video.ends < video.segments[0, 0]).sum() >= 2


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_word_at_is_the_last_word_begun_if_it_still_sounds(seed) -> None:
    video = _draw(seed, segments=2)
    times = np.random.default_rng(seed).uniform(0, video.segments[-1, 1], 50)
    for time, found in zip(times, video.word_at(times), strict=True):
        begun = [w for w, start in enumerate(video.starts) if start <= time]
        sounding = begun and time < video.ends[begun[-1]]
        assert found == (begun[-1] if sounding else -1)


def test_words_overlap_last_no_time_and_leave_pauses() -> None:
    videos = [_draw(seed) for seed in range(5)]
    starts_before_end = [(v.starts[1:] < v.ends[:-1]).any() for v in videos]
    pauses = [(v.starts[1:] > v.ends[:-1]).any() for v in videos]
    empty = [(v.starts == v.ends).any() for v in videos]
    assert any(starts_before_end)
    assert any(empty)
    assert all(pauses)
