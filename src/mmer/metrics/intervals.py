"""Intervals and paired comparisons by bootstrap over groups (videos, dialogues).

Samples of one video resemble each other, so whole groups are drawn with replacement, as many as
there are (cluster bootstrap; Davison and Hinkley 1997, "Bootstrap Methods and their Application",
sec. 3.8). All figures are functions of how often each group was drawn (`metrics.resampled`). The
intervals say how far the figures depend on the recordings that happen to be in the split, not on
the training seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from mmer.errors import InputError
from mmer.metrics.metrics import HEADLINE, number
from mmer.metrics.resampled import LOWER_IS_BETTER, METRICS, DecisionFigures, Judged, Resampled
from mmer.metrics.scores import Scores
from mmer.schema import Record

Row = TypeVar("Row")

LEVEL = 0.95
RESAMPLES = 10_000
_DRAWS_AT_ONCE = 2**21
_OVER_GROUPS = "percentile bootstrap over groups"
_OVER_SAMPLES = "percentile bootstrap over samples, as if independent: groups are unknown"
_ROUNDING = 1e-12


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
        seed: The same seed draws the same groups for any system on these samples.
    """

    method: str
    level: float = LEVEL
    groups: int
    resamples: int
    seed: int

    @property
    def smallest_p_value(self) -> float:
        """What no p-value falls below, however clear the difference is."""
        return 2 / (self.resamples + 1)


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
    drawn = _Drawn.of(judged, resamples, seed)
    rows = [_interval(*one) for one in zip(drawn.values, drawn.resampled, strict=True)]
    metrics, label_f1 = _by_name(rows, judged)
    return Intervals(bootstrap=drawn.bootstrap, metrics=metrics, label_f1=label_f1)


def compare(
    first: Judged, others: Sequence[Judged], *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Differences, ...]:
    """Paired comparisons of a system with others on the same samples: the first minus each.

    Raises:
        InputError: Tables, samples, truth or labels differ; fewer than two groups; thresholds that
            are not L finite numbers.
    """
    for other in others:
        _check_paired(first.scores, other.scores)
    ours = _Drawn.of(first, resamples, seed)
    return _corrected(
        tuple(
            _differences(first, ours, other, _Drawn.of(other, resamples, seed)) for other in others
        )
    )


def headline_intervals(
    draws: Sequence[Judged], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Headline metric -> its mean over several scorings of the same samples, with an interval."""
    drawn = [_Drawn.of(one, resamples, seed, [DecisionFigures(one)]) for one in draws]
    values = np.mean([one.values for one in drawn], axis=0)
    columns = np.mean([one.resampled for one in drawn], axis=0)
    return {
        name: _interval(value, column)
        for name, value, column in zip(HEADLINE, values, columns, strict=False)
    }


class _Drawn(NamedTuple):
    """K figures of a system, and of each what it was in up to `resamples` resamples."""

    bootstrap: Bootstrap
    values: np.ndarray
    resampled: list[np.ndarray]

    @classmethod
    def of(
        cls,
        judged: Judged,
        resamples: int,
        seed: int,
        figures: Sequence[Resampled] | None = None,
    ) -> _Drawn:
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
                    parts.append(one.values(times[:left]))
            done += len(drawn)
        columns = [column for parts in found for column in np.concatenate(parts).T]
        method = _OVER_GROUPS if judged.scores.info.groups_known else _OVER_SAMPLES
        bootstrap = Bootstrap(method=method, groups=groups, resamples=resamples, seed=seed)
        return cls(bootstrap, values, columns)


def _differences(first: Judged, ours: _Drawn, other: Judged, theirs: _Drawn) -> Differences:
    pairs = zip(ours.resampled, theirs.resampled, strict=True)
    columns = zip(ours.values - theirs.values, (a - b for a, b in pairs), strict=True)
    metrics, label_f1 = _by_name([_difference(*one) for one in columns], first)
    for name in LOWER_IS_BETTER:
        metrics[name] = metrics[name].model_copy(update={"lower_is_better": True})
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
    return _interval(float(values.mean()), np.concatenate(drawn))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p-values, in the order given."""
    rising, corrected, least = np.argsort(p_values, kind="stable"), [0.0] * len(p_values), 0.0
    for rank, index in enumerate(rising):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = least
    return corrected


def _corrected(found: tuple[Differences, ...]) -> tuple[Differences, ...]:
    """Each figure's differences to the other systems, their p-values corrected together."""
    families: list[dict[str, dict[str, Difference]]] = [
        {"metrics": dict(one.metrics), "label_f1": dict(one.label_f1)} for one in found
    ]
    for kind in ("metrics", "label_f1"):
        for name in families[0][kind] if families else ():
            rows = [family[kind] for family in families if family[kind][name].p_value is not None]
            corrected = holm([row[name].p_value or 0.0 for row in rows])
            for row, p in zip(rows, corrected, strict=True):
                significant = bool(row[name].significant) and p <= 1 - LEVEL + _ROUNDING
                change = {"corrected_p_value": p, "significant": significant}
                row[name] = row[name].model_copy(update=change)
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


def _by_name(rows: list[Row], judged: Judged) -> tuple[dict[str, Row], dict[str, Row]]:
    """Figures by the metrics' names, and by the labels'."""
    labels, first = judged.scores.labels, len(HEADLINE)
    last = first + len(labels)
    of_labels = dict(zip(labels, rows[first:last], strict=True))
    return dict(zip(METRICS, rows[:first] + rows[last:], strict=True)), of_labels


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
