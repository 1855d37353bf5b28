"""Scores to evaluate, made from a seed or by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mmer.samples.scores import Scores

LABELS = ("happy", "sad", "anger", "surprise", "disgust", "fear")


def make_scores(
    samples: int = 60,
    labels: int = 3,
    seed: int = 0,
    *,
    per_group: int = 4,
    signal: float = 0.4,
    truth: np.ndarray | None = None,
    scores: np.ndarray | None = None,
    **changes: object,
) -> Scores:
    """Scores in which the truth shows, more the larger `signal` is."""
    generator = np.random.default_rng(seed)
    if truth is None:
        truth = (generator.random((samples, labels)) < 0.4).astype(np.uint8)
    samples, labels = truth.shape
    if scores is None:
        noise = generator.random(truth.shape)
        scores = signal * truth + (1 - signal) * noise
    fields = {
        "scores": scores,
        "truth": truth,
        "sample_ids": tuple(f"video{i // per_group}[{i % per_group}]" for i in range(samples)),
        "group_ids": tuple(f"video{i // per_group}" for i in range(samples)),
        "labels": LABELS[:labels],
        "split": "test",
        "weights": f"weights-{seed}",
        "synthetic": True,
    }
    return Scores(**{**fields, **changes})


@pytest.fixture(scope="session")
def toy_scores() -> Callable[..., Scores]:
    return make_scores
