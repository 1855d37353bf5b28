"""What every probe is: labels drawn at known rates, steps of noise, and what labels add to them.

A step of a modality has D coordinates of standard normal noise. The first of them carry the
evidence; which, and what a label adds to them, says each probe, and its posterior follows from the
same class. Unless a probe says otherwise, labels are independent, every modality is there, and a
label adds its strength to its own coordinate in all steps of every modality.

Shapes: N samples, M modalities, T steps of the longest sample, D coordinates, L labels.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from scipy.special import expit, logit

from mmer.corpora.bayes_optimal import bayes_optimal_scores
from mmer.samples.table import Split
from mmer.schema import Settings

MODALITIES = ("text", "visual", "audio")
LABELS = ("first", "second", "third", "fourth")
WIDTH = 2 * len(LABELS)
"""D: a label has one coordinate, or two."""
_FEWEST_STEPS, _MOST_STEPS = 6, 16
_RATE = 0.3
_DRAWN_AT_ONCE = 10_000


class Shown(NamedTuple):
    """What N samples show of themselves, in the coordinates of the evidence.

    Attributes:
        values: (N, M, T, D), 0 where there is no step.
        there: (N, M, T) whether there is a step: not behind a sample's last one, and none of a
            modality that it lacks.
    """

    values: np.ndarray
    there: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """(N, M) steps; 0 of a modality that is absent."""
        return self.there.sum(axis=2)

    @property
    def sums(self) -> np.ndarray:
        """(N, M, L) of each label's own coordinate, over the steps."""
        return self.values[..., : len(LABELS)].sum(axis=2, dtype=np.float64)


class Probe(Settings):
    """Size and difficulty of a probe, how its samples are drawn, and what they tell.

    Attributes:
        seed: The same seed gives the same bytes.
        strength: What a label adds to a coordinate, in standard deviations of a step's noise.
        train_samples, valid_samples, test_samples: Samples of each split.
        group_size: Samples of a group; the last of a split may have fewer.
    """

    drawn: ClassVar[int] = 100_000
    """Samples of which the Bayes-optimal score is the mean."""

    seed: NonNegativeInt = 1
    strength: PositiveFloat
    train_samples: PositiveInt = 1600
    valid_samples: PositiveInt = 250
    test_samples: PositiveInt = 400
    group_size: int = Field(default=4, ge=1)

    def rates(self, split: Split) -> np.ndarray:
        """(L,) how often each label occurs."""
        return np.full(len(LABELS), _RATE)

    def label_sets(self, rng: np.random.Generator, groups: np.ndarray, split: Split) -> np.ndarray:
        """(N, L) labels, 0 or 1, of samples of these groups, numbered from 0: (N,)."""
        return (rng.random((len(groups), len(LABELS))) < self.rates(split)).astype(np.uint8)

    def present(self, rng: np.random.Generator, groups: np.ndarray) -> np.ndarray:
        """(N, M) whether a sample has the modality; it has at least one."""
        return np.ones((len(groups), len(MODALITIES)), bool)

    @property
    def tells(self) -> np.ndarray:
        """(M, L) whether the modality tells of the label."""
        return np.ones((len(MODALITIES), len(LABELS)), bool)

    def added(
        self, rng: np.random.Generator, labels: np.ndarray, there: np.ndarray, groups: np.ndarray
    ) -> np.ndarray:
        """What labels (N, L) add to the noise of samples with these steps, (N, M, T, D)."""
        return in_every_step(self.strength * labels[:, None, :] * self.tells, there)

    def log_ratio(self, shown: Shown) -> np.ndarray:
        """(N, M, L) log of p(modality | label present) over p(modality | label absent)."""
        sure = shown.sums - self.strength / 2 * shown.counts[:, :, None]
        return self.strength * self.tells * sure

    def posterior(self, shown: Shown, split: Split = "test") -> np.ndarray:
        """(N, L) P(label present | all that the sample shows), in a split."""
        return expit(logit(self.rates(split)) + self.log_ratio(shown).sum(axis=1))

    def draw(
        self, rng: np.random.Generator, groups: np.ndarray, split: Split
    ) -> tuple[np.ndarray, Shown]:
        """Labels (N, L) of samples of these groups, and what the samples show."""
        labels, count = self.label_sets(rng, groups, split), len(groups)
        lengths = rng.integers(_FEWEST_STEPS, _MOST_STEPS + 1, count)
        steps = np.arange(_MOST_STEPS) < lengths[:, None]
        there = steps[:, None, :] & self.present(rng, groups)[:, :, None]
        noise = rng.standard_normal((*there.shape, WIDTH), np.float32)
        values = noise + self.added(rng, labels, there, groups).astype(np.float32)
        return labels, Shown(values * there[..., None], there)

    def bayes_optimal(self) -> dict[str, float]:
        """Micro- and macro-F1 on the test split that no system exceeds in expectation.

        Of a sample by itself, from many drawn ones: to about 0.001.
        """
        rng, groups = np.random.default_rng(0), np.arange(_DRAWN_AT_ONCE)
        drawn = (self.draw(rng, groups, "test")[1] for _ in range(self.drawn // _DRAWN_AT_ONCE))
        return bayes_optimal_scores(np.concatenate([self.posterior(shown) for shown in drawn]))


def in_every_step(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """(N, M, L) as the labels' own coordinates of every step, the others 0: (N, M, T, D)."""
    everywhere = np.zeros((*there.shape, WIDTH))
    everywhere[..., : len(LABELS)] = values[:, :, None, :]
    return everywhere


def in_groups(
    rng: np.random.Generator, own: np.ndarray, groups: np.ndarray, alike: float
) -> np.ndarray:
    """Rows (N, ...), each with probability `alike` replaced by that of its group's first sample."""
    _, first = np.unique(groups, return_index=True)
    return np.where((rng.random(len(own)) < alike)[:, None], own[first][groups], own)
