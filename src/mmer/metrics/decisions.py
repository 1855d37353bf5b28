"""The one rule by which scores become decisions."""

from __future__ import annotations

import numpy as np

from mmer.errors import InputError


def decide(scores: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    """(N, L) bool: which labels are present, those whose score is above their threshold.

    Args:
        scores: (N, L).
        thresholds: (L,), one per label, or one for all.

    Raises:
        InputError: Another number of thresholds than of labels, or one that is not finite.
    """
    limits = np.asarray(thresholds, np.float64)
    if limits.shape not in ((), scores.shape[1:]):
        expected = f"one for each of {scores.shape[1]} labels"
        raise InputError("decision", "thresholds", expected, f"shape {limits.shape}")
    if not np.isfinite(limits).all():
        raise InputError("decision", "thresholds", "finite numbers", thresholds)
    return scores > limits
