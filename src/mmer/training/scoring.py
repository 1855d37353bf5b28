"""Scores of a network on packed samples."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch

from mmer.calibration.targets import Target
from mmer.calibration.thresholds import shared_threshold
from mmer.errors import InputError
from mmer.models.carat import Carat
from mmer.models.weights import TrainedModel
from mmer.samples.batches import PackedSamples, batches_by_length, pack
from mmer.samples.scores import Scores
from mmer.samples.table import table_info

_BATCH_SIZE = 256


def score_samples(
    network: Carat, samples: PackedSamples, present: dict[str, np.ndarray] | None = None
) -> np.ndarray:
    """Scores (N, L) in [0, 1], in the samples' order.

    Args:
        network: Put into evaluation mode.
        samples: On any device; moved batch by batch to the network's.
        present: modality -> (N,) bool: where False the modality is hidden from the network.
    """
    device = next(network.parameters()).device
    scores = np.empty(samples.labels.shape, np.float32)
    network.eval()
    with torch.inference_mode():
        for index in batches_by_length(samples.longest, _BATCH_SIZE):
            batch = samples.gather(index).to(device)
            for modality, shown in (present or {}).items():
                hidden = torch.from_numpy(~shown[index]).to(device)
                batch.masks[modality].masked_fill_(hidden[:, None], False)
                batch.features[modality].masked_fill_(hidden[:, None, None], 0)
            scores[index] = network.scores(batch.features, batch.masks).float().cpu().numpy()
    return scores


def score_table(model: TrainedModel, table: pa.Table, split: str) -> Scores:
    """Scores of a trained model on a sample table, with the digest of its weights.

    Raises:
        InputError: The table's labels or feature widths are not the model's.
    """
    info = table_info(table)
    for name, expected, found in (
        ("labels", model.labels, info.labels),
        ("feature widths", model.widths, info.widths),
    ):
        if expected != found:
            raise InputError(f"{info.corpus} {split} samples", name, str(expected), found)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    samples = pack(table)
    return Scores(
        scores=score_samples(model.build(device), samples),
        truth=samples.labels.numpy().astype(np.uint8),
        sample_ids=tuple(table["sample_id"].to_pylist()),
        group_ids=tuple(table["group_id"].to_pylist()),
        labels=info.labels,
        split=split,
        weights=model.digest,
        synthetic=info.synthetic,
    )


def best_micro_f1(scores: np.ndarray, truth: np.ndarray, threshold: float | None) -> float:
    """Micro-F1 at `threshold`, or at the best threshold shared by the labels if None."""
    if threshold is None:
        threshold = shared_threshold(scores, truth, Target("micro_f1"))
    predicted = scores > threshold
    hits = (predicted & (truth > 0)).sum()
    return float(2 * hits / max(1, predicted.sum() + (truth > 0).sum()))
