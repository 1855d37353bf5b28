"""Intervals and paired comparisons by bootstrap over groups (videos, dialogues).

Samples of one video resemble each other, so whole groups are drawn with replacement, as many as
there are (cluster bootstrap; Davison and Hinkley 1997, "Bootstrap Methods and their Application",
sec. 3.8). F1 and accuracy are ratios of sums over samples, so a resample needs no samples: the
number of times each group was drawn, times the group's counts, is all. The intervals say how far
the figures depend on the recordings that happen to be in the split, not on the training seed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmer.errors import InputError
from mmer.metrics.counts import Counts
from mmer.metrics.decisions import decide
from mmer.metrics.metrics import HEADLINE, number
from mmer.metrics.scores import Scores
from mmer.schema import Record

LEVEL = 0.95
RESAMPLES = 10_000
_DRAWS_AT_ONCE = 2**21


class Interval(Record):
    """A figure and its percentile interval; all None where the figure itself is undefined.

    Attributes:
        value: On the split.
        low, high: Ends of the interval.
        undefined: Share of resamples in which there is no value; they are left out.
    """

    value: float | None
    low: float | None
    high: float | None
    undefined: float


class Difference(Record):
    """A figure of a first system minus that of a second; all None where either is undefined.

    Attributes:
        difference: On the split.
        low, high: Ends of its percentile interval.
        p_value: Two-sided: twice the smaller share of resampled differences on either side of 0,
            one more counted on that side, so that R resamples never say less than 2 / (R + 1).
        significant: Whether the interval leaves 0 out.
    """

    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    significant: bool | None

    @property
    def verdict(self) -> str:
        """What it says of the first: "better", "worse", "not significant" or "undefined"."""
        if self.difference is None:
            return "undefined"
        if not self.significant:
            return "not significant"
        return "better" if self.difference > 0 else "worse"


class Bootstrap(Record):
    """How intervals were found.

    Attributes:
        method: In words.
        level: Share of resamples that an interval holds.
        groups: How many there are to draw from, and are drawn.
        resamples: How many times.
        seed: Of the draws; the same seed draws the same groups for any system on these samples.
    """

    method: str = "percentile bootstrap over groups"
    level: float = LEVEL
    groups: int
    resamples: int
    seed: int

    @property
    def smallest_p_value(self) -> float:
        """What no p-value falls below, however clear the difference is."""
        return 2 / (self.resamples + 1)


class Intervals(Record):
    """Intervals of the headline metrics and of each label's F1."""

    bootstrap: Bootstrap
    metrics: dict[str, Interval]
    label_f1: dict[str, Interval]


class Differences(Record):
    """First minus second system, on the same samples and the same resamples of them.

    Attributes:
        first, second: Their titles.
        models: Their digests.
        bootstrap: How it was found.
        metrics: Headline metric -> difference.
        label_f1: Label -> difference of its F1.
    """

    first: str
    second: str
    models: tuple[str, str]
    bootstrap: Bootstrap
    metrics: dict[str, Difference]
    label_f1: dict[str, Difference]


def bootstrap_intervals(
    scores: Scores, thresholds: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> Intervals:
    """95 % percentile intervals of micro-F1, macro-F1, accuracy and each label's F1.

    Args:
        scores: N samples by L labels, in at least two groups.
        thresholds: (L,), one per label.
        resamples: How many times the groups are drawn.
        seed: Of the draws.

    Raises:
        InputError: Fewer than two groups, or thresholds that are not L finite numbers.
    """
    counts = _group_counts(scores, thresholds)
    (drawn,) = _resample((counts,), resamples, seed)
    rows = [_interval(*one) for one in zip(_statistics(counts.total())[0], drawn.T, strict=True)]
    return Intervals(
        bootstrap=_bootstrap(counts, resamples, seed),
        metrics=dict(zip(HEADLINE, rows, strict=False)),
        label_f1=dict(zip(scores.labels, rows[len(HEADLINE) :], strict=True)),
    )


def compare(
    first: Scores,
    first_thresholds: np.ndarray,
    second: Scores,
    second_thresholds: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Differences:
    """Paired comparison of two systems on the same samples: first minus second.

    Args:
        first: Scores of the one system.
        first_thresholds: (L,), its thresholds.
        second: Scores of the other system on the same samples in the same order.
        second_thresholds: (L,), its thresholds.
        resamples: How many times the groups are drawn.
        seed: Of the draws.

    Raises:
        InputError: Samples, truth or labels differ; fewer than two groups; thresholds that are not
            L finite numbers.
    """
    _check_paired(first, second)
    counts = (_group_counts(first, first_thresholds), _group_counts(second, second_thresholds))
    values = [_statistics(one.total())[0] for one in counts]
    drawn = _resample(counts, resamples, seed)
    columns = zip(values[0] - values[1], (drawn[0] - drawn[1]).T, strict=True)
    rows = [_difference(*one) for one in columns]
    return Differences(
        first=first.info.title,
        second=second.info.title,
        models=(first.info.model, second.info.model),
        bootstrap=_bootstrap(counts[0], resamples, seed),
        metrics=dict(zip(HEADLINE, rows, strict=False)),
        label_f1=dict(zip(first.labels, rows[len(HEADLINE) :], strict=True)),
    )


def draw_groups(groups: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Indices of the groups drawn in each resample, (R, G) at a time, R of bounded size."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // groups)
    for start in range(0, resamples, at_once):
        yield generator.integers(groups, size=(min(at_once, resamples - start), groups))


def _group_counts(scores: Scores, thresholds: np.ndarray) -> Counts:
    decisions = decide(scores.scores, thresholds)
    counts = Counts.by_group(decisions, scores.truth > 0, scores.groups)
    if len(counts.samples) < 2:
        where = f"{scores.info.title} on {scores.info.split}"
        raise InputError(where, "group_ids", "at least two groups to draw from", "one")
    return counts


def _statistics(counts: Counts) -> np.ndarray:
    """(R, 3 + L): the headline metrics in their order, then F1 per label; NaN undefined."""
    headline = [getattr(counts, name)() for name in HEADLINE]
    return np.column_stack([*headline, counts.label_f1()])


def _resample(counts: tuple[Counts, ...], resamples: int, seed: int) -> list[np.ndarray]:
    """Of each system, the statistics (resamples, 3 + L) of the same resamples."""
    groups = len(counts[0].samples)
    found: list[list[np.ndarray]] = [[] for _ in counts]
    for drawn in draw_groups(groups, resamples, seed):
        rows = np.arange(len(drawn))[:, None] * groups
        times = np.bincount((drawn + rows).ravel(), minlength=drawn.size).reshape(drawn.shape)
        for one, statistics in zip(counts, found, strict=True):
            statistics.append(_statistics(one.weighted(times.astype(np.float64))))
    return [np.concatenate(statistics) for statistics in found]


def _interval(value: float, drawn: np.ndarray) -> Interval:
    low, high = _bounds(value, drawn)
    undefined = float(np.isnan(drawn).mean())
    return Interval(value=number(value), low=low, high=high, undefined=undefined)


def _difference(value: float, drawn: np.ndarray) -> Difference:
    low, high = _bounds(value, drawn)
    if low is None or high is None:
        return Difference(difference=None, low=None, high=None, p_value=None, significant=None)
    drawn = drawn[~np.isnan(drawn)]
    smaller = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return Difference(
        difference=float(value),
        low=low,
        high=high,
        p_value=min(1.0, 2 * float(smaller + 1) / (len(drawn) + 1)),
        significant=not low <= 0 <= high,
    )


def _bounds(value: float, drawn: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    drawn = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(drawn):
        return None, None
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _bootstrap(counts: Counts, resamples: int, seed: int) -> Bootstrap:
    return Bootstrap(groups=len(counts.samples), resamples=resamples, seed=seed)


def _check_paired(first: Scores, second: Scores) -> None:
    where = f"{first.info.title} and {second.info.title} on {first.info.split}"
    pairs = {
        "split": (first.info.split, second.info.split),
        "labels": (first.labels, second.labels),
        "sample_ids": (first.sample_ids, second.sample_ids),
        "group_ids": (first.group_ids, second.group_ids),
    }
    for name, (one, other) in pairs.items():
        if one != other:
            found = "others, or in another order"
            raise InputError(where, name, f"the same {name} for both systems", found)
    if not np.array_equal(first.truth, second.truth):
        raise InputError(where, "truth", "the same truth for both systems", "another")
