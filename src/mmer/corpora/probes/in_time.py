"""Probes of where in time the evidence is. Every modality is there and shows it by itself."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveFloat

from mmer.corpora.probes.probe import LABELS, WIDTH, Probe, Shown

_OWN = slice(0, len(LABELS))
_OTHER = slice(len(LABELS), WIDTH)


class Mean(Probe):
    """Evidence in the mean over time: a label adds a little to every step."""

    strength: PositiveFloat = 0.45


class Moment(Probe):
    """Evidence in one moment: a label adds to a single step, which may be any.

    Where the label is absent, as much is added in total, but spread evenly over all steps. So the
    mean over time has the same distribution in both cases.
    """

    strength: PositiveFloat = 3.0

    def added(
        self, rng: np.random.Generator, labels: np.ndarray, there: np.ndarray, groups: np.ndarray
    ) -> np.ndarray:
        values = np.zeros((*there.shape, WIDTH))
        [at] = _distinct_steps(rng, there, 1)
        spread = there / there.sum(axis=2, keepdims=True)
        present = labels[:, None, None, :]
        values[..., _OWN] = self.strength * np.where(present, at, spread[..., None])
        return values

    def log_ratio(self, shown: Shown) -> np.ndarray:
        steps = shown.counts[:, :, None]
        moment = _ratios(shown, self.strength, _OWN).sum(axis=2) / steps
        spread = self.strength * (shown.sums - self.strength / 2) / steps
        return np.log(moment) - spread


class Order(Probe):
    """Evidence in the order of two moments: a label is present where the first is before the other.

    Both moments always occur, in different steps and coordinates. So whatever does not depend on
    the order of steps has the same distribution whether the label is present or not.
    """

    strength: PositiveFloat = 2.5

    def added(
        self, rng: np.random.Generator, labels: np.ndarray, there: np.ndarray, groups: np.ndarray
    ) -> np.ndarray:
        values = np.zeros((*there.shape, WIDTH))
        one, other = _distinct_steps(rng, there, 2)
        one_first = one.argmax(axis=2) < other.argmax(axis=2)
        as_they_are = (one_first == labels[:, None, :])[:, :, None, :]
        values[..., _OWN] = self.strength * np.where(as_they_are, one, other)
        values[..., _OTHER] = self.strength * np.where(as_they_are, other, one)
        return values

    def log_ratio(self, shown: Shown) -> np.ndarray:
        one, other = (_ratios(shown, self.strength, part) for part in (_OWN, _OTHER))
        one_first = (_sums_before(one) * other).sum(axis=2)
        other_first = (_sums_before(other) * one).sum(axis=2)
        return np.log(one_first / other_first)


def _distinct_steps(rng: np.random.Generator, there: np.ndarray, count: int) -> list[np.ndarray]:
    """Different steps of each sample, modality and label, at random: (N, M, T, L) where each is."""
    order = rng.random((*there.shape, len(LABELS))) - ~there[..., None]
    rank = np.argsort(-order, axis=2, kind="stable")
    return [np.arange(there.shape[2])[:, None] == rank[:, :, [n], :] for n in range(count)]


def _ratios(shown: Shown, strength: float, coordinates: slice) -> np.ndarray:
    """(N, M, T, L) p(step | it is the moment) over p(step | it is not); 0 where there is none."""
    values = shown.values[..., coordinates].astype(np.float64)
    return np.exp(strength * (values - strength / 2)) * shown.there[..., None]


def _sums_before(ratios: np.ndarray) -> np.ndarray:
    """(N, M, T, L) sum over all earlier steps."""
    return np.cumsum(ratios, axis=2) - ratios
