"""Intervals and paired comparisons by bootstrap over groups (videos, dialogues).

Samples of one video resemble each other, so whole groups are drawn with replacement, as many as
there are (cluster bootstrap; Davison and Hinkley 1997, "Bootstrap Methods and their Application",
sec. 3.8). All figures are functions of how often each group was drawn (`metrics.resampled`). The
intervals say how far the figures depend on the recordings that happen to be in the split, not on
the training seed.

Percentile intervals of few groups are too narrow. They are expanded to quantiles further out, those
by which a normal distribution gives Student's interval (Hesterberg 2015, "What Teachers Should Know
About the Bootstrap"), with as many groups as they are worth: G of unequal size are worth
fewer (Kish 1965, "Survey Sampling"; Carter, Schnepel and Steigerwald 2017, "Asymptotic Behavior of
a t-Test Robust to Cluster Heterogeneity"). A p-value is that of the interval that just reaches 0.

In 1,000 test splits each of 40, 100 and 600 groups from a known population, intervals of 95 % cover
the true figure in 93 % to 97 %, those over samples in 75 % to 96 %; equally good systems are told
apart in 2 % to 7 %, any of three of them under Holm's correction in at most 5 %
(`benchmarks/simulations.py`). Two figures are outside this range. F1 of a label that a handful of
samples have (2 % of 280) is covered in 87 %: no resampling shows what none of them shows. The
interval of the calibration error covers it nearly always (`resampled.ProbabilityFigures`), and with
fewer than some hundred groups hardly any difference in it is significant.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from math import ceil
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from mmer.errors import InputError
from mmer.metrics.metrics import HEADLINE, number
from mmer.metrics.resampled import (
    LOWER_IS_BETTER,
    METRICS,
    DecisionFigures,
    Judged,
    Resampled,
    effective_number,
)
from mmer.metrics.scores import Scores
from mmer.schema import Record
from mmer.terminal import with_bar

Row = TypeVar("Row")

LEVEL = 0.95
RESAMPLES = 10_000
_MOST_RESAMPLES = 100_000
_DRAWS_AT_ONCE = 2**21
_OVER_GROUPS = "expanded percentile bootstrap over groups"
_OVER_SAMPLES = "expanded percentile bootstrap over samples, as if independent: groups are unknown"
_ROUNDING = 1e-12


class Interval(Record):
    """A figure and its percentile interval.

    All are None where the figure itself is undefined; and there is no interval where a single group
    decides, such as F1 of a label that no other has.

    Attributes:
        undefined: Share of resamples in which there is no value; they are left out.
    """

    value: float | None
    low: float | None
    high: float | None
    undefined: float


class Difference(Record):
    """A figure of a first system minus that of a second; all None where either is undefined.

    Attributes:
        low, high: Ends of its percentile interval.
        p_value: Two-sided, from the smaller share of resampled differences on either side of 0,
            one more counted on that side: never below `Bootstrap.smallest_p_value`.
        corrected_p_value: By Holm's procedure over the systems that the first is compared with
            (Holm 1979, "A simple sequentially rejective multiple test procedure").
        significant: Whether the interval leaves 0 out and the corrected p-value is at most 0.05.
        lower_is_better: Of errors and losses.
    """

    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    corrected_p_value: float | None = None
    significant: bool | None = None
    lower_is_better: bool = False

    @property
    def verdict(self) -> str:
        """What is said of the first: "better", "worse", "not significant" or "undefined"."""
        if self.difference is None:
            return "undefined"
        if not self.significant:
            return "not significant"
        return "better" if (self.difference > 0) != self.lower_is_better else "worse"


class Bootstrap(Record):
    """How intervals were found.

    Attributes:
        method: In words; says where samples are drawn because groups are unknown.
        level: Share of resamples that an interval holds.
        groups: How many there are to draw from, and are drawn.
        effective_groups: How many of equal size they are worth.
        seed: The same seed draws the same groups for any system on these samples.
    """

    method: str
    level: float = LEVEL
    groups: int
    effective_groups: float
    resamples: int
    seed: int

    @property
    def smallest_p_value(self) -> float:
        """What no p-value falls below, however clear the difference is."""
        return _two_sided(1 / (self.resamples + 1), self.effective_groups)


class Intervals(Record):
    """Intervals of the metrics (names of `METRICS`) and of each label's F1."""

    bootstrap: Bootstrap
    metrics: dict[str, Interval]
    label_f1: dict[str, Interval]


class Differences(Record):
    """First minus second system (titles, digests), on the same resamples of the same samples."""

    first: str
    second: str
    models: tuple[str, str]
    bootstrap: Bootstrap
    metrics: dict[str, Difference]
    label_f1: dict[str, Difference]


def bootstrap_intervals(judged: Judged, *, resamples: int = RESAMPLES, seed: int = 0) -> Intervals:
    """95 % percentile intervals of all figures and of each label's F1.

    Raises:
        InputError: Fewer than two groups, or thresholds that are not L finite numbers.
    """
    drawn = Drawn.of(judged, resamples, seed)
    columns = zip(drawn.values, drawn.resampled, drawn.effective_groups, strict=True)
    rows = [interval_of(*one) for one in columns]
    metrics, label_f1 = by_name(rows, judged)
    return Intervals(bootstrap=drawn.bootstrap, metrics=metrics, label_f1=label_f1)


def compare(
    first: Judged, others: Sequence[Judged], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Differences, ...]:
    """Paired comparisons of a system with others on the same samples: the first minus each.

    There are at least `resamples`, and so many that they can show a difference: see
    `enough_resamples`.

    Raises:
        InputError: Tables, samples, truth or labels differ; fewer than two groups; thresholds that
            are not L finite numbers.
    """
    for other in others:
        check_paired(first.scores, other.scores)
    resamples = enough_resamples(resamples, first.scores, len(others))
    ours = Drawn.of(first, resamples, seed)
    return _corrected(
        tuple(
            _differences(first, ours, other, Drawn.of(other, resamples, seed))
            for other in with_bar(others, f"{first.scores.info.title} beside others")
        )
    )


def headline_intervals(
    draws: Sequence[Judged], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Headline metric -> its mean over several scorings of the same samples, with an interval."""
    drawn = [Drawn.of(one, resamples, seed, [DecisionFigures(one)]) for one in draws]
    values = np.mean([one.values for one in drawn], axis=0)
    columns = np.mean([one.resampled for one in drawn], axis=0)
    rows = zip(HEADLINE, values, columns, drawn[0].effective_groups, strict=False)
    return {name: interval_of(*row) for name, *row in rows}


class Drawn(NamedTuple):
    """K figures of a system, drawn anew.

    Attributes:
        resampled: K times, what the figure was in up to `resamples` resamples.
        effective_groups: (K,) how many groups of equal size it rests on.
    """

    bootstrap: Bootstrap
    values: np.ndarray
    resampled: list[np.ndarray]
    effective_groups: np.ndarray

    @classmethod
    def of(
        cls,
        judged: Judged,
        resamples: int,
        seed: int,
        figures: Sequence[Resampled] | None = None,
    ) -> Drawn:
        groups, figures = _groups(judged.scores), figures or judged.figures()
        once = np.ones((1, groups))
        values = np.concatenate([one.values(once)[0] for one in figures])
        found: list[list[np.ndarray]] = [[] for _ in figures]
        done = 0
        for drawn in draw_groups(groups, resamples, seed):
            rows = np.arange(len(drawn))[:, None] * groups
            times = np.bincount((drawn + rows).ravel(), minlength=drawn.size)
            times = times.reshape(drawn.shape).astype(np.float64)
            for one, parts in zip(figures, found, strict=True):
                if left := max(0, one.most_resamples - done):
                    parts.append(one.resampled(times[:left]))
            done += len(drawn)
        columns = [column for parts in found for column in np.concatenate(parts).T]
        bootstrap = Bootstrap(
            method=_OVER_GROUPS if judged.scores.info.groups_known else _OVER_SAMPLES,
            groups=groups,
            effective_groups=effective_number(np.bincount(judged.scores.groups)),
            resamples=resamples,
            seed=seed,
        )
        effective = np.concatenate([one.effective_groups for one in figures])
        return cls(bootstrap, values, columns, effective)


def _differences(first: Judged, ours: Drawn, other: Judged, theirs: Drawn) -> Differences:
    pairs = zip(ours.resampled, theirs.resampled, strict=True)
    columns = zip(ours.values - theirs.values, (a - b for a, b in pairs), strict=True)
    groups = ours.bootstrap.effective_groups
    rows = [difference_of(*one, groups) for one in columns]
    metrics, label_f1 = differences_by_name(rows, first)
    return Differences(
        first=first.scores.info.title,
        second=other.scores.info.title,
        models=(first.scores.info.model, other.scores.info.model),
        bootstrap=ours.bootstrap,
        metrics=metrics,
        label_f1=label_f1,
    )


def mean_interval(
    values: np.ndarray, groups: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Mean of values (N,) of samples in the groups numbered (N,), with its percentile interval."""
    sums, sizes = np.bincount(groups, values), np.bincount(groups).astype(float)
    drawn = [
        sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
        for chosen in draw_groups(len(sums), resamples, seed)
    ]
    groups_worth = float(effective_number(sizes))
    return interval_of(float(values.mean()), np.concatenate(drawn), groups_worth)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p-values, in the order given."""
    rising, corrected, least = np.argsort(p_values, kind="stable"), [0.0] * len(p_values), 0.0
    for rank, index in enumerate(rising):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = least
    return corrected


def corrected(found: Sequence[Difference]) -> list[Difference]:
    """Differences with a p-value, these corrected together."""
    p_values = holm([one.p_value or 0.0 for one in found])
    return [
        one.model_copy(
            update={
                "corrected_p_value": p,
                "significant": bool(one.significant) and p <= 1 - LEVEL + _ROUNDING,
            }
        )
        for one, p in zip(found, p_values, strict=True)
    ]


def enough_resamples(asked: int, scores: Scores, comparisons: int) -> int:
    """At least as many as are asked for, and so many that a difference can be significant.

    No p-value falls below what the number of resamples can show, and the correction multiplies it
    by the number of comparisons. Where even 100,000 would not do, there are too few groups.
    """
    groups = float(effective_number(np.bincount(scores.groups)))
    if groups <= 1 or comparisons == 0:
        return asked
    share = tail_of(groups, (1 - LEVEL) / comparisons)
    needed = ceil(1.5 / share) if share > 0 else sys.maxsize
    return max(asked, needed) if needed <= _MOST_RESAMPLES else asked


def _corrected(found: tuple[Differences, ...]) -> tuple[Differences, ...]:
    """Each figure's differences to the other systems, their p-values corrected together."""
    families: list[dict[str, dict[str, Difference]]] = [
        {"metrics": dict(one.metrics), "label_f1": dict(one.label_f1)} for one in found
    ]
    for kind in ("metrics", "label_f1"):
        for name in families[0][kind] if families else ():
            rows = [family[kind] for family in families if family[kind][name].p_value is not None]
            for row, one in zip(rows, corrected([row[name] for row in rows]), strict=True):
                row[name] = one
    return tuple(one.model_copy(update=family) for one, family in zip(found, families, strict=True))


def draw_groups(groups: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Indices of the groups drawn in each resample, (R, G) at a time, R of bounded size."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // groups)
    for start in range(0, resamples, at_once):
        yield generator.integers(groups, size=(min(at_once, resamples - start), groups))


def _groups(scores: Scores) -> int:
    count = int(scores.groups.max()) + 1
    if count < 2:
        where = f"{scores.info.title} on {scores.info.split}"
        raise InputError(where, "group_ids", "at least two groups to draw from", "one")
    return count


def by_name(rows: list[Row], judged: Judged) -> tuple[dict[str, Row], dict[str, Row]]:
    """Figures by the metrics' names, and by the labels'."""
    labels, first = judged.scores.labels, len(HEADLINE)
    last = first + len(labels)
    of_labels = dict(zip(labels, rows[first:last], strict=True))
    return dict(zip(METRICS, rows[:first] + rows[last:], strict=True)), of_labels


def differences_by_name(
    rows: list[Difference], judged: Judged
) -> tuple[dict[str, Difference], dict[str, Difference]]:
    """As `by_name`, with those marked of which less is better."""
    metrics, label_f1 = by_name(rows, judged)
    for name in LOWER_IS_BETTER:
        metrics[name] = metrics[name].model_copy(update={"lower_is_better": True})
    return metrics, label_f1


def interval_of(value: float, drawn: np.ndarray, groups: float) -> Interval:
    """A figure's interval, from what it was in resamples of so many effective groups."""
    defined, low, high = drawn[~np.isnan(drawn)], None, None
    if not np.isnan(value) and len(defined) and groups > 1:
        tail = tail_of(groups, 1 - LEVEL)
        low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(value=number(value), low=low, high=high, undefined=np.isnan(drawn).mean())


def difference_of(value: float, drawn: np.ndarray, groups: float) -> Difference:
    """A difference's interval and p-value, from what it was in resamples of so many groups."""
    found = interval_of(value, drawn, groups)
    if found.low is None or found.high is None:
        return Difference()
    # what is undefined lies on neither side of 0
    smaller, defined = min((drawn <= 0).sum(), (drawn >= 0).sum()), (~np.isnan(drawn)).sum()
    return Difference(
        difference=found.value,
        low=found.low,
        high=found.high,
        p_value=_two_sided(float(smaller + 1) / (defined + 1), groups),
        significant=not found.low <= 0 <= found.high,
    )


def tail_of(groups: float, error: float) -> float:
    """Share of resamples beyond either end of an interval that is wrong with probability `error`,
    and rests on so many groups.
    """
    if groups <= 1:
        return 0.0
    return float(ndtr(np.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, error / 2)))


def _two_sided(share: float, groups: float) -> float:
    """p-value where `share` of the resamples contradict: of the interval with that tail."""
    if groups <= 1:
        return 1.0
    return min(1.0, 2 * float(stdtr(groups - 1, np.sqrt((groups - 1) / groups) * ndtri(share))))


def check_paired(first: Scores, second: Scores) -> None:
    where = f"comparison of {first.info.title} and {second.info.title}"
    for name in ("corpus", "fingerprint", "split", "labels"):
        expected, found = getattr(first.info, name), getattr(second.info, name)
        if expected != found:
            raise InputError(where, name, f"scores on the same samples, {expected}", found)
    for name in ("sample_ids", "group_ids", "truth"):
        if not np.array_equal(getattr(first, name), getattr(second, name)):
            raise InputError(where, name, "the same for both systems", "another, or another order")
