"""Systems trained with several seeds, compared on the same test samples.

What is asked is how good a *system* is, so the figure of a system is the mean over its seeds, and
two things make it unsure: which recordings happen to be in the split, and which seeds happened to
be drawn. For the first there is the interval of the bootstrap over groups (`metrics.intervals`), of
the same groups for all systems and seeds; for the second Student's interval of a mean over S seeds,
s / sqrt(S) times t of S - 1 degrees of freedom, and of two systems Welch's. Distances to the ends
of independent intervals add by their squares (the method of variance estimates recovery; Zou and
Donner 2008, "Construction of confidence limits about effect measures"). With one seed the second is
unknown and left out, and `SystemSeeds.seeds` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from pydantic import Field
from scipy.special import stdtrit

from mmer.errors import InputError
from mmer.metrics.counts import Counts
from mmer.metrics.intervals import (
    LEVEL,
    RESAMPLES,
    Bootstrap,
    Difference,
    Drawn,
    Interval,
    by_name,
    check_paired,
    corrected,
    difference_of,
    differences_by_name,
    enough_resamples,
    interval_of,
    tail_of,
)
from mmer.metrics.metrics import number
from mmer.metrics.resampled import UNBOUNDED, Judged
from mmer.metrics.scores import ScoresInfo
from mmer.schema import Record

_HALVINGS = 40


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
        pairs: Every two of them, in their order; or the first with each of the others.
        of_every_label: Micro- and macro-F1 of predicting every label for every sample.
    """

    systems: tuple[SystemSeeds, ...]
    pairs: tuple[Pair, ...]
    bootstrap: Bootstrap
    samples: int
    of_every_label: dict[str, float] = Field(default={})

    @property
    def info(self) -> ScoresInfo:
        """What the samples are."""
        return self.systems[0].info

    def difference(self, first: str, second: str, metric: str) -> Difference:
        """One system (title) minus another."""
        pairs = {(pair.first, pair.second): pair.metrics[metric] for pair in self.pairs}
        return pairs.get((first, second)) or _reversed(pairs[second, first])

    def share_of_possible(self, title: str, metric: str) -> Interval | None:
        """Of the way from predicting every label to the Bayes-optimal score, how much a system
        goes: below 0 if it is worse than the former. None where the latter is not known.
        """
        first, last = self.of_every_label.get(metric), self.info.bayes_optimal.get(metric)
        if first is None or last is None or last <= first:
            return None
        figure = next(one for one in self.systems if one.info.title == title).metrics[metric]

        def share(value: float | None) -> float | None:
            return None if value is None else (value - first) / (last - first)

        ends = {name: share(getattr(figure.mean, name)) for name in ("value", "low", "high")}
        return figure.mean.model_copy(update=ends)

    def smallest_p_value(self, metric: str) -> float:
        """What no corrected p-value of the metric's differences falls below."""
        known = sum(pair.metrics[metric].p_value is not None for pair in self.pairs)
        return min(1.0, known * self.bootstrap.smallest_p_value)


class ComparedOn(Record):
    """A comparison, and the title of the corpus that it was made on; with what has to be known of
    that, if anything.
    """

    corpus: str
    compared: ComparedSystems
    caveat: str = ""


class ComparedCorpora(Record):
    """Comparisons on several corpora; or of several systems with what remains of each without one
    of its parts: then the first of `compared.systems` is the whole system.
    """

    corpora: tuple[ComparedOn, ...]


class _System(NamedTuple):
    """All seeds of a system.

    Attributes:
        values: (S, K) figures.
        resampled: K times (R,), means over the seeds.
        effective_groups: (K,) that each figure rests on.
    """

    values: np.ndarray
    resampled: list[np.ndarray]
    effective_groups: np.ndarray


def compare_seeds(
    systems: Mapping[str, Sequence[Judged]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    against_first: bool = False,
) -> ComparedSystems:
    """Figures of every system over its seeds, and the difference of every two systems, or only of
    the first and each of the others if it is `against_first`.

    Raises:
        InputError: Not all were scored on the same samples of the same tables; the seeds of a
            system differ in more than the seed, or not at all; fewer than two groups.
    """
    first, *others = [one for several in systems.values() for one in several]
    for one in others:
        check_paired(first.scores, one.scores)
    pairs = [(i, j) for i, j in combinations(range(len(systems)), 2) if not (against_first and i)]
    resamples = enough_resamples(resamples, first.scores, len(pairs))
    drawn: dict[str, _System] = {}
    for name, several in systems.items():
        _check_alike(name, several)
        each = [Drawn.of(one, resamples, seed) for one in several]
        drawn[name] = _over_seeds(each)
        bootstrap = each[0].bootstrap
    return ComparedSystems(
        systems=tuple(_system(systems[name], one) for name, one in drawn.items()),
        pairs=_pairs(
            [several[0] for several in systems.values()],
            list(drawn.values()),
            bootstrap.effective_groups,
            pairs,
        ),
        bootstrap=bootstrap,
        samples=len(first.scores.truth),
        of_every_label=_of_every_label(first.scores.truth),
    )


def _of_every_label(truth: np.ndarray) -> dict[str, float]:
    counts = Counts.by_group(np.ones_like(truth, bool), truth > 0, np.zeros(len(truth), int))
    return {"micro_f1": counts.micro_f1().item(), "macro_f1": counts.macro_f1().item()}


def _check_alike(name: str, several: Sequence[Judged]) -> None:
    """Refuse what is no system with several seeds, with an InputError."""
    where, remedy = f"comparison, {name}", "Train its seeds again, in one run."
    infos = [one.scores.info for one in several]
    for info in infos:
        if (info.system, info.recipe) != (infos[0].system, infos[0].recipe):
            expected = f"the system and settings of seed {infos[0].seed}, {infos[0].recipe}"
            raise InputError(where, f"seed {info.seed}", expected, info.recipe, remedy)
    if len({info.model for info in infos}) < len(infos):
        raise InputError(where, "models", "another for each seed", "one twice", remedy)


def _over_seeds(each: Sequence[Drawn]) -> _System:
    columns = [np.mean(of, axis=0) for of in zip(*(one.resampled for one in each), strict=True)]
    values = np.stack([one.values for one in each])
    return _System(values, columns, each[0].effective_groups)


class _OfSeeds(NamedTuple):
    """Standard error of a mean over seeds, or of the difference of two, and its degrees of freedom.

    For two systems these are Welch's (1947, "The generalization of 'Student's' problem").
    """

    error: float
    degrees: float

    @classmethod
    def of(cls, *values: np.ndarray) -> _OfSeeds:
        """Of systems with values (S,) each; those of one seed tell nothing."""
        several = [one for one in values if len(one) > 1 and np.ptp(one) > 0]
        squares = np.array([one.var(ddof=1) / len(one) for one in several])
        freedom = np.array([len(one) - 1 for one in several])
        degrees = squares.sum() ** 2 / (squares**2 / freedom).sum() if several else 1.0
        return cls(float(np.sqrt(squares.sum())), float(degrees))

    def distance(self, error: float) -> float:
        """Half the width of the interval that is wrong with this probability."""
        return self.error * float(stdtrit(self.degrees, 1 - error / 2))


def _ends(
    value: float, rising: np.ndarray, groups: float, seeds: _OfSeeds, error: float
) -> tuple[float, float]:
    """Ends of the interval that is wrong with probability `error`; `rising` are the resamples."""
    tail = tail_of(groups, error)
    low, high = np.quantile(rising, [tail, 1 - tail])
    further = seeds.distance(error)
    below = np.hypot(max(0.0, value - low), further)
    above = np.hypot(max(0.0, high - value), further)
    return value - below, value + above


def _widened(found: Interval, resampled: np.ndarray, groups: float, seeds: _OfSeeds) -> Interval:
    """An interval over groups, with the seeds' part."""
    if found.value is None or found.low is None or not seeds.error:
        return found
    rising = np.sort(resampled[~np.isnan(resampled)])
    low, high = _ends(found.value, rising, groups, seeds, 1 - LEVEL)
    return found.model_copy(update={"low": low, "high": high})


def _unsure(found: Difference, resampled: np.ndarray, groups: float, seeds: _OfSeeds) -> Difference:
    """A difference over groups, with the seeds' part: its p-value is that of the interval which
    just reaches 0, and never below that over groups alone.
    """
    if found.difference is None or found.p_value is None or not seeds.error:
        return found
    value, rising = found.difference, np.sort(resampled[~np.isnan(resampled)])

    def holds_0(error: float) -> bool:
        low, high = _ends(value, rising, groups, seeds, error)
        return low <= 0 <= high

    p = least = found.p_value
    if holds_0(least):
        p = 1.0
        for _ in range(_HALVINGS):
            middle = np.sqrt(least * p)
            least, p = (middle, p) if holds_0(middle) else (least, middle)
    low, high = _ends(value, rising, groups, seeds, 1 - LEVEL)
    told = {"low": low, "high": high, "p_value": float(p)}
    return found.model_copy(update={**told, "significant": bool(not low <= 0 <= high)})


def _system(several: Sequence[Judged], found: _System) -> SystemSeeds:
    columns = zip(found.values.T, found.resampled, found.effective_groups, strict=True)
    rows = [_figure(*one) for one in columns]
    metrics, label_f1 = by_name(rows, several[0])
    within = {name: _inside(one, name) for name, one in metrics.items()}
    return SystemSeeds(
        info=several[0].scores.info,
        seeds=tuple(one.scores.info.seed for one in several if one.scores.info.seed is not None),
        models=tuple(one.scores.info.model for one in several),
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
    mean = interval_of(float(values.mean()), resampled, groups)
    return SeedFigure(
        values=tuple(map(number, values)),
        mean=_widened(mean, resampled, groups, _OfSeeds.of(values)),
        deviation=number(values.std(ddof=1)) if len(values) > 1 else None,
    )


def _pairs(
    firsts: Sequence[Judged],
    found: Sequence[_System],
    groups: float,
    numbers: Sequence[tuple[int, int]],
) -> tuple[Pair, ...]:
    titles = [one.scores.info.title for one in firsts]
    metrics = [_differences(found[i], found[j], firsts[i], groups) for i, j in numbers]
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
    seeds = map(_OfSeeds.of, first.values.T, second.values.T)
    rows = [
        _unsure(difference_of(value, column, groups), column, groups, of)
        for value, column, of in zip(values, columns, seeds, strict=True)
    ]
    return differences_by_name(rows, judged)[0]


def _reversed(one: Difference) -> Difference:
    if one.difference is None or one.low is None or one.high is None:
        return one
    turned = {"difference": -one.difference, "low": -one.high, "high": -one.low}
    return one.model_copy(update=turned)
