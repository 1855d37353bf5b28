"""Probes of how labels are distributed: together, rarely, otherwise in test, alike in a group."""

from __future__ import annotations

from itertools import product
from typing import ClassVar

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt
from scipy.special import softmax

from mmer.corpora.probes.probe import LABELS, MODALITIES, Probe, Shown, in_every_step, in_groups
from mmer.samples.table import Split

_SETS = np.array(list(product((0, 1), repeat=len(LABELS))), np.uint8)  # (2^L, L)


class CoOccurrence(Probe):
    """Evidence for the first two labels only; the others occur together with these.

    The third mostly with the first, the fourth mostly where the first two are together.
    """

    strength: PositiveFloat = 0.5

    @property
    def tells(self) -> np.ndarray:
        return np.tile([True, True, False, False], (len(MODALITIES), 1))

    def rates(self, split: Split) -> np.ndarray:
        return _set_probabilities() @ _SETS

    def label_sets(self, rng: np.random.Generator, groups: np.ndarray, split: Split) -> np.ndarray:
        return _SETS[rng.choice(len(_SETS), len(groups), p=_set_probabilities())]

    def posterior(self, shown: Shown, split: Split = "test") -> np.ndarray:
        log_joint = np.log(_set_probabilities()) + self.log_ratio(shown).sum(axis=1) @ _SETS.T
        return softmax(log_joint, axis=1) @ _SETS


def _set_probabilities() -> np.ndarray:
    """(2^L,) P(label set)."""
    first, second = _SETS[:, :2].T
    present = np.full(_SETS.shape, 0.5)
    present[:, 2] = np.where(first, 0.9, 0.05)
    present[:, 3] = np.where(first & second, 0.9, 0.05)
    return np.where(_SETS, present, 1 - present).prod(axis=1)


class Rare(Probe):
    """Labels that few samples have.

    Attributes:
        rate: Share of the samples that have a label.
    """

    drawn: ClassVar[int] = 300_000

    strength: PositiveFloat = 0.7
    valid_samples: PositiveInt = 800
    test_samples: PositiveInt = 1600
    rate: float = Field(default=0.02, gt=0, lt=1)

    def rates(self, split: Split) -> np.ndarray:
        return np.full(len(LABELS), self.rate)


class Shift(Probe):
    """Prevalence that shifts between validation and test: what was rare is frequent, and back.

    The Bayes-optimal score is that of who knows the rates of the test split.
    """

    strength: PositiveFloat = 0.4

    def rates(self, split: Split) -> np.ndarray:
        rates = np.array([0.5, 0.5, 0.1, 0.1])
        return rates[::-1] if split == "test" else rates


class Dependent(Probe):
    """Samples of a group resemble each other: they share labels, and a shift that is not theirs.

    So errors come in groups, and intervals that take samples for independent are too narrow. What
    other samples of its group tell of a sample does not count in the Bayes-optimal score.

    Attributes:
        alike: Probability that a sample has the labels of its group's first one.
        spread: Standard deviation of the groups' shifts, which every step of a group has.
    """

    strength: PositiveFloat = 1.0
    group_size: int = Field(default=8, ge=1)
    alike: float = Field(default=0.7, ge=0, le=1)
    spread: float = Field(default=0.5, ge=0)

    def label_sets(self, rng: np.random.Generator, groups: np.ndarray, split: Split) -> np.ndarray:
        return in_groups(rng, super().label_sets(rng, groups, split), groups, self.alike)

    def added(
        self, rng: np.random.Generator, labels: np.ndarray, there: np.ndarray, groups: np.ndarray
    ) -> np.ndarray:
        shifts = rng.normal(0, self.spread, (groups.max() + 1, len(MODALITIES), len(LABELS)))
        own = self.strength * labels[:, None, :]
        return in_every_step(own + shifts[groups], there)

    def log_ratio(self, shown: Shown) -> np.ndarray:
        # The mean over a modality's steps tells all; its variance is spread^2 + 1 / steps.
        steps = shown.counts[:, :, None]
        sure = shown.sums - self.strength / 2 * steps
        return self.strength * sure / (1 + self.spread**2 * steps)
