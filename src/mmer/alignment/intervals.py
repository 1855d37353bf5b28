"""Which intervals overlap which: the rule of the CMU-MultimodalSDK, without a loop over either."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TOLERANCE = 1e-5
_MAX_CANDIDATES = 1 << 22


class Overlaps(NamedTuple):
    """For each of R reference intervals the rows that overlap it, in order of their start.

    Attributes:
        rows: (P,) int32, row numbers, those of reference 0 first.
        bounds: (R + 1,) int32, where each reference's rows begin and end in `rows`.
    """

    rows: np.ndarray
    bounds: np.ndarray

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
    if (starts[1:] >= starts[:-1]).all():
        return _overlapping_sorted(reference, starts, ends)
    order = np.argsort(starts, kind="stable")
    overlaps = _overlapping_sorted(reference, starts[order], ends[order])
    return Overlaps(order[overlaps.rows].astype(np.int32), overlaps.bounds)


def _overlapping_sorted(reference: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Overlaps:
    first, last = reference[:, 0], reference[:, 1]
    latest = np.maximum.accumulate(ends)
    # Where rows end in the order in which they start, and each has a length, a reference's rows are
    # one stretch between two binary searches; elsewhere the stretch only holds all candidates.
    exact = bool((ends == latest).all() and (ends - starts > TOLERANCE).all())
    inset = np.where(last > first, TOLERANCE, -TOLERANCE) if exact else -2 * TOLERANCE
    begin = np.searchsorted(latest, first + inset, side="right")
    end = np.searchsorted(starts, last - inset, side="left")
    counts = np.where(np.abs(last - first) < TOLERANCE, 0, np.maximum(end - begin, 0))
    if exact:
        return Overlaps(_stretches(begin, counts), bounds_of(counts))
    if counts.sum() > _MAX_CANDIDATES and len(reference) > 1:
        half = len(reference) // 2
        head = _overlapping_sorted(reference[:half], starts, ends)
        tail = _overlapping_sorted(reference[half:], starts, ends)
        bounds = np.concatenate([head.bounds, tail.bounds[1:] + head.bounds[-1]])
        return Overlaps(np.concatenate([head.rows, tail.rows]), bounds)
    rows, of = _stretches(begin, counts), np.repeat(np.arange(len(reference)), counts)
    kept = shares_time(reference[of], np.stack([starts[rows], ends[rows]], axis=1))
    return Overlaps(rows[kept], bounds_of(np.bincount(of[kept], minlength=len(reference))))


def shares_time(reference: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """Whether two intervals (P, 2) overlap, pair by pair: (P,) bool."""
    (first, last), (start, end) = reference.T, intervals.T
    shared = np.minimum(end, last) - np.maximum(start, first)
    touching = (end - first > -TOLERANCE) & (last - start > -TOLERANCE)
    return touching & (np.abs(shared) > TOLERANCE)


def bounds_of(counts: np.ndarray) -> np.ndarray:
    """Where each of R groups of `counts` rows begins and ends, (R + 1,)."""
    return np.concatenate([[0], np.cumsum(counts)], dtype=np.int32)


def _stretches(begin: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The numbers begin[0], begin[0] + 1, .. counts[0] of them, then those from begin[1], ..."""
    ahead = begin - (np.cumsum(counts) - counts)
    return np.arange(counts.sum(), dtype=np.int32) + np.repeat(ahead.astype(np.int32), counts)
