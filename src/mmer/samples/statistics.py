"""What samples are like, in a few numbers: what later samples are compared with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from pydantic import Field

from mmer.samples.batches import Samples
from mmer.schema import Record

_CONSTANT = 1e-6
"""A deviation below this share of the mean is what rounding leaves of a constant feature."""


class ModalityStatistics(Record):
    """One modality of some samples.

    Attributes:
        present: Number of samples that have it.
        lengths: Number of steps -> how many of these samples have so many.
        mean, deviation: D numbers each, over the steps of all samples; none without a step. The
            deviation of a feature that is constant, but for rounding, is 0.
    """

    present: int
    lengths: dict[int, int]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def steps(self) -> int:
        """Of all samples together."""
        return sum(length * count for length, count in self.lengths.items())

    @property
    def longest(self) -> int:
        return max(self.lengths, default=0)


class SampleStatistics(Record):
    """Some samples, modality by modality.

    Attributes:
        zeros_are_absent: Whether a modality that was zero throughout a sample counts as absent.
        alignment: See `TableInfo`; None if it was not noted.
        reading: See `TableInfo`; empty if it was not noted.
    """

    samples: int
    zeros_are_absent: bool
    alignment: Literal["word", "utterance", "none"] | None = None
    reading: dict[str, Any] = Field(default={})
    modalities: dict[str, ModalityStatistics]


class _Sums:
    """Sums over the steps of one modality, in double precision."""

    def __init__(self, width: int) -> None:
        self.lengths: Counter[int] = Counter()
        self.total, self.squares = np.zeros(width), np.zeros(width)

    def add(self, values: np.ndarray, lengths: np.ndarray) -> None:
        """Steps (R, D) of samples that have so many (N,)."""
        self.lengths.update(lengths[lengths > 0].tolist())
        self.total += values.sum(axis=0, dtype=np.float64)
        self.squares += np.square(values, dtype=np.float64).sum(axis=0)

    def statistics(self) -> ModalityStatistics:
        steps = sum(length * count for length, count in self.lengths.items())
        mean = self.total / max(steps, 1)
        spread = np.sqrt(np.clip(self.squares / max(steps, 1) - mean**2, 0, None))
        spread[spread < _CONSTANT * np.abs(mean)] = 0
        return ModalityStatistics(
            present=self.lengths.total(),
            lengths=dict(sorted(self.lengths.items())),
            mean=tuple(mean.tolist()) if steps else (),
            deviation=tuple(spread.tolist()) if steps else (),
        )


def sample_statistics(parts: Iterable[Samples]) -> SampleStatistics:
    """Of samples that come in parts, all of one kind, one part in memory at a time.

    Raises:
        ValueError: There is no part.
    """
    sums: dict[str, _Sums] = {}
    count, info = 0, None
    for part in parts:
        count, info = count + len(part), part.info
        for modality, width in part.info.widths.items():
            here = sums.setdefault(modality, _Sums(width))
            lengths = part.host_lengths[modality]
            here.add(_own_steps(part, modality, lengths), lengths)
    if info is None:
        raise ValueError("expected at least one part of the samples")
    return SampleStatistics(
        samples=count,
        zeros_are_absent=info.zeros_are_absent,
        alignment=info.alignment,
        reading=info.reading,
        modalities={modality: one.statistics() for modality, one in sums.items()},
    )


def _own_steps(part: Samples, modality: str, lengths: np.ndarray) -> np.ndarray:
    """(R, D) steps of these samples alone: those that `take` has left out are still among the
    values."""
    values = part.values[modality].cpu().numpy()
    if lengths.sum() == len(values):
        return values
    starts = part.starts[modality].cpu().numpy()
    pieces = [values[s : s + n] for s, n in zip(starts, lengths, strict=True)]
    return np.concatenate([values[:0], *pieces])
