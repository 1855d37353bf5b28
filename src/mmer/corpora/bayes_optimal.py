"""The best score that any system can reach on a corpus whose label probabilities are known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

from mmer.metrics.counts import f1


def bayes_optimal_scores(
    probability: np.ndarray, weight: np.ndarray | None = None
) -> dict[str, float]:
    """Expected micro- and macro-F1 of the best decisions on the true label probabilities.

    Both are ratios of linear functions of the decisions, so that a threshold on the probabilities
    (one of each label for macro-F1) is optimal and a scan over the thresholds finds the optimum.

    Args:
        probability: (N, L) P(label present | all that there is to know) of N cases.
        weight: (N,) how often each case occurs; None if equally often.
    """
    weight = np.ones(len(probability)) if weight is None else weight
    weights = np.broadcast_to(weight[:, None], probability.shape)
    per_label = [best_f1(column, weight) for column in probability.T]
    return {
        "micro_f1": best_f1(probability.ravel(), weights.ravel()),
        "macro_f1": float(np.mean(per_label)),
    }


def with_subsets(
    modalities: tuple[str, ...], best: Callable[[tuple[str, ...]], dict[str, float]]
) -> dict[str, float]:
    """Bayes-optimal scores of all modalities, and micro-F1 of every smaller set of them.

    The latter under `name_of_subset`.
    """
    smaller = (s for n in range(1, len(modalities)) for s in combinations(modalities, n))
    alone = {name_of_subset(subset): best(subset)["micro_f1"] for subset in smaller}
    return {**best(modalities), **alone}


def name_of_subset(modalities: tuple[str, ...]) -> str:
    """Under which the best micro-F1 stands of systems that are shown these modalities alone."""
    return f"micro_f1 of {' + '.join(sorted(modalities))}"


def best_f1(probability: np.ndarray, weight: np.ndarray) -> float:
    """Expected F1 of the best threshold: probabilities (N,) of as many decisions, each weighted."""
    order = np.argsort(-probability, kind="stable")
    positive = (probability * weight)[order]
    found, predicted = np.cumsum(positive), np.cumsum(weight[order])
    return float(np.max(f1(found, predicted, positive.sum())))
