"""How much a system leans on each modality: what it is worth with some of them hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np

from mmer.calibration.calibration import Calibration
from mmer.evaluation.assessment import EvaluationSettings, judged_by
from mmer.metrics.intervals import Interval, headline_intervals
from mmer.metrics.scores import Scores
from mmer.samples.batches import Present
from mmer.schema import Record
from mmer.terminal import bar

_MOST_FOR_ALL_SUBSETS = 4


class SubsetFigures(Record):
    """Headline metrics with these modalities shown and the others hidden."""

    modalities: tuple[str, ...]
    intervals: dict[str, Interval]


class MissingRateFigures(Record):
    """Figures where each modality of each sample is hidden at random.

    Attributes:
        rate: Probability of being hidden.
        hidden: Share that was: below the rate, because every sample keeps a modality.
        intervals: Headline metric -> its mean over the draws, with an interval.
    """

    rate: float
    hidden: float
    intervals: dict[str, Interval]


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
    count = len(scores.truth)

    def figures(*draws: np.ndarray) -> dict[str, Interval]:
        judged = []
        for shown in draws:
            hidden = [m for m, column in zip(modalities, shown.T, strict=True) if not column.all()]
            title = " without ".join([scores.info.title, *hidden])
            info = scores.info.model_copy(update={"title": title})
            given = score(dict(zip(modalities, shown.T, strict=True)))
            judged.append(judged_by(replace(scores, info=info, scores=given), calibration))
            progress.advance()
        return headline_intervals(judged, resamples=settings.resamples, seed=settings.seed)

    subsets = modality_subsets(modalities)
    times = len(subsets) + len(settings.missing_rates) * settings.repeats
    with bar(f"{scores.info.title} without modalities", times) as progress:
        return Robustness(
            model=scores.info.model,
            by_subset=tuple(
                SubsetFigures(
                    modalities=subset,
                    intervals=figures(np.tile([m in subset for m in modalities], (count, 1))),
                )
                for subset in subsets
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
    figures: Callable[..., dict[str, Interval]], size: tuple[int, int], settings: EvaluationSettings
) -> tuple[MissingRateFigures, ...]:
    rng, rows = np.random.default_rng(settings.seed), []
    for rate in settings.missing_rates if size[1] > 1 else ():
        repeats = settings.repeats if rate else 1
        draws = [draw_shown(rng, *size, rate) for _ in range(repeats)]
        hidden = np.mean(~np.array(draws))
        rows.append(MissingRateFigures(rate=rate, hidden=hidden, intervals=figures(*draws)))
    return tuple(rows)
