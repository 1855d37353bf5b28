"""All that a training run is at any of its steps: what stopping and going on have to keep."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmer.samples.batches import Batch
from mmer.training.distillation import distilled
from mmer.training.distributed import replicated
from mmer.training.history import Epoch
from mmer.training.network import Losses, Network
from mmer.training.optimiser import BertAdam, warmup_then_linear
from mmer.training.settings import TrainingSettings


class TrainingState:
    """A run between two steps. What order samples come in follows from the seed and the epoch.

    Attributes:
        losses: The network's losses, compiled if the settings say so, with self-distillation if
            they do, and shared among processes if there are several.
        epochs: Those that are finished.
        best: The network's parameters and buffers at the end of the best of them.
        step: Steps done of the epoch at hand.
        sums: Sum over these steps of each term of the loss.
        earlier_seconds: That the training took in runs that did not end it.
    """

    def __init__(self, network: Network, settings: TrainingSettings, num_samples: int) -> None:
        self.network = network
        self.device = next(network.parameters()).device
        losses: Callable[[Batch], Losses] = network.losses
        if settings.compile:
            losses = torch.compile(losses)
        if weight := settings.absent.distillation:
            losses = distilled(network, losses, weight)
        self.losses = replicated(network, losses)
        self.steps_per_epoch = math.ceil(num_samples / settings.batch_size)
        self.total_steps = settings.epochs * self.steps_per_epoch
        self.optimiser = BertAdam(network, settings.optimiser)
        self.schedule = warmup_then_linear(
            self.optimiser, settings.optimiser.warmup, self.total_steps
        )
        self.epochs: list[Epoch] = []
        self.best: dict[str, Tensor] = {}
        self.step = 0
        self.sums: dict[str, Tensor] = {}
        self.earlier_seconds = 0.0
        self._num_epochs, self._began = settings.epochs, time.perf_counter()
        self._astray = torch.full((), -1, device=self.device)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done."""
        return len(self.epochs) >= self._num_epochs

    @property
    def steps_done(self) -> int:
        """Of all epochs together."""
        return len(self.epochs) * self.steps_per_epoch + self.step

    @property
    def place(self) -> str:
        """How far it is, for readers."""
        if not self.step:
            return f"epoch {len(self.epochs)} of {self._num_epochs}"
        return f"step {self.step} of {self.steps_per_epoch} of epoch {len(self.epochs) + 1}"

    @property
    def seconds(self) -> float:
        """That the epoch at hand has taken, in whichever run."""
        return time.perf_counter() - self._began

    def first_astray(self) -> int | None:
        """The first step of this epoch (counted from 0) whose loss was not finite, if there was
        one; waits for the device.
        """
        step = int(self._astray)
        return None if step < 0 else step

    def has_gone_astray(self) -> bool:
        """Whether a loss of this epoch or a parameter is not finite; waits for the device."""
        sizes = torch.stack(torch._foreach_norm(list(self.network.parameters())))
        return self.first_astray() is not None or not bool(sizes.isfinite().all())

    def end_step(self, losses: Losses) -> None:
        """Count a step and its losses; nothing waits for the device."""
        bad = ~torch.isfinite(losses.terms["total"].detach()) & (self._astray < 0)
        self._astray.masked_fill_(bad, self.step)
        self.step += 1
        for name, value in losses.terms.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().float()

    def end_epoch(self, epoch: Epoch) -> None:
        """Record an epoch, and keep the network if it was the best so far."""
        if all(epoch.selection > before.selection for before in self.epochs):
            self.best = {name: x.clone() for name, x in self.network.state_dict().items()}
        self.epochs.append(epoch)
        self.step, self.sums = 0, {}
        self._began = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """Everything as tensors, numbers and strings in dicts and lists; tensors are not copied.

        Of a training that is finished, what came out.
        """
        epochs = [epoch.model_dump() for epoch in self.epochs]
        out = {"finished": self.finished, "epochs": epochs, "best": self.best}
        if self.finished:
            return out
        cuda = self.device.type == "cuda"
        return {
            **out,
            "epoch_seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "step": self.step,
            "sums": self.sums,
            "generator": torch.get_rng_state(),
            "cuda_generator": torch.cuda.get_rng_state(self.device) if cuda else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the run that `state` was taken of, the random generators of torch included."""
        self.epochs, self.best = [Epoch(**epoch) for epoch in state["epochs"]], state["best"]
        self.earlier_seconds = sum(epoch.seconds for epoch in self.epochs)
        if state["finished"]:
            return
        self.earlier_seconds += state["epoch_seconds"]
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.step = state["step"]
        self.sums = {name: x.to(self.device) for name, x in state["sums"].items()}
        self._began = time.perf_counter() - state["epoch_seconds"]
        torch.set_rng_state(state["generator"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_generator"], self.device)
