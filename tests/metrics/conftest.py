"""Scores to evaluate, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mmer.metrics.scores import Scores

LABELS = ("happy", "sad", "anger", "surprise", "disgust", "fear")


@pytest.fixture(scope="session")
def drawn_scores(toy_scores) -> Callable[..., Scores]:
    """Scores in which the truth shows, more the larger `signal` is."""

    def drawn(
        samples: int = 60,
        labels: int = 3,
        seed: int = 0,
        *,
        per_group: int = 4,
        signal: float = 0.4,
        truth: np.ndarray | None = None,
        **info: object,
    ) -> Scores:
        generator = np.random.default_rng(seed)
        if truth is None:
            truth = (generator.random((samples, labels)) < 0.4).astype(np.uint8)
        scores = signal * truth + (1 - signal) * generator.random(truth.shape)
        told = {"labels": LABELS[: truth.shape[1]], "model": f"digest-{seed}", **info}
        return toy_scores(scores, truth, "test", groups_of=per_group, **told)

    return drawn
