"""What happens when in a synthetic video: words, labelled segments, and who carries which cue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmer.corpora.mosei.features import MODALITIES
from mmer.corpora.mosei.synthetic.evidence import CUES, draw

CUE_COLUMNS = {m: [i for i, cue in enumerate(CUES) if cue[1] == m] for m in MODALITIES}
FEWEST_WORDS = max(2 * len(columns) for columns in CUE_COLUMNS.values())
"""A segment must have room for two carriers of every cue of a modality."""

_PAUSE_RATE = 0.15
_OVERLAP_RATE = 0.06
_EMPTY_RATE = 0.02
_SHORTEST_PAUSE = 0.15


@dataclass(frozen=True)
class Timeline:
    """One video, in seconds.

    Attributes:
        starts, ends: (words,); a word may outlast the start of the next, or last no time.
        carries, cues: (words or S, len(CUES)), 1 where a word carries or a segment shows the cue.
        segments: (S, 2) start and end, in time order; the words before the first are unlabelled.
        labels: (S, L), 1 where the emotion is present.
    """

    starts: np.ndarray
    ends: np.ndarray
    carries: np.ndarray
    segments: np.ndarray
    labels: np.ndarray
    cues: np.ndarray

    def word_at(self, times: np.ndarray) -> np.ndarray:
        """Index of the word that began last and still sounds at each time, -1 in a pause."""
        word = np.searchsorted(self.starts, times, side="right") - 1
        return np.where((word >= 0) & (times < self.ends[word]), word, -1)


def draw_timeline(
    rng: np.random.Generator, segment_count: int, words_per_segment: int, alike: float = 0.0
) -> Timeline:
    """Draw a video; see `Timeline`. Its labels meet the rest only in the cue bits."""
    labels, cues = draw(rng, segment_count, alike)
    low, high = 2 * words_per_segment // 3, 4 * words_per_segment // 3
    counts = np.concatenate(
        [rng.integers(2, 6, size=1), rng.integers(low, high, size=segment_count, endpoint=True)]
    )
    borders = np.cumsum(counts)
    carries = np.zeros((borders[-1], len(CUES)), dtype=np.int64)
    for first, count, shown in zip(borders, counts[1:], cues, strict=False):
        _place_cues(rng, carries[first : first + count], shown)
    starts, ends = _speak(rng, borders, carries.max(axis=1) > 0)
    middle = (ends[borders[:-1] - 1] + starts[borders[:-1]]) / 2
    segments = np.stack([middle, np.append(middle[1:], ends[-1] + _SHORTEST_PAUSE)], axis=1)
    return Timeline(starts, ends, carries, segments, labels, cues)


def _place_cues(rng: np.random.Generator, carries: np.ndarray, shown: np.ndarray) -> None:
    """Give every cue that a segment shows to one or two of its words, none of them twice."""
    for columns in CUE_COLUMNS.values():
        words = rng.permutation(len(carries))[: 2 * len(columns)].reshape(2, -1)
        carries[words[0], columns] = shown[columns]
        carries[words[1], columns] = shown[columns] * (rng.random(len(columns)) < 0.5)


def _speak(
    rng: np.random.Generator, borders: np.ndarray, carrier: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of the words: fast speech with pauses, always one between segments."""
    count = len(carrier)
    duration = np.clip(rng.gamma(6.0, 0.035, size=count), 0.1, 0.6)
    duration[(rng.random(count) < _EMPTY_RATE) & ~carrier] = 0.0
    pause = np.where(rng.random(count) < _PAUSE_RATE, rng.uniform(_SHORTEST_PAUSE, 0.5, count), 0.0)
    pause[borders - 1] = np.maximum(pause[borders - 1], _SHORTEST_PAUSE)
    starts = 0.3 + np.concatenate([[0.0], np.cumsum(duration + pause)[:-1]])
    overlap = (rng.random(count) < _OVERLAP_RATE) & (duration > 0) & (pause == 0)
    return starts, starts + duration + overlap * rng.uniform(0.02, 0.1, count)
