"""A system from outside of the package: what adding one takes.

It guesses a label where a sample's first steps are nearer to the mean of the training samples that
have it than to that of the others.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from mmer.samples.batches import Present, Samples
from mmer.schema import Settings
from mmer.systems.contract import Attention, Fit, FittedSystem, System
from mmer.training.checkpoints import Checkpoints
from mmer.training.history import History


class NearestSettings(Settings):
    """Of the toy system.

    Attributes:
        sharpness: Of the scores.
    """

    sharpness: float = Field(1.0, gt=0)


class NearestMean(System):
    """Scores by which of two means, of samples with and without the label, is nearer."""

    name = "nearest"
    title = "Nearest mean"
    settings = NearestSettings

    def fit(
        self,
        train: Samples,
        valid: Samples,
        settings: NearestSettings,
        checkpoints: Checkpoints | None = None,
    ) -> Fit:
        pooled, truth = pooled_means(train, None), train.labels.numpy() > 0
        means = np.stack(
            [[pooled[column].mean(axis=0), pooled[~column].mean(axis=0)] for column in truth.T]
        )
        arrays = {"means": torch.from_numpy(means)}
        return Fit(FittedSystem(self.info(train, settings), arrays), History())

    def scorer(self, fitted: FittedSystem, device: torch.device) -> NearestScorer:
        return NearestScorer(fitted)


class NearestScorer:
    def __init__(self, fitted: FittedSystem) -> None:
        self.means = fitted.arrays["means"].numpy()
        self.sharpness = fitted.info.settings["sharpness"]

    def scores(self, samples: Samples, present: Present | None = None) -> np.ndarray:
        pooled = pooled_means(samples, present)
        distance = ((pooled[:, None, None] - self.means) ** 2).sum(axis=-1)  # (N, L, 2)
        return 1 / (1 + np.exp(self.sharpness * (distance[..., 0] - distance[..., 1])))

    def attention(self, samples: Samples, index: np.ndarray) -> list[Attention]:
        return []


def pooled_means(samples: Samples, present: Present | None) -> np.ndarray:
    """(N, sum D): the first step of each modality, zeros where it is hidden."""
    parts = []
    for modality in samples.modalities:
        rows = samples.values[modality].numpy()[samples.starts[modality].numpy()]
        shown = (present or {}).get(modality, np.ones(len(samples), bool))
        parts.append(np.where(shown[:, None], rows, 0))
    return np.concatenate(parts, axis=1)
