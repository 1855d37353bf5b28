"""All that a training run is at any of its steps: what stopping and going on have to keep."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmer.training.history import Epoch
from mmer.training.network import Losses, Network
from mmer.training.optimiser import BertAdam, warmup_then_linear
from mmer.training.settings import TrainingSettings


class TrainingState:
    """A run between two steps. What order samples come in follows from the seed and the epoch.

    Attributes:
        losses: The network's losses, compiled if the settings say so.
        epochs: Those that are finished.
        best: The network's parameters and buffers at the end of the best of them.
        step: Steps done of the epoch at hand.
        sums: Sum over these steps of each term of the loss.
    """

    def __init__(self, network: Network, settings: TrainingSettings, num_samples: int) -> None:
        self.network = network
        self.device = next(network.parameters()).device
        self.losses = torch.compile(network.losses) if settings.compile else network.losses
        self.total_steps = settings.epochs * math.ceil(num_samples / settings.batch_size)
        self.optimiser = BertAdam(network, settings.optimiser)
        self.schedule = warmup_then_linear(
            self.optimiser, settings.optimiser.warmup, self.total_steps
        )
        self.epochs: list[Epoch] = []
        self.best: dict[str, Tensor] = {}
        self.step = 0
        self.sums: dict[str, Tensor] = {}

    def end_step(self, losses: Losses) -> None:
        """Count a step and its losses."""
        self.step += 1
        for name, value in losses.terms.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().float()

    def end_epoch(self, epoch: Epoch) -> None:
        """Record an epoch, and keep the network if it was the best so far."""
        if all(epoch.selection > before.selection for before in self.epochs):
            self.best = {name: x.clone() for name, x in self.network.state_dict().items()}
        self.epochs.append(epoch)
        self.step, self.sums = 0, {}

    def state_dict(self) -> dict[str, Any]:
        """Everything as tensors, numbers and strings in dicts and lists; tensors are not copied."""
        cuda = self.device.type == "cuda"
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "epochs": [epoch.model_dump() for epoch in self.epochs],
            "best": self.best,
            "step": self.step,
            "sums": self.sums,
            "generator": torch.get_rng_state(),
            "cuda_generator": torch.cuda.get_rng_state(self.device) if cuda else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the run that `state` was taken of, the random generators of torch included."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self.best, self.step, self.sums = state["best"], state["step"], dict(state["sums"])
        torch.set_rng_state(state["generator"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_generator"], self.device)
