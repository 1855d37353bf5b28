"""Systems trained with several seeds, compared on the same test samples.

What is asked is how good a *system* is, so the figure of a system is the mean over its seeds, and
two things make it unsure: which recordings happen to be in the split, and which seeds happened to
be drawn. The first is the bootstrap over groups, the same groups for all systems and seeds. The
second is the standard error of the mean over S seeds, s / sqrt(S), times Student's t of S - 1
degrees of freedom, because s itself is known from S seeds only. Both are added, draw by draw; those
of two systems are independent (Welch's problem; Fisher's fiducial solution, which errs on the side
of caution). With one seed the second is unknown and left out, and `SystemSeeds.seeds` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from mmer.metrics.intervals import (
    RESAMPLES,
    Bootstrap,
    Difference,
    Drawn,
    Interval,
    by_name,
    check_paired,
    corrected,
    difference_of,
    enough_resamples,
    interval_of,
)
from mmer.metrics.metrics import number
from mmer.metrics.resampled import LOWER_IS_BETTER, UNBOUNDED, Judged
from mmer.metrics.scores import ScoresInfo
from mmer.schema import Record


class SeedFigure(Record):
    """A figure of a system.

    Attributes:
        values: One for each seed.
        mean: Their mean, with an interval over groups and, if there are several, seeds.
        deviation: Their standard deviation (of a sample, divisor S - 1); None for one seed.
    """

    values: tuple[float | None, ...]
    mean: Interval
    deviation: float | None


class SystemSeeds(Record):
    """A system with all of its seeds.

    Attributes:
        info: Of the first seed's scores.
        seeds: S of them; empty if the system draws no random numbers, so that one fit is all.
        models: Digest of each.
        metrics: Names of `METRICS` -> figure.
        label_f1: Label -> figure.
    """

    info: ScoresInfo
    seeds: tuple[int, ...]
    models: tuple[str, ...]
    metrics: dict[str, SeedFigure]
    label_f1: dict[str, SeedFigure]


class Pair(Record):
    """Two systems, by title: the first minus the second; p-values are corrected over all pairs."""

    first: str
    second: str
    metrics: dict[str, Difference]


class ComparedSystems(Record):
    """Several systems, each with several seeds, on the same samples.

    Attributes:
        pairs: Every two of them, in their order.
    """

    systems: tuple[SystemSeeds, ...]
    pairs: tuple[Pair, ...]
    bootstrap: Bootstrap
    samples: int

    @property
    def info(self) -> ScoresInfo:
        """What the samples are."""
        return self.systems[0].info

    def difference(self, first: str, second: str, metric: str) -> Difference:
        """One system (title) minus another."""
        pairs = {(pair.first, pair.second): pair.metrics[metric] for pair in self.pairs}
        return pairs.get((first, second)) or _reversed(pairs[second, first])

    def smallest_p_value(self, metric: str) -> float:
        """What no corrected p-value of the metric's differences falls below."""
        known = sum(pair.metrics[metric].p_value is not None for pair in self.pairs)
        return min(1.0, known * self.bootstrap.smallest_p_value)


class Replicate(NamedTuple):
    """One seed of a system; None if the system draws no random numbers."""

    seed: int | None
    judged: Judged


class _System(NamedTuple):
    """All seeds of a system: K figures of each, and their resamples with the seeds' uncertainty.

    Attributes:
        values: (S, K).
        resampled: K times (R,).
        effective_groups: (K,) that each figure rests on.
    """

    values: np.ndarray
    resampled: list[np.ndarray]
    effective_groups: np.ndarray


def compare_seeds(
    systems: Mapping[str, Sequence[Replicate]], *, resamples: int = RESAMPLES, seed: int = 0
) -> ComparedSystems:
    """Figures of every system over its seeds, and of every two systems the difference.

    Raises:
        InputError: Not all were scored on the same samples of the same tables; fewer than two
            groups.
    """
    replicates = [one for several in systems.values() for one in several]
    first = replicates[0].judged
    for one in replicates[1:]:
        check_paired(first.scores, one.judged.scores)
    pairs = len(systems) * (len(systems) - 1) // 2
    resamples = enough_resamples(resamples, first.scores, pairs)
    drawn: dict[str, _System] = {}
    for place, (name, several) in enumerate(systems.items()):
        each = [Drawn.of(one.judged, resamples, seed) for one in several]
        drawn[name] = _over_seeds(each, np.random.default_rng([seed, place]))
        bootstrap = each[0].bootstrap
    return ComparedSystems(
        systems=tuple(_system(systems[name], one) for name, one in drawn.items()),
        pairs=_pairs(
            first,
            list(drawn.values()),
            [several[0] for several in systems.values()],
            bootstrap.effective_groups,
        ),
        bootstrap=bootstrap,
        samples=len(first.scores.truth),
    )


def _over_seeds(each: Sequence[Drawn], generator: np.random.Generator) -> _System:
    values = np.stack([one.values for one in each])
    by_figure = zip(*(one.resampled for one in each), strict=True)
    columns = [np.mean(several, axis=0) for several in by_figure]
    if len(each) > 1:
        errors = values.std(axis=0, ddof=1) / np.sqrt(len(each))
        columns = [
            column + error * generator.standard_t(len(each) - 1, len(column))
            for column, error in zip(columns, errors, strict=True)
        ]
    return _System(values, columns, each[0].effective_groups)


def _system(several: Sequence[Replicate], found: _System) -> SystemSeeds:
    columns = zip(found.values.T, found.resampled, found.effective_groups, strict=True)
    rows = [_figure(*one) for one in columns]
    metrics, label_f1 = by_name(rows, several[0].judged)
    within = {name: _inside(one, name) for name, one in metrics.items()}
    return SystemSeeds(
        info=several[0].judged.scores.info,
        seeds=tuple(one.seed for one in several if one.seed is not None),
        models=tuple(one.judged.scores.info.model for one in several),
        metrics=within,
        label_f1={label: _inside(one) for label, one in label_f1.items()},
    )


def _inside(figure: SeedFigure, name: str = "") -> SeedFigure:
    """Cut an interval to what is possible: with two seeds, Student's t reaches far beyond."""
    mean = figure.mean
    if mean.low is None or mean.high is None:
        return figure
    most = np.inf if name in UNBOUNDED else 1.0
    ends = {"low": max(0.0, mean.low), "high": min(most, mean.high)}
    return figure.model_copy(update={"mean": mean.model_copy(update=ends)})


def _figure(values: np.ndarray, resampled: np.ndarray, groups: float) -> SeedFigure:
    return SeedFigure(
        values=tuple(map(number, values)),
        mean=interval_of(float(values.mean()), resampled, groups),
        deviation=number(values.std(ddof=1)) if len(values) > 1 else None,
    )


def _pairs(
    judged: Judged, found: Sequence[_System], replicates: Sequence[Replicate], groups: float
) -> tuple[Pair, ...]:
    titles = [one.judged.scores.info.title for one in replicates]
    numbers = list(combinations(range(len(found)), 2))
    metrics = [_differences(found[i], found[j], judged, groups) for i, j in numbers]
    for name in metrics[0] if metrics else ():
        known = [of for of in metrics if of[name].p_value is not None]
        for of, one in zip(known, corrected([of[name] for of in known]), strict=True):
            of[name] = one
    return tuple(
        Pair(first=titles[i], second=titles[j], metrics=of)
        for (i, j), of in zip(numbers, metrics, strict=True)
    )


def _differences(
    first: _System, second: _System, judged: Judged, groups: float
) -> dict[str, Difference]:
    values = first.values.mean(axis=0) - second.values.mean(axis=0)
    columns = [a - b for a, b in zip(first.resampled, second.resampled, strict=True)]
    rows = [difference_of(*one, groups) for one in zip(values, columns, strict=True)]
    metrics, _ = by_name(rows, judged)
    for name in LOWER_IS_BETTER:
        metrics[name] = metrics[name].model_copy(update={"lower_is_better": True})
    return metrics


def _reversed(one: Difference) -> Difference:
    if one.difference is None or one.low is None or one.high is None:
        return one
    turned = {"difference": -one.difference, "low": -one.high, "high": -one.low}
    return one.model_copy(update=turned)
