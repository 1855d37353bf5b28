"""CARAT at the paper's sizes for aligned CMU-MOSEI, and random batches to train it on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmer.models.carat import Carat
from mmer.models.settings import MODALITIES, CaratSettings
from mmer.samples.batches import Batch
from mmer.training.optimiser import BertAdam, OptimiserSettings

LABELS = 6
WIDTHS = {"text": 300, "visual": 35, "audio": 74}
BATCH, LENGTH = 64, 60


def paper_network(device: str, max_length: int = LENGTH) -> Carat:
    """The default settings are the paper's."""
    torch.manual_seed(0)
    return Carat(CaratSettings(max_length=max_length), WIDTHS, LABELS).to(device)


def random_batch(batch: int, length: int, device: str) -> Batch:
    """Samples that all have the full length."""
    generator = torch.Generator().manual_seed(0)
    features = {m: torch.randn(batch, length, WIDTHS[m], generator=generator) for m in MODALITIES}
    masks = {m: torch.ones(batch, length, dtype=torch.bool) for m in MODALITIES}
    labels = (torch.rand(batch, LABELS, generator=generator) < 0.25).float()
    return Batch(features, masks, labels).to(torch.device(device))


class TrainingStep:
    """One step of training, whole or in its three parts.

    Args:
        network: Trained in place.
        bfloat16: Under autocast.
        compiled: Through `torch.compile`.
    """

    def __init__(self, network: Carat, *, bfloat16: bool = False, compiled: bool = False) -> None:
        self.network = network.train()
        self.bfloat16 = bfloat16
        self.optimiser = BertAdam(network, OptimiserSettings(), total_steps=10_000)
        self._losses: Callable[..., dict[str, Tensor]] = (
            torch.compile(network.training_losses) if compiled else network.training_losses
        )
        self._total = torch.zeros(())

    def forward(self, batch: Batch) -> None:
        device = batch.labels.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.bfloat16):
            self._total = self._losses(batch.features, batch.masks, batch.labels)["total"]

    def backward(self) -> None:
        self._total.backward()

    def optimise(self) -> None:
        self.optimiser.step()
        self.optimiser.zero_grad()

    def __call__(self, batch: Batch) -> None:
        self.forward(batch)
        self.backward()
        self.optimise()
