"""A modality's frames brought to a fixed rate: each step the mean over time of what it shows."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from mmer.alignment.intervals import (
    TOLERANCE,
    ImplausibleTimesError,
    Overlaps,
    bounds_of,
    overlapping,
)

_MOST_VALUES = 1 << 24


def resample(
    features: np.ndarray, intervals: np.ndarray, segments: np.ndarray, rate: float
) -> tuple[np.ndarray, Overlaps]:
    """Steps of `1 / rate` seconds for every segment, area-averaged, and which are whose.

    Step k of a segment from `start` to `end` is the mean of the frames that overlap
    [start + k / rate, start + (k + 1) / rate), weighted by how long each does. There are
    `round((end - start) * rate)` steps, at least one, and the last ends when the segment does; none
    if no frame overlaps the segment. Steps without a frame are zeros. Frames may overlap each other
    and be out of order; those without length, and overlaps of `TOLERANCE` seconds or less, do not
    count. Values that are not finite make the steps that they overlap not finite.

    Args:
        features: (N, D), a row per frame.
        intervals: (N, 2) start and end of the frames in seconds.
        segments: (S, 2) likewise; they may overlap.
        rate: Steps a second.

    Returns:
        (P, D) the steps in the features' precision; for each segment the numbers of its steps.

    Raises:
        ImplausibleTimesError: More than 16 million values, three hours of COVAREP at 20 a second;
            or see `overlapping`.
    """
    shown = intervals[:, 1] - intervals[:, 0] > TOLERANCE
    if not shown.all():
        features, intervals = features[shown], intervals[shown]
    lengths = segments[:, 1] - segments[:, 0]
    seen = (np.diff(overlapping(segments, intervals).bounds) > 0) & (lengths > 0)
    counts = np.where(seen, np.maximum(np.rint(lengths * rate), 1), 0).astype(int)
    if counts.sum() * features.shape[1] > _MOST_VALUES:
        raise ImplausibleTimesError(f"segments of {lengths[seen].sum():.0f} seconds in all")
    steps = _steps(segments, counts, rate)
    overlaps = overlapping(steps, intervals)
    step = np.repeat(np.arange(len(steps)), np.diff(overlaps.bounds))
    within, limits = intervals[overlaps.rows], steps[step]
    weights = np.minimum(within[:, 1], limits[:, 1]) - np.maximum(within[:, 0], limits[:, 0])
    totals = np.bincount(step, weights, minlength=len(steps))
    shares = weights / totals[step]
    shape = (len(steps), len(features))
    means = csr_array((shares, overlaps.rows, overlaps.bounds), shape=shape) @ features
    return means.astype(features.dtype), Overlaps(np.arange(len(steps)), bounds_of(counts))


def _steps(segments: np.ndarray, counts: np.ndarray, rate: float) -> np.ndarray:
    """(P, 2) start and end of the steps of all segments, `counts` of each."""
    bounds = np.cumsum(counts)
    number = np.arange(counts.sum()) - np.repeat(bounds - counts, counts)
    start, end = np.repeat(segments, counts, axis=0).T
    steps = np.stack([start + number / rate, start + (number + 1) / rate], axis=1)
    last = bounds[counts > 0] - 1
    steps[last, 1] = end[last]
    return steps
