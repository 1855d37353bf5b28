"""Which labelled segment of a video each published clip is.

Clips are numbered in order of time, but their numbers are not rows of the label file, which are in
no order at all. So clips in order of number are laid onto segments in order of start, each on one
that it could be: of equal sentiment, and of like words where words are known. A clip is joined if
every such layout gives it the same segment; or if words are known and the two fit each other alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from scipy import sparse

# Sentiments are means of a few votes: different ones are further apart than any rounding.
_SENTIMENT_TOLERANCE = 0.01
_LEAST_COMMON_WORDS = 0.5
MOST_IN_A_VIDEO = 500
"""Clips or segments: every clip is held against every segment, and videos have some dozens."""


class Clips(NamedTuple):
    """Numbers (n,), sentiment (n,) and n texts of one video's clips."""

    numbers: np.ndarray
    sentiment: np.ndarray
    texts: list[str]


class Segments(NamedTuple):
    """Intervals (s, 2), sentiment (s,), emotions (s, L) and s texts of one video's segments.

    There is one at least; the texts are None if the video's words are not known.
    """

    intervals: np.ndarray
    sentiment: np.ndarray
    emotions: np.ndarray
    words: list[str] | None


def join(clips: Clips, segments: Segments) -> np.ndarray:
    """(n,) position of the segment that each clip must be; -1 where several or none fit."""
    compatible = np.abs(clips.sentiment[:, None] - segments.sentiment) <= _SENTIMENT_TOLERANCE
    if segments.words is not None:
        compatible &= _alike(clips.texts, segments.words)
    in_number = np.argsort(clips.numbers, kind="stable")
    in_time = np.lexsort(segments.intervals.T[::-1])
    layout = only_layout(compatible[np.ix_(in_number, in_time)])
    joined = np.empty(len(layout), int)
    joined[in_number] = np.where(layout >= 0, in_time[layout], -1)
    if segments.words is None:
        return joined
    alone = compatible & (compatible.sum(axis=0) == 1) & (compatible.sum(axis=1) == 1)[:, None]
    return np.where(alone.any(axis=1), alone.argmax(axis=1), joined)


def only_layout(compatible: np.ndarray) -> np.ndarray:
    """For each clip the one segment that it can be, both in the same order; -1 where none is sure.

    Args:
        compatible: (n, s) bool, whether the clip could be the segment.
    """
    earliest = _first_fits(compatible)
    latest = _first_fits(compatible[::-1, ::-1])
    if earliest is None or latest is None:
        return np.full(len(compatible), -1)
    return np.where(earliest == compatible.shape[1] - 1 - latest[::-1], earliest, -1)


def _first_fits(compatible: np.ndarray) -> np.ndarray | None:
    """Each clip's first compatible segment behind that of the clip before; None if one has none."""
    fits = [-1]
    for row in compatible:
        ahead = np.flatnonzero(row[fits[-1] + 1 :])
        if len(ahead) == 0:
            return None
        fits.append(fits[-1] + 1 + int(ahead[0]))
    return np.array(fits[1:])


def _alike(texts: list[str], others: list[str]) -> np.ndarray:
    """(n, s) bool: whether at least half of the longer one's words are in both.

    A segment without words tells nothing and is like every clip.
    """
    columns: dict[tuple[str, int], int] = {}
    ours, theirs = _words(texts, columns), _words(others, columns)
    ours.resize(len(texts), len(columns))
    common = (ours @ theirs.T).toarray()
    lengths, other_lengths = (np.asarray(rows.sum(axis=1)).ravel() for rows in (ours, theirs))
    least = _LEAST_COMMON_WORDS * np.maximum.outer(lengths, other_lengths)
    return (common >= least) | (other_lengths == 0)


def _words(texts: list[str], columns: dict[tuple[str, int], int]) -> sparse.csr_array:
    """A row of 0 and 1 a text: its words, of which the second "very" is another than the first.

    Args:
        texts: To be taken apart.
        columns: Word and which of its kind -> column; what is missing is added.
    """
    rows, ones = [], []
    for row, text in enumerate(texts):
        seen: dict[str, int] = {}
        for word in re.findall(r"\w+", text.lower().replace("'", "")):
            seen[word] = seen.get(word, -1) + 1
            rows.append(row)
            ones.append(columns.setdefault((word, seen[word]), len(columns)))
    values = np.ones(len(rows), np.int32)
    return sparse.csr_array((values, (rows, ones)), shape=(len(texts), len(columns)))
