"""One video's modalities joined in time: frames to words, words or frames to labelled segments.

Two ways, both those of the CMU-MultimodalSDK: `align_words` averages the frames that overlap each
word, so that the modalities share their steps; `align_frames` leaves every modality steps of its
own, as they are or at a fixed rate. Which sequence holds the words is the caller's to say: the
reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from mmer.alignment.intervals import TOLERANCE, Overlaps, bounds_of, overlapping, shares_time
from mmer.alignment.resampling import resample

TimedFeatures = tuple[np.ndarray, np.ndarray]
"""Features (N, D) and intervals (N, 2) in seconds."""


class AlignedVideo(NamedTuple):
    """Features of one video, modality -> (N_m, D_m), and where its S labelled segments find theirs.

    Attributes:
        rows: Modality -> for each segment the rows that fall in it, in order of time; worked out
            when it is asked for.
        reference: The modality whose rows are the words; None where each has rows of its own.
        words: Which rows of the reference are left, (N_reference,) numbers; without one, all.
        complete: Which segments hold a whole word, and so a part of every modality: (S,) bool.
    """

    features: dict[str, np.ndarray]
    rows: Callable[[str], Overlaps]
    reference: str | None = None
    words: np.ndarray | slice = slice(None)
    complete: Callable[[], np.ndarray] = partial(np.empty, 0, bool)

    def segment(self, number: int, in_step: bool) -> dict[str, np.ndarray] | None:
        """Row numbers of one segment per modality; None if a modality has nothing there.

        The SDK places a word by the stretch of time that a modality's own frames cover of it, so
        that where frames are missing at a segment's border, or words overlap, its modalities lose
        step with each other. `in_step` gives every modality the reference's rows; elsewhere the two
        are the same.
        """
        shared = self.reference if in_step else None
        if not (shared and self.complete()[number]):
            rows = {modality: self.rows(modality).of(number) for modality in self.features}
            if not all(map(len, rows.values())):
                return None
            if not shared:
                return rows
        return dict.fromkeys(self.features, self.rows(shared).of(number))


def align_words(
    sequences: dict[str, TimedFeatures], segments: np.ndarray, reference: str
) -> AlignedVideo:
    """Average every modality onto the words, then place the words in the segments.

    Zeros stand where no frame overlaps a word; words without length are left out. Values that are
    not finite stay as the average leaves them.

    Args:
        sequences: Modality -> features and intervals.
        segments: (S, 2) start and end of the labelled segments in seconds.
        reference: The modality whose rows are the words.
    """
    values, times = sequences[reference]
    words: np.ndarray | slice = slice(None)
    if not (has_length := np.abs(times[:, 1] - times[:, 0]) >= TOLERANCE).all():
        words = np.flatnonzero(has_length)
        values, times = values[words], times[words]
    spans = np.sort(times, axis=1)
    placed = overlapping(segments, spans)
    frames = {m: overlapping(times, seq[1]) for m, seq in sequences.items() if m != reference}
    features = {
        m: average(rows, frames[m]) if m in frames else values for m, (rows, _) in sequences.items()
    }

    @cache
    def rows(modality: str) -> Overlaps:
        if modality == reference:
            return placed
        covered, has_frames = _covered(times, sequences[modality][1], frames[modality])
        if has_frames.all() and (covered == spans).all():
            return placed
        return _as_covered(placed, segments, covered, has_frames)

    complete = cache(partial(_hold_a_word, segments, spans, placed))
    return AlignedVideo(features, rows, reference, words, complete)


def align_frames(
    sequences: dict[str, TimedFeatures],
    segments: np.ndarray,
    rates: Mapping[str, float] = MappingProxyType({}),
) -> AlignedVideo:
    """Place every modality's own rows in the segments, those of `rates` as steps of a fixed rate.

    Args:
        sequences: Modality -> features and intervals.
        segments: (S, 2) start and end of the labelled segments in seconds.
        rates: Modality -> steps a second; see `resample`. The others keep their rows.
    """
    features, rows = {}, {}
    for modality, (values, intervals) in sequences.items():
        if modality in rates:
            resampled = resample(values, intervals, segments, rates[modality])
            features[modality], rows[modality] = resampled
        else:
            features[modality], rows[modality] = values, overlapping(segments, intervals)
    return AlignedVideo(features, rows.__getitem__)


def average(features: np.ndarray, overlaps: Overlaps) -> np.ndarray:
    """Mean of the rows of features (N, D) that overlap each of R intervals, zeros without any.

    Rows are added one after the other in the features' own precision, as the SDK's average does:
    the result is the same to the last bit.
    """
    counts = np.diff(overlaps.bounds)
    ones = np.ones(len(overlaps.rows), features.dtype)
    shape = (len(counts), len(features))
    sums = csr_array((ones, overlaps.rows, overlaps.bounds), shape=shape) @ features
    return sums / np.maximum(counts, 1)[:, None].astype(features.dtype)


def _hold_a_word(segments: np.ndarray, spans: np.ndarray, placed: Overlaps) -> np.ndarray:
    """Segments that hold a whole word, and so whatever part of it a modality's frames cover."""
    segment = np.repeat(np.arange(len(segments)), np.diff(placed.bounds))
    times, limits = spans[placed.rows], segments[segment]
    whole = (times[:, 0] >= limits[:, 0]) & (times[:, 1] <= limits[:, 1])
    return np.bincount(segment[whole], minlength=len(segments)) > 0


def _covered(
    words: np.ndarray, frames: np.ndarray, overlaps: Overlaps
) -> tuple[np.ndarray, np.ndarray]:
    """(W, 2) from a word's first frame to its last, cut to the word; (W,) whether it has any.

    Where it has none, all of the word.
    """
    has_frames = np.diff(overlaps.bounds) > 0
    spans = np.sort(words, axis=1)
    if has_frames.any():
        rows, starts, ends = overlaps.rows, *frames.T
        begin, end = overlaps.bounds[:-1][has_frames], overlaps.bounds[1:][has_frames]
        earliest, latest = rows[begin], rows[end - 1]
        first, last = words[has_frames].T
        if overlaps.ends_in_order:
            lowest, highest = ends[earliest], ends[latest]
        else:
            ends = ends.take(rows)
            lowest, highest = np.minimum.reduceat(ends, begin), np.maximum.reduceat(ends, begin)
        # Frames that end before they start count by whichever of their clipped ends is farther out.
        starts = np.maximum([starts[earliest], starts[latest]], first)
        clipped = np.concatenate([starts, np.minimum([lowest, highest], last)])
        spans[has_frames] = np.stack([clipped.min(axis=0), clipped.max(axis=0)], axis=1)
    return spans, has_frames


def _as_covered(
    placed: Overlaps, segments: np.ndarray, spans: np.ndarray, has_frames: np.ndarray
) -> Overlaps:
    """Of the words in each segment those whose covered part is in it, by where that begins.

    Words that begin at the same time come in the SDK's order: those with frames first.
    """
    words = placed.rows
    segment = np.repeat(np.arange(len(segments)), np.diff(placed.bounds))
    there = shares_time(segments[segment], spans[words])
    words, segment = words[there], segment[there]
    order = np.lexsort((words, ~has_frames[words], spans[words, 0], segment))
    return Overlaps(words[order], bounds_of(np.bincount(segment, minlength=len(segments))))
