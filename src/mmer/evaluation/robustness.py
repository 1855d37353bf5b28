"""How much a system leans on each modality: scores with some of them hidden."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from mmer.errors import InputError
from mmer.evaluation.metrics import decide, decision_metrics
from mmer.samples.scores import Scores
from mmer.samples.table import MODALITIES

SUBSETS = tuple(
    subset for size in range(len(MODALITIES), 0, -1) for subset in combinations(MODALITIES, size)
)
MISSING_RATES = (0.0, 0.2, 0.4, 0.6, 0.8)
_SHOWN = ("micro_f1", "macro_f1", "accuracy")

Present = dict[str, np.ndarray]
"""Modality -> (N,) bool: where False, the modality is hidden from the system."""


def by_modality_subset(
    score: Callable[[Present], np.ndarray], scores: Scores, thresholds: np.ndarray
) -> list[dict]:
    """Metrics with each of the seven subsets of modalities shown, the others hidden.

    Args:
        score: Scores of the system, (N, L), where only the modalities given as present are shown.
        scores: The system's scores on the same N samples, for their truth and names.
        thresholds: (L,), those chosen with all modalities shown.

    Returns:
        One row per subset, the full set first: `modalities`, `micro_f1`, `macro_f1`, `accuracy`.

    Raises:
        InputError: `score` gives another shape, or values that are no scores.
    """
    count = len(scores.sample_ids)
    rows = []
    for subset in SUBSETS:
        present = {m: np.full(count, m in subset) for m in MODALITIES}
        rows.append({"modalities": list(subset), **_metrics(score, present, scores, thresholds)})
    return rows


def by_missing_rate(
    score: Callable[[Present], np.ndarray],
    scores: Scores,
    thresholds: np.ndarray,
    *,
    rates: Sequence[float] = MISSING_RATES,
    repeats: int = 2,
    seed: int = 0,
) -> list[dict]:
    """Metrics where each modality of each sample is hidden at random.

    Modalities are hidden independently; a sample that would lose all three keeps one, drawn at
    random. So the share that is truly hidden, `hidden`, stays a little below the rate, and at rate
    1 is two thirds.

    Args:
        score: As in `by_modality_subset`.
        scores: As in `by_modality_subset`.
        thresholds: (L,), those chosen with all modalities shown.
        rates: Chances of being hidden, in [0, 1].
        repeats: Draws per rate, of which the mean is reported.
        seed: Of the draws.

    Returns:
        One row per rate: `rate`, `hidden`, and the mean of `micro_f1`, `macro_f1` and `accuracy`
        over the draws (None if undefined in one).

    Raises:
        InputError: A rate outside [0, 1]; `score` gives another shape, or values that are no
            scores.
    """
    generator, count, rows = np.random.default_rng(seed), len(scores.sample_ids), []
    for rate in rates:
        if not 0 <= rate <= 1:
            raise InputError("robustness", "missing rate", "a number in [0, 1]", rate)
        draws = []
        for _ in range(repeats if rate > 0 else 1):
            shown = draw_shown(generator, count, rate)
            present = dict(zip(MODALITIES, shown.T, strict=True))
            metrics = _metrics(score, present, scores, thresholds)
            draws.append({"hidden": float((~shown).mean()), **metrics})
        rows.append({"rate": float(rate), **{name: _mean(draws, name) for name in draws[0]}})
    return rows


def draw_shown(generator: np.random.Generator, count: int, rate: float) -> np.ndarray:
    """(N, 3) bool: which modalities are shown, at least one per sample."""
    shown = generator.random((count, len(MODALITIES))) >= rate
    kept = generator.integers(len(MODALITIES), size=count)
    lost = ~shown.any(axis=1)
    shown[lost, kept[lost]] = True
    return shown


def _metrics(
    score: Callable[[Present], np.ndarray],
    present: Present,
    scores: Scores,
    thresholds: np.ndarray,
) -> dict[str, float | None]:
    hidden = [m for m in MODALITIES if not present[m].all()]
    system = f"{scores.system} without {', '.join(hidden)}" if hidden else scores.system
    masked = replace(scores, scores=np.asarray(score(present)), system=system)
    metrics = decision_metrics(masked.truth, decide(masked, thresholds))
    return {name: metrics[name] for name in _SHOWN}


def _mean(draws: list[dict], name: str) -> float | None:
    values = [draw[name] for draw in draws]
    return None if None in values else float(np.mean(values))
