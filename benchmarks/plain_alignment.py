"""The CMU-MultimodalSDK's alignment written out: one reference interval after the other.

Its steps are `align` to the words with an average, `impute` with zeros, `align` to the labelled
segments and `hard_unify`; each reference interval is compared with all intervals of the others.
"""

from __future__ import annotations

import numpy as np

_EPSILON = 1e-5

Sequence = tuple[np.ndarray, np.ndarray]
"""Features (N, D) and intervals (N, 2) in seconds."""


def align(
    sequences: dict[str, Sequence], segments: np.ndarray, reference: str
) -> list[dict[str, np.ndarray] | None]:
    """For each of the segments the words' features per modality; None where a modality has none."""
    words = {m: _average_onto(sequences[reference], seq) for m, seq in sequences.items()}
    words[reference] = _with_length(sequences[reference])
    found: list[dict[str, np.ndarray] | None] = []
    for segment in segments:
        rows = {m: _overlapping(segment, intervals)[0] for m, (_, intervals) in words.items()}
        everywhere = all(map(len, rows.values()))
        found.append({m: words[m][0][r] for m, r in rows.items()} if everywhere else None)
    return found


def _overlapping(reference: np.ndarray, intervals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that overlap the reference, in order of start, and their intervals cut to it."""
    first, last = reference
    starts, ends = intervals.T
    touching = (ends - first > -_EPSILON) & (last - starts > -_EPSILON)
    rows = np.flatnonzero(touching & (abs(last - first) >= _EPSILON))
    cut = np.stack([np.maximum(starts[rows], first), np.minimum(ends[rows], last)], axis=1)
    long_enough = np.abs(cut[:, 0] - cut[:, 1]) > _EPSILON
    order = np.argsort(starts[rows][long_enough], kind="stable")
    return rows[long_enough][order], cut[long_enough][order]


def _average_onto(words: Sequence, sequence: Sequence) -> Sequence:
    """The mean of the rows that overlap each word; behind them zeros for words without any."""
    features, intervals = sequence
    averaged, imputed = [], []
    for word in _with_length(words)[1]:
        rows, cut = _overlapping(word, intervals)
        if len(rows):
            averaged.append((np.average(features[rows], axis=0), [cut.min(), cut.max()]))
        else:
            imputed.append((np.zeros(features.shape[1], features.dtype), np.sort(word)))
    values, spans = zip(*averaged, *imputed, strict=True)
    return np.stack(values), np.array(spans)


def _with_length(words: Sequence) -> Sequence:
    features, intervals = words
    long_enough = np.abs(intervals[:, 1] - intervals[:, 0]) >= _EPSILON
    return features[long_enough], np.sort(intervals[long_enough], axis=1)
