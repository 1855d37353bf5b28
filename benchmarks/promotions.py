"""How often luck alone would promote: versions as good as the champion, tried one after another.

    PYTHONPATH=src python benchmarks/promotions.py

Champion and candidates are equally good; their errors are correlated, as those of seeds are. Each
time that a candidate is the best so far it is put beside the champion, by micro-F1 alone, once as
one comparison and once with its p-value multiplied by the number tried, as the rule of promotion
asks (`mmer.evaluation.promotion`). Prints the share of champions that lose their place within so
many tries, as JSON; a few minutes on one core.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from measure import show

from mmer.metrics.intervals import LEVEL, difference_of

GROUPS, SAMPLES, RESAMPLES, TRIES, REPEATS = 60, 4, 4000, 50, 200
PREVALENCE = np.array([0.5, 0.4, 0.3, 0.2])
SIGNAL, BIAS, SHARED = 2.0, -0.3, 0.7
SHOWN = (1, 5, 10, 20, 50)


def micro_f1(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of groups drawn so often, (.., G), from their true positives and positives, (G, 2)."""
    sums = weights @ counts
    return sums[..., 0] / np.maximum(sums[..., 1], 1)


def counts_of(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(G, 2): twice the true positives; positives of truth and prediction together."""
    both = np.stack([2 * (truth & predicted), truth.astype(int) + predicted], axis=-1)
    return both.reshape(GROUPS, -1, 2).sum(axis=1).astype(float)


def tries_until_promoted(rng: np.random.Generator, *, corrected: bool) -> int:
    """The try at which the champion loses its place; more than TRIES if it keeps it."""
    truth = rng.random((GROUPS * SAMPLES, len(PREVALENCE))) < PREVALENCE
    common = rng.normal(size=truth.shape)
    drawn = rng.integers(GROUPS, size=(RESAMPLES, GROUPS))
    weights = np.stack([np.bincount(row, minlength=GROUPS) for row in drawn]).astype(float)

    def version() -> np.ndarray:
        noise = SHARED**0.5 * common + (1 - SHARED) ** 0.5 * rng.normal(size=truth.shape)
        return counts_of(truth, SIGNAL * (truth - 0.5) + noise > BIAS)

    every, champion, best = np.ones(GROUPS), version(), -1.0
    for number in range(1, TRIES + 1):
        candidate = version()
        figure = float(micro_f1(every, candidate))
        if figure < best:
            continue
        best = figure
        apart = figure - float(micro_f1(every, champion))
        resampled = micro_f1(weights, candidate) - micro_f1(weights, champion)
        found = difference_of(apart, resampled, float(GROUPS))
        times = number if corrected else 1
        low, p_value = found.low or 0.0, found.p_value or 1.0
        if low > 0 and times * p_value <= 1 - LEVEL:
            return number
    return TRIES + 1


def main() -> None:
    shares = {}
    for name, corrected in (("one comparison", False), ("times the number tried", True)):
        one = partial(tries_until_promoted, corrected=corrected)
        found = np.array([one(np.random.default_rng(seed)) for seed in range(REPEATS)])
        shares[name] = {f"within {n}": float((found <= n).mean()) for n in SHOWN}
    show("promotions", groups=GROUPS, repeats=REPEATS, shared_noise=SHARED, promoted=shares)


if __name__ == "__main__":
    main()
