"""Probes of what modalities tell together or alone, and of modalities that are absent."""

from __future__ import annotations

import numpy as np
from pydantic import Field, PositiveFloat
from scipy.special import expit

from mmer.corpora.probes.probe import LABELS, MODALITIES, Probe, Shown, in_every_step
from mmer.samples.table import Split

# Of each label, numbers of the two modalities that show it together, or of the one that does alone.
_PAIRS = np.array([[0, 1], [1, 2], [2, 0], [0, 1]])
_ALONE = np.array([0, 1, 2, 0])


class ExclusiveOr(Probe):
    """Label = exclusive-or of a bit seen in one modality and of a bit seen in another.

    Both bits are as often 0 as 1, so that each alone tells nothing. A bit adds to every step.
    """

    strength: PositiveFloat = 1.0

    def rates(self, split: Split) -> np.ndarray:
        return np.full(len(LABELS), 0.5)

    def added(
        self, rng: np.random.Generator, labels: np.ndarray, there: np.ndarray, groups: np.ndarray
    ) -> np.ndarray:
        one = rng.integers(2, size=labels.shape)
        bits = np.zeros((len(labels), len(MODALITIES), len(LABELS)))
        for label, (first, second) in enumerate(_PAIRS):
            bits[:, first, label] = one[:, label]
            bits[:, second, label] = one[:, label] ^ labels[:, label]
        return in_every_step(self.strength * bits, there)

    def posterior(self, shown: Shown, split: Split = "test") -> np.ndarray:
        bit = expit(self.log_ratio(shown))  # (N, M, L) P(bit is 1 | its modality)
        one, other = (bit[:, part, np.arange(len(LABELS))] for part in _PAIRS.T)
        return one * (1 - other) + other * (1 - one)


class OneModality(Probe):
    """Each label is told by one modality alone; the others tell nothing of it."""

    strength: PositiveFloat = 0.8

    @property
    def tells(self) -> np.ndarray:
        return np.arange(len(MODALITIES))[:, None] == _ALONE


class AbsentAtRandom(Probe):
    """Modalities absent at random, of each sample by itself; every modality tells of every label.

    Attributes:
        absent: Probability that a sample lacks a modality; one that would lack all has all.
    """

    strength: PositiveFloat = 0.55
    absent: float = Field(default=0.4, ge=0, lt=1)

    def present(self, rng: np.random.Generator, groups: np.ndarray) -> np.ndarray:
        present = rng.random((len(groups), len(MODALITIES))) >= self.absent
        return present | ~present.any(axis=1, keepdims=True)


class AbsentInBlocks(Probe):
    """Whole groups lack a modality; every modality tells of every label.

    Attributes:
        absent: Probability that a group lacks a modality, whichever; none lacks two.
    """

    strength: PositiveFloat = 0.45
    absent: float = Field(default=0.8, ge=0, le=1)

    def present(self, rng: np.random.Generator, groups: np.ndarray) -> np.ndarray:
        count = groups.max() + 1
        lacking = rng.integers(len(MODALITIES), size=count)
        lacking[rng.random(count) >= self.absent] = len(MODALITIES)
        return lacking[groups, None] != np.arange(len(MODALITIES))
