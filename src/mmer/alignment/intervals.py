"""Which intervals overlap which: the rule of the CMU-MultimodalSDK, without a loop over either."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TOLERANCE = 1e-5
_MAX_PAIRS = 1 << 20


class Overlaps(NamedTuple):
    """For each of R reference intervals the rows that overlap it, in order of their start."""

    rows: np.ndarray  # (P,) int32, row numbers, those of reference 0 first
    bounds: np.ndarray  # (R + 1,) int32, where each reference's rows begin and end in `rows`

    def of(self, reference: int) -> np.ndarray:
        """Row numbers that overlap one reference interval."""
        return self.rows[self.bounds[reference] : self.bounds[reference + 1]]


def overlapping(reference: np.ndarray, intervals: np.ndarray) -> Overlaps:
    """Rows of `intervals` that share more than `TOLERANCE` seconds with each reference interval.

    A reference interval shorter than that overlaps nothing. Either side may hold intervals that
    overlap each other, are out of order, have no length or end before they start; for the last,
    the SDK's arithmetic is followed (a reversed reference overlaps what spans it whole).

    Args:
        reference: (R, 2) start and end in seconds.
        intervals: (N, 2) likewise.
    """
    starts, ends = np.ascontiguousarray(intervals.T)
    order = None
    if not (starts[1:] >= starts[:-1]).all():
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], ends[order]
    # Rows that all have a length and end in the order in which they start, as frames do.
    if (ends[1:] >= ends[:-1]).all() and (ends - starts > TOLERANCE).all():
        overlaps = _between_searches(reference, starts, ends)
    else:
        overlaps = _among_all_pairs(reference, starts, ends)
    return overlaps if order is None else Overlaps(order[overlaps.rows], overlaps.bounds)


def shares_time(reference: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """Whether intervals (.., 2) overlap those of the reference (.., 2): (..) bool."""
    first, last = reference[..., 0], reference[..., 1]
    start, end = intervals[..., 0], intervals[..., 1]
    touching = (end - first > -TOLERANCE) & (last - start > -TOLERANCE)
    shared = np.minimum(end, last) - np.maximum(start, first)
    return touching & (np.abs(shared) > TOLERANCE) & (np.abs(last - first) >= TOLERANCE)


def bounds_of(counts: np.ndarray) -> np.ndarray:
    """Where each of R groups of `counts` rows begins and ends, (R + 1,)."""
    return np.concatenate([[0], np.cumsum(counts)], dtype=np.int32)


def _between_searches(reference: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Overlaps:
    first, last = reference[:, 0], reference[:, 1]
    inset = np.where(last > first, TOLERANCE, -TOLERANCE)
    begin = np.searchsorted(ends, first + inset, side="right")
    end = np.searchsorted(starts, last - inset, side="left")
    counts = np.where(np.abs(last - first) < TOLERANCE, 0, np.maximum(end - begin, 0))
    # Each reference's rows are one stretch: begin, begin + 1, ..
    ahead = begin - (np.cumsum(counts) - counts)
    rows = np.arange(counts.sum(), dtype=np.int32) + np.repeat(ahead.astype(np.int32), counts)
    return Overlaps(rows, bounds_of(counts))


def _among_all_pairs(reference: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Overlaps:
    intervals = np.stack([starts, ends], axis=1)
    block = max(1, _MAX_PAIRS // max(1, len(intervals)))
    pairs = [np.zeros((2, 0), np.intp)]
    for at in range(0, len(reference), block):
        of, rows = np.nonzero(shares_time(reference[at : at + block, None], intervals))
        pairs.append(np.stack([of + at, rows]))
    of, rows = np.concatenate(pairs, axis=1)
    return Overlaps(rows.astype(np.int32), bounds_of(np.bincount(of, minlength=len(reference))))
