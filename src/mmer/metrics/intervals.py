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
        p_value: Two-sided: twice the smaller share of resampled differences on either side of 0,
            one more counted on that side, so that R resamples never say less than 2 / (R + 1).
        significant: Whether the interval leaves 0 out.
    """

    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    significant: bool | None = None

    @property
    def verdict(self) -> str:
        """What is said of the first: "better", "worse", "not significant" or "undefined"."""
        if self.difference is None:
            return "undefined"
        if not self.significant:
            return "not significant"
        return "better" if self.difference > 0 else "worse"


class Bootstrap(Record):
    """How intervals were found.

    Attributes:
        level: Share of resamples that an interval holds.
        groups: How many there are to draw from, and are drawn.
        seed: The same seed draws the same groups for any system on these samples.
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
    """First minus second system (titles, digests), on the same resamples of the same samples."""

    first: str
    second: str
    models: tuple[str, str]
    bootstrap: Bootstrap
    metrics: dict[str, Difference]
    label_f1: dict[str, Difference]


def bootstrap_intervals(
    scores: Scores, thresholds: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> Intervals:
    """95 % percentile intervals of the headline metrics and of each label's F1.

    Raises:
        InputError: Fewer than two groups, or thresholds that are not L finite numbers.
    """
    counts = _group_counts(scores, thresholds)
    (drawn,) = _resample((counts,), resamples, seed)
    rows = [_interval(*one) for one in zip(_statistics(counts.total())[0], drawn.T, strict=True)]
    return Intervals(
        bootstrap=Bootstrap(groups=len(counts.samples), resamples=resamples, seed=seed),
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
    """Paired comparison of two systems on the same samples in the same order: first minus second.

    Raises:
        InputError: Tables, samples, truth or labels differ; fewer than two groups; thresholds that
            are not L finite numbers.
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
        bootstrap=Bootstrap(groups=len(counts[0].samples), resamples=resamples, seed=seed),
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
    found = []
    for drawn in draw_groups(groups, resamples, seed):
        rows = np.arange(len(drawn))[:, None] * groups
        times = np.bincount((drawn + rows).ravel(), minlength=drawn.size).reshape(drawn.shape)
        found.append([_statistics(one.weighted(times.astype(np.float64))) for one in counts])
    return [np.concatenate(statistics) for statistics in zip(*found, strict=True)]


def _interval(value: float, drawn: np.ndarray) -> Interval:
    defined, low, high = drawn[~np.isnan(drawn)], None, None
    if not np.isnan(value) and len(defined):
        low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=number(value), low=low, high=high, undefined=np.isnan(drawn).mean())


def _difference(value: float, drawn: np.ndarray) -> Difference:
    found = _interval(value, drawn)
    if found.low is None or found.high is None:
        return Difference()
    # what is undefined lies on neither side of 0
    smaller, defined = min((drawn <= 0).sum(), (drawn >= 0).sum()), (~np.isnan(drawn)).sum()
    return Difference(
        difference=found.value,
        low=found.low,
        high=found.high,
        p_value=min(1.0, 2 * float(smaller + 1) / (defined + 1)),
        significant=not found.low <= 0 <= found.high,
    )


def _check_paired(first: Scores, second: Scores) -> None:
    where = f"comparison of {first.info.title} and {second.info.title}"
    for name in ("corpus", "fingerprint", "split", "labels"):
        expected, found = getattr(first.info, name), getattr(second.info, name)
        if expected != found:
            raise InputError(where, name, f"scores on the same samples, {expected}", found)
    for name in ("sample_ids", "group_ids", "truth"):
        if not np.array_equal(getattr(first, name), getattr(second, name)):
            raise InputError(where, name, "the same for both systems", "another, or another order")
