"""Systems that look at no feature: what any other has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mmer.samples.batches import Present, Samples
from mmer.schema import Settings
from mmer.systems.contract import Attention, Fit, FittedSystem, Scorer, System, SystemInfo
from mmer.training.checkpoints import Checkpoints
from mmer.training.history import History


class ConstantSettings(Settings):
    """There is nothing to set."""


@dataclass(frozen=True)
class ConstantScorer:
    """Gives every sample the same scores, (L,) in [0, 1]."""

    row: np.ndarray

    def scores(self, samples: Samples, present: Present | None = None) -> np.ndarray:
        """(N, L), the same whatever is present."""
        return np.tile(self.row, (len(samples), 1))

    def attention(self, samples: Samples, index: np.ndarray) -> list[Attention]:
        """Nothing is looked at."""
        return []


def _info(
    system: System, train: Samples, settings: ConstantSettings, threshold: float
) -> SystemInfo:
    """A system that looks at no modality may lack them all."""
    return system.info(train, settings, fixed_threshold=threshold, may_lack=train.modalities)


class AllPositive(System):
    """Predicts every label for every sample."""

    name = "all_positive"
    title = "All-positive baseline"
    settings = ConstantSettings
    simple = True

    def fit(
        self,
        train: Samples,
        valid: Samples,
        settings: ConstantSettings,
        checkpoints: Checkpoints | None = None,
    ) -> Fit:
        """There is nothing to learn: every score is 1, the threshold 0."""
        return Fit(FittedSystem(_info(self, train, settings, 0.0), {}), History())

    def scorer(self, fitted: FittedSystem, device: torch.device) -> Scorer:
        return ConstantScorer(np.ones(len(fitted.info.labels)))


class LabelPrior(System):
    """Scores every sample by how frequent each label is in training; predicts what most have."""

    name = "label_prior"
    title = "Label prior"
    settings = ConstantSettings
    simple = True

    def fit(
        self,
        train: Samples,
        valid: Samples,
        settings: ConstantSettings,
        checkpoints: Checkpoints | None = None,
    ) -> Fit:
        """Learn the share of training samples that have each label; the threshold is 0.5."""
        prevalence = torch.from_numpy(train.truth.mean(axis=0))
        info = _info(self, train, settings, 0.5)
        return Fit(FittedSystem(info, {"prevalence": prevalence}), History())

    def scorer(self, fitted: FittedSystem, device: torch.device) -> Scorer:
        return ConstantScorer(fitted.arrays["prevalence"].numpy())
