"""What a set of thresholds is to make large, as a function of counts that add up over samples."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from mmer.metrics.counts import Counts, ratio

TargetName = Literal["micro_f1", "macro_f1", "accuracy", "recall_at_precision"]

# What a point of missing precision costs in recall when held-out decisions are compared: more than
# any exchange along a precision-recall curve repays, so that a candidate that keeps the precision
# wins over one that does not.
_PRICE_OF_MISSING_PRECISION = 10.0


class Target(NamedTuple):
    """What the thresholds are chosen for.

    Attributes:
        name: "micro_f1"; "macro_f1" (mean over the labels that occur or are predicted);
            "accuracy" (mean over samples of intersection over union, 0 for a sample without true
            label, as it is published); "recall_at_precision" (the largest micro recall whose
            precision is at least `minimum_precision`: the micro precision under one shared
            threshold, the precision of each label under one threshold per label).
        minimum_precision: In (0, 1], used by "recall_at_precision" alone.
    """

    name: TargetName = "micro_f1"
    minimum_precision: float = 0.8


def value_of(counts: Counts, target: Target) -> np.ndarray:
    """(...) the target's value for decisions that were made without seeing these samples.

    "recall_at_precision" is the micro recall, less ten times what its precision falls short of the
    minimum: a price, since no decision made beforehand can promise a precision. What is undefined
    counts 0.
    """
    if target.name != "recall_at_precision":
        return np.nan_to_num(getattr(counts, target.name)())
    hits, predicted, positives = (values.sum(axis=-1) for values in counts[:3])
    shortfall = np.clip(target.minimum_precision - hits / np.maximum(predicted, 1), 0, None)
    price = np.where(predicted > 0, _PRICE_OF_MISSING_PRECISION * shortfall, 0)
    return ratio(hits, positives) - price
