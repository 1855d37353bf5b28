from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mmer.metrics.scores import Scores

RATES = np.array([0.53, 0.24, 0.23, 0.17, 0.09, 0.08])
LABELS = ("happy", "sad", "anger", "disgust", "surprise", "fear")


@pytest.fixture(scope="session")
def draw() -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Scores, truth and group numbers of samples that resemble each other within a group."""

    def drawn(
        seed: int, samples: int = 600, bias: float | np.ndarray = 0.0, slope: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        groups = np.arange(samples) // 6
        odds = np.log(RATES / (1 - RATES)) - 0.5 + 1.5 * rng.normal(size=(samples, len(RATES)))
        odds += 0.7 * rng.normal(size=(groups[-1] + 1, len(RATES)))[groups]
        truth = rng.random(odds.shape) < 1 / (1 + np.exp(-odds))
        scores = 1 / (1 + np.exp(-(slope * odds + bias)))
        return scores, truth.astype(np.uint8), groups

    return drawn


@pytest.fixture(scope="session")
def as_scores(toy_scores) -> Callable[..., Scores]:
    """`Scores` of the validation split from what `draw` gives."""

    def made(scores: np.ndarray, truth: np.ndarray, groups: np.ndarray, **info: object) -> Scores:
        told = {"labels": LABELS[: scores.shape[1]], "model": "0123", **info}
        names = tuple(f"video{g}" for g in groups)
        return replace(toy_scores(scores, truth, **told), group_ids=names)

    return made
