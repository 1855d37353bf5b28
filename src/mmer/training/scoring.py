"""Scores of a network on samples, and the figures by which a training can keep an epoch."""

from __future__ import annotations

import numpy as np
import torch

from mmer.calibration.targets import Target
from mmer.calibration.thresholds import shared_threshold
from mmer.metrics.counts import micro_f1
from mmer.metrics.decisions import decide
from mmer.samples.batches import Present, Samples, batches_by_length
from mmer.training.network import Network

_BATCH_SIZE = 256


def score_samples(network: Network, samples: Samples, present: Present | None = None) -> np.ndarray:
    """Scores (N, L) in [0, 1], in the samples' order; modalities not `present` are hidden.

    The network is put into evaluation mode; samples on another device come to it batch by batch.
    """
    device = next(network.parameters()).device
    scores = np.empty(samples.labels.shape, np.float32)
    network.eval()
    with torch.inference_mode():
        for index in batches_by_length(samples.longest, _BATCH_SIZE):
            shown = {m: torch.from_numpy(x[index]).to(device) for m, x in (present or {}).items()}
            batch = samples.gather(index).to(device).hide(shown)
            scores[index] = network.scores(batch).float().cpu().numpy()
    return scores


def best_micro_f1(scores: np.ndarray, truth: np.ndarray, threshold: float | None) -> float:
    """Micro-F1 at `threshold`, or at the best threshold shared by the labels if None."""
    if threshold is None:
        threshold = shared_threshold(scores, truth, Target("micro_f1"))
    return micro_f1(decide(scores, threshold), truth)


def mean_average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean of average precision over the labels that some of the samples have; 0 without any."""
    from sklearn.metrics import average_precision_score  # no part of what is served

    occur = truth.any(axis=0)
    if not occur.any():
        return 0.0
    return float(average_precision_score(truth[:, occur], scores[:, occur], average="macro"))
