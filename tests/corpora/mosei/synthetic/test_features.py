"""Features of synthetic videos: words tell cues apart, means over segments hardly do."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mmer.corpora.mosei.features import WIDTHS
from mmer.corpora.mosei.synthetic.evidence import CUES
from mmer.corpora.mosei.synthetic.features import COVAREP, FACET, Vocabulary, cue_directions, frames
from mmer.corpora.mosei.synthetic.timeline import CUE_COLUMNS, Timeline, draw_timeline

VIDEOS = 30


@pytest.fixture(scope="module")
def videos() -> list[Timeline]:
    rng = np.random.default_rng(3)
    return [draw_timeline(rng, 8, 12) for _ in range(VIDEOS)]


def _word_means(rows: np.ndarray, intervals: np.ndarray, video: Timeline) -> np.ndarray:
    rows = np.where(np.isfinite(rows), rows, 0)
    overlap = (intervals[:, 0] < video.ends[:, None]) & (intervals[:, 1] > video.starts[:, None])
    return overlap @ rows / np.maximum(overlap.sum(axis=1, keepdims=True), 1)


@pytest.mark.parametrize("kind", [FACET, COVAREP], ids=["FACET", "COVAREP"])
def test_a_word_tells_a_cue_that_the_mean_of_a_segment_hides(videos, kind) -> None:
    rng = np.random.default_rng(1)
    columns = CUE_COLUMNS[kind.modality]
    directions = cue_directions(rng, kind.modality)
    by_word, carried, by_segment, shown = [], [], [], []
    for video in videos:
        words = _word_means(*frames(rng, kind, directions, video), video)
        norm = np.maximum(np.linalg.norm(words, axis=1, keepdims=True), 1e-9)
        by_word.append((words / norm) @ directions.T)
        carried.append(video.carries[:, columns])
        for (start, end), cues in zip(video.segments, video.cues, strict=True):
            inside = (video.starts >= start) & (video.ends <= end)
            by_segment.append(words[inside].mean(axis=0) @ directions.T)
            shown.append(cues[columns])
    carried, by_word = np.concatenate(carried), np.concatenate(by_word)
    assert roc_auc_score(carried, by_word) > 0.97
    assert roc_auc_score(shown, by_segment) < 0.92


def test_frames_have_gaps_but_not_where_a_cue_is(videos) -> None:
    rng = np.random.default_rng(2)
    directions = cue_directions(rng, "visual")
    with_gap = 0
    for video in videos:
        rows, intervals = frames(rng, FACET, directions, video)
        assert rows.shape == (len(intervals), WIDTHS["visual"])
        np.testing.assert_allclose(np.diff(intervals), 1 / FACET.rate)
        missing = np.setdiff1d(
            np.arange(int(video.segments[-1, 1] * FACET.rate)),
            np.rint(intervals[:, 0] * FACET.rate).astype(int),
        )
        with_gap += len(missing) > 0
        word = video.word_at(missing / FACET.rate)
        assert not video.carries[word[word >= 0]][:, CUE_COLUMNS["visual"]].any()
    assert 0 < with_gap < VIDEOS


def test_infinite_values_are_in_covarep_alone(videos) -> None:
    rng = np.random.default_rng(4)
    counts = {}
    for kind in (FACET, COVAREP):
        directions = cue_directions(rng, kind.modality)
        rows = np.concatenate([frames(rng, kind, directions, video)[0] for video in videos])
        assert not np.isnan(rows).any()
        assert not np.isposinf(rows).any()
        counts[kind.modality] = np.isneginf(rows).sum()
    assert counts["visual"] == 0
    assert counts["audio"] > 0


def test_words_are_cue_words_just_where_a_cue_is_carried(videos) -> None:
    rng = np.random.default_rng(6)
    vocabulary = Vocabulary.draw(rng)
    assert len(set(vocabulary.words.tolist())) == len(vocabulary.words)
    for video in videos:
        spoken = vocabulary.speak(rng, video)
        for column, cue in enumerate(CUES):
            if cue[1] == "text":
                is_cue_word = np.isin(spoken, vocabulary.cue_words[column])
                np.testing.assert_array_equal(is_cue_word, video.carries[:, column] > 0)
