"""How much a system leans on each modality: what it is worth with some of them hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from mmer.calibration.calibration import Calibration
from mmer.evaluation.assessment import EvaluationSettings, Headline, headlines
from mmer.metrics.decisions import decide
from mmer.metrics.metrics import number
from mmer.metrics.scores import Scores
from mmer.samples.batches import Present
from mmer.schema import Record

_MOST_FOR_ALL_SUBSETS = 4


class SubsetFigures(Record):
    """Figures with these modalities shown and the others hidden."""

    modalities: tuple[str, ...]
    figures: Headline


class MissingRateFigures(Record):
    """Figures where each modality of each sample is hidden at random.

    Attributes:
        rate: Probability of being hidden.
        hidden: Share that was: below the rate, because every sample keeps a modality.
        figures: Means over the draws; None if undefined in one.
    """

    rate: float
    hidden: float
    figures: Headline


class Robustness(Record):
    """What a system is worth with modalities hidden; no rates where there is only one modality."""

    model: str
    by_subset: tuple[SubsetFigures, ...]
    by_missing_rate: tuple[MissingRateFigures, ...]


def measure_robustness(
    score: Callable[[Present], np.ndarray],
    scores: Scores,
    calibration: Calibration,
    settings: EvaluationSettings,
    modalities: tuple[str, ...],
) -> Robustness:
    """Figures with modalities hidden, under the thresholds chosen with all of them shown.

    Args:
        score: Scores of the system, (N, L), where only the modalities given as present are shown.
        scores, calibration: Of the system, on the same N samples.
        settings: Rates, repeats and seed.
        modalities: M names.

    Raises:
        InputError: The calibration belongs to another model; `score` gives another shape, or values
            that are no scores.
    """
    calibration.check(scores.info.model, scores.info.fingerprint)
    thresholds, count = np.array(calibration.thresholds), len(scores.truth)

    def figures(shown: np.ndarray) -> Headline:
        hidden = [m for m, column in zip(modalities, shown.T, strict=True) if not column.all()]
        title = " without ".join([scores.info.title, *hidden])
        info = scores.info.model_copy(update={"title": title})
        given = score(dict(zip(modalities, shown.T, strict=True)))
        present = decide(replace(scores, info=info, scores=given).scores, thresholds)
        return headlines(present, scores.truth, np.zeros(count, np.int64))[0]

    return Robustness(
        model=scores.info.model,
        by_subset=tuple(
            SubsetFigures(
                modalities=subset,
                figures=figures(np.tile([m in subset for m in modalities], (count, 1))),
            )
            for subset in modality_subsets(modalities)
        ),
        by_missing_rate=_by_missing_rate(figures, (count, len(modalities)), settings),
    )


def modality_subsets(modalities: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All subsets; of more than four modalities the full one, those that lack one, and singles."""
    most = len(modalities)
    sizes = range(most, 0, -1) if most <= _MOST_FOR_ALL_SUBSETS else (most, most - 1, 1)
    return [subset for size in sizes for subset in combinations(modalities, size)]


def draw_shown(rng: np.random.Generator, count: int, modalities: int, rate: float) -> np.ndarray:
    """(N, M) bool: each is hidden at `rate`; a sample that would lose all keeps one, at random."""
    shown = rng.random((count, modalities)) >= rate
    kept = rng.integers(modalities, size=count)
    lost = ~shown.any(axis=1)
    shown[lost, kept[lost]] = True
    return shown


def _by_missing_rate(
    figures: Callable[[np.ndarray], Headline], size: tuple[int, int], settings: EvaluationSettings
) -> tuple[MissingRateFigures, ...]:
    rng, rows = np.random.default_rng(settings.seed), []
    for rate in settings.missing_rates if size[1] > 1 else ():
        repeats = settings.repeats if rate else 1
        draws = [draw_shown(rng, *size, rate) for _ in range(repeats)]
        found = pd.DataFrame([dict(figures(shown)) for shown in draws], dtype=float)
        means = {name: number(value) for name, value in found.mean(skipna=False).items()}
        hidden = np.mean(~np.array(draws))
        rows.append(MissingRateFigures(rate=rate, hidden=hidden, figures=Headline(**means)))
    return tuple(rows)
