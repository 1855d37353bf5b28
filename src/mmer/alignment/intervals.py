"""Which intervals overlap which: the rule of the CMU-MultimodalSDK, without a loop over either."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TOLERANCE = 1e-5
_ALWAYS_ALLOWED, _PER_INTERVAL = 1 << 20, 32
_COMPARED_AT_ONCE = 1 << 14


class ImplausibleTimesError(ValueError):
    """Intervals that no recording has, and whose alignment would take memory without bound."""


class Overlaps(NamedTuple):
    """For each of R reference intervals the rows that overlap it, in order of their start."""

    rows: np.ndarray  # (P,) int32, row numbers, those of reference 0 first
    bounds: np.ndarray  # (R + 1,) int32, where each reference's rows begin and end in `rows`
    ends_in_order: bool = False  # known that each reference's rows end in the order of their start

    def of(self, reference: int) -> np.ndarray:
        """Row numbers that overlap one reference interval."""
        return self.rows[self.bounds[reference] : self.bounds[reference + 1]]


def overlapping(reference: np.ndarray, intervals: np.ndarray) -> Overlaps:
    """Rows of `intervals` that share more than `TOLERANCE` seconds with each reference interval.

    A reference interval shorter than that overlaps nothing. Either side may hold intervals that
    overlap each other, are out of order, have no length or end before they start; for the last,
    the SDK's arithmetic is followed (a reversed reference overlaps what spans it whole). Time and
    memory grow with the intervals and the overlaps, not with the product of R and N.

    Args:
        reference: (R, 2) start and end in seconds.
        intervals: (N, 2) likewise.

    Raises:
        ImplausibleTimesError: There are more than a million overlaps, and more than 32 for each
            interval.
    """
    starts, ends = np.ascontiguousarray(intervals.T)
    order = None
    if not (starts[1:] >= starts[:-1]).all():
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], ends[order]
    # Rows that all have a length and end in the order in which they start, as frames do.
    if (ends[1:] >= ends[:-1]).all() and (ends - starts > TOLERANCE).all():
        overlaps = _between_searches(reference, starts, ends)
    elif len(reference) * len(starts) <= _COMPARED_AT_ONCE:
        of, rows = np.nonzero(shares_time(reference[:, None], np.stack([starts, ends], axis=1)))
        overlaps = _grouped(of, rows, len(reference))
    else:
        overlaps = _down_a_tree(reference, starts, ends)
    if order is None:
        return overlaps
    return Overlaps(order[overlaps.rows], overlaps.bounds, overlaps.ends_in_order)


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
    _check_count(counts.sum(), reference, starts)
    # Each reference's rows are one stretch: begin, begin + 1, ..
    ahead = begin - (np.cumsum(counts) - counts)
    rows = np.arange(counts.sum(), dtype=np.int32) + np.repeat(ahead.astype(np.int32), counts)
    return Overlaps(rows, bounds_of(counts), ends_in_order=True)


def _down_a_tree(reference: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Overlaps:
    """Overlaps of rows in order of their start, whenever they end.

    Each node of the tree knows the latest end among the rows below it. All references descend it
    together, level by level, into nodes with a row that does not end before they start.
    """
    levels = [ends]
    while len(levels[-1]) > 1:
        padded = np.pad(levels[-1], (0, len(levels[-1]) % 2), constant_values=-np.inf)
        levels.append(padded.reshape(-1, 2).max(axis=1))
    # With a margin: what is really shared is compared at the end.
    earliest = reference[:, 0] - 2 * TOLERANCE
    before = np.searchsorted(starts, reference[:, 1] + 2 * TOLERANCE)
    of, nodes = np.arange(len(reference), dtype=np.int32), np.zeros(len(reference), np.int32)
    for depth in range(len(levels) - 1, -1, -1):
        there = (nodes << depth < before[of]) & (nodes < len(levels[depth]))
        of, nodes = of[there], nodes[there]
        there = levels[depth][nodes] > earliest[of]
        of, nodes = of[there], nodes[there]
        _check_count(len(of), reference, starts)
        if depth:
            of = np.repeat(of, 2)
            nodes = np.repeat(nodes * 2, 2)
            nodes[1::2] += 1
    there = shares_time(reference[of], np.stack([starts[nodes], ends[nodes]], axis=1))
    return _grouped(of[there], nodes[there], len(reference))


def _grouped(of: np.ndarray, rows: np.ndarray, references: int) -> Overlaps:
    """Overlaps from pairs of a reference and a row, in order."""
    return Overlaps(rows.astype(np.int32), bounds_of(np.bincount(of, minlength=references)))


def _check_count(count: int, reference: np.ndarray, starts: np.ndarray) -> None:
    intervals = len(reference) + len(starts)
    if count > max(_ALWAYS_ALLOWED, _PER_INTERVAL * intervals):
        raise ImplausibleTimesError(f"{intervals} intervals that overlap {count} times or more")
