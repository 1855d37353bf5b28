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
from mmer.evaluation.metrics import decide
from mmer.samples.scores import Scores

LEVEL = 0.95
RESAMPLES = 10_000
_DRAWS_AT_ONCE = 2**21


def bootstrap_intervals(
    scores: Scores, thresholds: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict:
    """95 % percentile intervals of micro-F1, macro-F1, accuracy and each label's F1.

    Args:
        scores: N samples by L labels, in at least two groups.
        thresholds: (L,), one per label.
        resamples: How many times the groups are drawn.
        seed: Of the draws; the same seed draws the same groups for any system on these samples.

    Returns:
        What JSON can hold: `metrics` and `per_label_f1` map a name to `value`, `low`, `high` and
        `undefined`, the share of resamples in which it has no value (they are left out; all are
        None where the value itself is undefined); beside them what was done.

    Raises:
        InputError: Fewer than two groups, or what `decide` refuses.
    """
    groups, counts = _group_counts(scores, thresholds)
    value = _total(counts)
    drawn = _resample(counts, resamples, seed)
    rows = [
        {"value": _number(v), "undefined": float(np.isnan(column).mean()), **_bounds(v, column)}
        for v, column in zip(value, drawn.T, strict=True)
    ]
    return {
        "system": scores.system,
        "weights": scores.weights,
        **_method(groups, resamples, seed),
        **_named(scores.labels, rows),
    }


def compare(
    first: Scores,
    first_thresholds: np.ndarray,
    second: Scores,
    second_thresholds: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict:
    """Paired comparison of two systems on the same samples: first minus second.

    Both are scored on the same resamples. The p-value is two-sided, twice the smaller share of
    resampled differences on either side of 0, so that it falls below 0.05 about where the 95 %
    percentile interval leaves 0 out.

    Args:
        first: Scores of the one system.
        first_thresholds: (L,), its thresholds.
        second: Scores of the other system on the same samples in the same order.
        second_thresholds: (L,), its thresholds.
        resamples: How many times the groups are drawn.
        seed: Of the draws.

    Returns:
        What JSON can hold: `metrics` and `per_label_f1` map a name to `difference`, `low`, `high`,
        `p_value` and `within_noise` (the interval covers 0), all None where either system's value
        is undefined; beside them what was done.

    Raises:
        InputError: Samples, truth or labels differ; fewer than two groups; what `decide` refuses.
    """
    _check_paired(first, second)
    groups, first_counts = _group_counts(first, first_thresholds)
    _, second_counts = _group_counts(second, second_thresholds)
    difference = _total(first_counts) - _total(second_counts)
    drawn = _resample(first_counts, resamples, seed) - _resample(second_counts, resamples, seed)
    rows = [_compared(d, column) for d, column in zip(difference, drawn.T, strict=True)]
    return {
        "first": first.system,
        "second": second.system,
        "weights": [first.weights, second.weights],
        **_method(groups, resamples, seed),
        **_named(first.labels, rows),
    }


def draw_groups(groups: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Indices of the groups drawn in each resample, (R, G) at a time, R of bounded size."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // groups)
    for start in range(0, resamples, at_once):
        yield generator.integers(groups, size=(min(at_once, resamples - start), groups))


def _group_counts(scores: Scores, thresholds: np.ndarray) -> tuple[int, np.ndarray]:
    """Number of groups G, and (G, 2L + 2) sums over the samples of each group.

    Columns: per label the true positives, then true plus predicted ones; the samples'
    intersections over unions; the samples.
    """
    decisions = decide(scores, thresholds).astype(np.float64)
    truth = scores.truth.astype(np.float64)
    both = truth * decisions
    either = (truth + decisions - both).sum(axis=1)
    overlap = both.sum(axis=1) / np.maximum(either, 1)
    rows = np.column_stack([both, truth + decisions, overlap, np.ones(len(truth))])
    names, group = np.unique(np.array(scores.group_ids), return_inverse=True)
    if len(names) < 2:
        where = f"{scores.system} on {scores.split}"
        raise InputError(where, "group_ids", "at least two groups to draw from", len(names))
    counts = np.zeros((len(names), rows.shape[1]))
    np.add.at(counts, group, rows)
    return len(names), counts


def _statistics(sums: np.ndarray) -> np.ndarray:
    """Micro-F1, macro-F1, accuracy, F1 per label: (R, 2L + 2) sums to (R, 3 + L), NaN undefined."""
    labels = (sums.shape[1] - 2) // 2
    hits, marked = sums[:, :labels], sums[:, labels : 2 * labels]
    per_label = _ratio(2 * hits, marked)
    micro = _ratio(2 * hits.sum(axis=1), marked.sum(axis=1))
    macro = _ratio(np.nansum(per_label, axis=1), (marked > 0).sum(axis=1))
    return np.column_stack([micro, macro, sums[:, -2] / sums[:, -1], per_label])


def _total(counts: np.ndarray) -> np.ndarray:
    """Statistics (3 + L,) of all groups, each taken once."""
    return _statistics(counts.sum(axis=0, keepdims=True))[0]


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    undefined = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def _resample(counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Statistics of each resample, (resamples, 3 + L)."""
    groups = len(counts)
    statistics = []
    for drawn in draw_groups(groups, resamples, seed):
        rows = np.arange(len(drawn))[:, None] * groups
        times = np.bincount((drawn + rows).ravel(), minlength=drawn.size).reshape(drawn.shape)
        statistics.append(_statistics(times.astype(np.float64) @ counts))
    return np.concatenate(statistics)


def _bounds(value: float, drawn: np.ndarray) -> dict[str, float | None]:
    drawn = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(drawn):
        return {"low": None, "high": None}
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"low": float(low), "high": float(high)}


def _compared(difference: float, drawn: np.ndarray) -> dict[str, float | bool | None]:
    bounds = _bounds(difference, drawn)
    if bounds["low"] is None or bounds["high"] is None:
        return {"difference": None, **bounds, "p_value": None, "within_noise": None}
    drawn = drawn[~np.isnan(drawn)]
    smaller = min((drawn <= 0).sum(), (drawn >= 0).sum())
    return {
        "difference": float(difference),
        **bounds,
        "p_value": float(min(1.0, 2 * (smaller + 1) / (len(drawn) + 1))),
        "within_noise": bool(bounds["low"] <= 0 <= bounds["high"]),
    }


def _method(groups: int, resamples: int, seed: int) -> dict:
    return {
        "method": "percentile bootstrap over groups",
        "level": LEVEL,
        "groups": groups,
        "resamples": resamples,
        "seed": seed,
    }


def _named(labels: tuple[str, ...], rows: list[dict]) -> dict[str, dict]:
    return {
        "metrics": dict(zip(("micro_f1", "macro_f1", "accuracy"), rows[:3], strict=True)),
        "per_label_f1": dict(zip(labels, rows[3:], strict=True)),
    }


def _check_paired(first: Scores, second: Scores) -> None:
    where = f"{first.system} and {second.system} on {first.split}"
    for name in ("split", "labels", "sample_ids", "group_ids"):
        if getattr(first, name) != getattr(second, name):
            found = "others, or in another order"
            raise InputError(where, name, f"the same {name} for both systems", found)
    if not np.array_equal(first.truth, second.truth):
        raise InputError(where, "truth", "the same truth for both systems", "another")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
