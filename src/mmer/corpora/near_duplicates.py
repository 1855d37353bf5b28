"""Samples of two splits that are almost the same: a recording encoded again, or cut a step later.

Every sample gets a sketch of bounded size: its mean step, standardised feature by feature and
projected at random (from a fixed seed). The samples whose sketches lie nearest are compared step
by step; the rest is never looked at again, so that tables may be larger than memory.

Two samples are near-duplicates if they have the same modalities, of lengths that differ by at most
two steps, and in each of them `_AGREEING` of the values differ by less than a tenth of what the
middle half of that feature's values spans, once one is shifted by up to two steps. Values that both
have at the feature's median (silence, no face) say nothing; `_LEAST` others have to be there.

What it misses: samples of fewer than four steps that are shifted, or of fewer than eight that are
shifted by two; copies at another rate; a sixth sample that is as near as five. What it takes for a
near-duplicate wrongly: samples whose features all follow from two or three numbers. Independent
samples are told apart by any dozen features that are not the same in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.neighbors import NearestNeighbors

from mmer.samples.table import SampleTable, flat_features

_TOLERANCE, _AGREEING, _LEAST = 0.1, 0.95, 20
_SHIFTS, _STEPS_PER_SHIFT = (0, 1, -1, 2, -2), 4
_CANDIDATES = 5
_SKETCH, _SEED, _FARTHEST = 64, 0, 4.0
_SAMPLES_FOR_SCALE, _STEPS_FOR_SCALE = 128, 16


class Scale(NamedTuple):
    """Of each of a modality's D features, the median and what the middle half of its values spans.

    The span is 0 where a feature never changes; where more than half of its values are equal, it is
    that of a normal distribution of the same standard deviation.
    """

    median: np.ndarray
    span: np.ndarray


def feature_scales(tables: list[SampleTable]) -> dict[str, Scale]:
    """What is large and what is small in each modality, from samples spread over all tables."""
    return {modality: _scale(tables, modality) for modality in tables[0].info.modalities}


def sketches(table: SampleTable, scales: dict[str, Scale]) -> np.ndarray:
    """(N, 64) float32, near for samples that are near; record batch by record batch."""
    generator, rows = np.random.default_rng(_SEED), table.arrow()
    found = np.zeros((rows.num_rows, _SKETCH), np.float32)
    for modality, scale in scales.items():
        weight = 1 / np.sqrt(max(1, (scale.span > 0).sum()))
        towards = weight * generator.normal(size=(len(scale.span), _SKETCH)).astype(np.float32)
        start = 0
        for chunk in rows[modality].chunks:
            flat, offsets = flat_features(chunk)
            here = np.flatnonzero(np.diff(offsets))
            if len(here):
                means = np.add.reduceat(flat, offsets[:-1][here], dtype=np.float32)
                means /= np.diff(offsets)[here, None]
                found[start + here] += _standardised(means, scale) @ towards
            start += len(chunk)
    return found


def near_duplicates(
    first: SampleTable,
    second: SampleTable,
    sketched: tuple[np.ndarray, np.ndarray],
    scales: dict[str, Scale],
) -> list[tuple[int, int]]:
    """Rows of the first table and, in ascending order, rows of the second that nearly repeat them.

    Each row of the second stands there once, with the nearest; exact duplicates are among them.
    """
    count = min(_CANDIDATES, len(sketched[0]))
    nearest = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(sketched[0])
    candidates = nearest.kneighbors(sketched[1], return_distance=False)
    ours, theirs = _Steps(first), _Steps(second)
    # absent has no length: it equals absent only
    apart = np.abs(ours.lengths[candidates] - theirs.lengths[:, None])
    alike = (apart <= max(_SHIFTS)).all(axis=-1)
    found = []
    for row in np.flatnonzero(alike.any(axis=1)).tolist():
        for other in candidates[row][alike[row]].tolist():
            if _same(ours.of(other), theirs.of(row), scales):
                found.append((other, row))
                break
    return found


class _Steps:
    """Any sample's steps, by the row of the table that it is in.

    Attributes:
        lengths: (N, M) steps; far below 0 where the modality is absent.
    """

    def __init__(self, table: SampleTable) -> None:
        self._rows = table.arrow()
        self._modalities = table.info.modalities
        steps = [pc.list_value_length(self._rows[m]).fill_null(-1000) for m in self._modalities]
        self.lengths = np.stack([column.to_numpy() for column in steps], axis=1)

    def of(self, row: int) -> dict[str, np.ndarray]:
        """Modality -> (T, D); nothing of those that are absent or have no step."""
        here = zip(self._modalities, self.lengths[row], strict=True)
        return {m: _matrix(self._rows[m].slice(row, 1)) for m, steps in here if steps > 0}


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    (chunk,) = (chunk for chunk in column.chunks if len(chunk))
    return flat_features(chunk)[0]


def _scale(tables: list[SampleTable], modality: str) -> Scale:
    steps = np.concatenate([rows for table in tables for rows in _some_steps(table, modality)])
    if not len(steps):
        return Scale(np.zeros(steps.shape[1]), np.zeros(steps.shape[1]))
    low, median, high = np.percentile(steps, (25, 50, 75), axis=0).astype(np.float32)
    span = np.where(high > low, high - low, 1.349 * steps.std(axis=0))
    return Scale(median, np.where(np.ptp(steps, axis=0) > 0, span, 0))


def _some_steps(table: SampleTable, modality: str) -> Iterator[np.ndarray]:
    """A few steps each of samples spread over the table; the same, whatever its batches are."""
    column = table.arrow()[modality]
    yield np.empty((0, table.info.widths[modality]), np.float32)
    present = np.flatnonzero(column.is_valid().to_numpy())
    for row in present[_spread(len(present), _SAMPLES_FOR_SCALE)]:
        rows = _matrix(column.slice(int(row), 1))
        yield rows[_spread(len(rows), _STEPS_FOR_SCALE)]


def _spread(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _standardised(values: np.ndarray, scale: Scale) -> np.ndarray:
    apart = (values - scale.median) * np.divide(
        1, scale.span, out=np.zeros_like(scale.span), where=scale.span > 0
    )
    return np.clip(apart, -_FARTHEST, _FARTHEST)


def _same(one: dict[str, np.ndarray], other: dict[str, np.ndarray], scales: dict) -> bool:
    telling = 0
    for modality in one.keys() | other.keys():
        if not (modality in one and modality in other):
            return False
        said, agreeing = _agreement(one[modality], other[modality], scales[modality])
        if agreeing < _AGREEING * said:
            return False
        telling += said
    return telling >= _LEAST


def _agreement(one: np.ndarray, other: np.ndarray, scale: Scale) -> tuple[int, int]:
    """Of the shift that suits best: values that say something, and those of them that agree."""
    used = scale.span > 0
    tolerance = _TOLERANCE * scale.span[used]
    one, other = ((rows[:, used] - scale.median[used]) / tolerance for rows in (one, other))
    found = []
    for shift in _SHIFTS:
        steps = min(len(one) - max(shift, 0), len(other) - max(-shift, 0))
        if abs(shift) * _STEPS_PER_SHIFT > max(len(one), len(other)) or steps < 1:
            continue
        ours, theirs = one[max(shift, 0) :][:steps], other[max(-shift, 0) :][:steps]
        telling = (np.abs(ours) > 1) | (np.abs(theirs) > 1)
        agreeing = (np.abs(ours - theirs) < 1) & telling
        found.append((int(telling.sum()), int(agreeing.sum())))
        if agreeing.sum() >= _AGREEING * telling.sum():
            break
    return max(found, key=lambda pair: pair[1] / max(1, pair[0]))
