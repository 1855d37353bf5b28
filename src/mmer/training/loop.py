"""The training loop, to be read from top to bottom: epochs of steps, the best epoch kept."""

from __future__ import annotations

import math
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from mmer.errors import InputError
from mmer.models.carat import Carat, CaratSettings
from mmer.samples.batches import PackedSamples, length_aware_batches
from mmer.samples.table import MODALITIES
from mmer.training.optimiser import BertAdam, OptimiserSettings
from mmer.training.progress import EpochProgress
from mmer.training.scoring import best_micro_f1, score_samples

_SHARE_OF_FREE_MEMORY = 0.5


@dataclass(frozen=True)
class TrainingSettings:
    """How CARAT is trained; the defaults are the published program's.

    Attributes:
        epochs: Passes over the training samples.
        batch_size: Samples in a step.
        optimiser: Learning rate, its schedule, and the optimiser's constants.
        seed: Of weights, shuffles and dropout.
        device: "auto" takes CUDA where there is one.
        precision: "auto" is bfloat16 autocast on CUDA and float32 elsewhere.
        compile: Run the step through `torch.compile`.
        standardise: Shift and scale each feature by its mean and deviation over the training
            samples before the input LayerNorm. Not in the published program.
        selection_threshold: The epoch kept is the one with the best validation micro-F1 at this
            threshold, or at the best shared threshold if None. The published program: 0.25.
    """

    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    epochs: int = 20
    batch_size: int = 64
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    seed: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    standardise: bool = True
    selection_threshold: float | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError("training parameters", name, "at least 1", getattr(self, name))
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("training parameters", "device", "a CUDA device", "none here")

    @property
    def torch_device(self) -> torch.device:
        """The device that the settings come to on this machine."""
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    @property
    def bfloat16(self) -> bool:
        """Whether a step runs under bfloat16 autocast on this machine."""
        if self.precision == "auto":
            return self.torch_device.type == "cuda"
        return self.precision == "bfloat16"


@dataclass(frozen=True)
class TrainingResult:
    """A trained network, with the weights of its best epoch, and how it came about.

    Attributes:
        network: In evaluation mode.
        history: Per epoch, the mean of every loss term and the validation micro-F1.
        best_epoch: The epoch kept, counted from 1.
    """

    network: Carat
    history: list[dict[str, float]]
    best_epoch: int


def train(
    train_samples: PackedSamples,
    valid_samples: PackedSamples,
    carat: CaratSettings,
    settings: TrainingSettings,
) -> TrainingResult:
    """Train CARAT and keep the epoch that is best on the validation samples.

    The same settings, samples and machine give the same weights, bit for bit.

    Raises:
        InputError: The loss stops being finite.
    """
    device = settings.torch_device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), _repeatable():
        torch.manual_seed(settings.seed)
        return _train(train_samples, valid_samples, carat, settings)


@contextmanager
def _repeatable() -> Iterator[None]:
    """Sums over several threads in a fixed order: without it the same seed drifts apart.

    On CUDA, cuBLAS wants a workspace of fixed size; an operation without a repeatable form warns.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


def _train(
    train_samples: PackedSamples,
    valid_samples: PackedSamples,
    carat: CaratSettings,
    settings: TrainingSettings,
) -> TrainingResult:
    device, rng = settings.torch_device, np.random.default_rng(settings.seed)
    network = new_network(train_samples, carat, standardise=settings.standardise).to(device)
    train_samples, valid_samples = (resident(s, device) for s in (train_samples, valid_samples))
    truth = valid_samples.labels.cpu().numpy()
    steps = settings.epochs * math.ceil(len(train_samples) / settings.batch_size)
    optimiser = BertAdam(network, settings.optimiser, steps)
    losses = torch.compile(network.training_losses) if settings.compile else network.training_losses
    history: list[dict[str, float]] = []
    best, best_epoch, best_state = -1.0, 0, network.state_dict()
    with EpochProgress(steps, settings.epochs) as progress:
        for epoch in range(1, settings.epochs + 1):
            start = time.perf_counter()
            sums = defaultdict[str, Tensor](lambda: torch.zeros((), device=device))
            network.train()
            batches = length_aware_batches(train_samples.longest, settings.batch_size, rng)
            for index in batches:
                batch = train_samples.gather(index).to(device)
                with torch.autocast(device.type, torch.bfloat16, enabled=settings.bfloat16):
                    terms = losses(batch.features, batch.masks, batch.labels)
                terms["total"].backward()
                optimiser.step()
                optimiser.zero_grad()
                for name, value in terms.items():
                    sums[name] += value.detach()
                progress.step()
            record = _mean_losses(sums, len(batches), epoch)
            scores = score_samples(network, valid_samples)
            micro_f1 = best_micro_f1(scores, truth, settings.selection_threshold)
            seconds = time.perf_counter() - start
            record |= {"valid_micro_f1": micro_f1, "seconds": seconds}
            history.append({"epoch": epoch, **record})
            progress.epoch(epoch, record)
            if micro_f1 > best:
                best, best_epoch = micro_f1, epoch
                best_state = {name: x.clone() for name, x in network.state_dict().items()}
    network.load_state_dict(best_state)
    return TrainingResult(network.eval(), history, best_epoch)


def _mean_losses(sums: dict[str, Tensor], batches: int, epoch: int) -> dict[str, float]:
    record = {name: float(value) / batches for name, value in sums.items()}
    if not math.isfinite(record["total"]):
        raise InputError(
            "training", f"epoch {epoch}", "a finite loss", record, "Lower the learning rate."
        )
    return record


def new_network(samples: PackedSamples, carat: CaratSettings, *, standardise: bool) -> Carat:
    """A network for samples of these widths and labels, with input statistics if asked for."""
    widths = {m: samples.values[m].shape[1] for m in MODALITIES}
    network = Carat(carat, widths, samples.labels.shape[1])
    if standardise and not carat.reference:
        network.set_input_statistics(*_statistics(samples))
    return network


def resident(samples: PackedSamples, device: torch.device) -> PackedSamples:
    """The samples on `device` if they leave half of its free memory; else where they are."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if samples.nbytes > free * _SHARE_OF_FREE_MEMORY:
            return samples
    return samples.to(device)


def _statistics(samples: PackedSamples) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Mean and deviation of each feature over all rows; a constant feature's scale is 1."""
    mean, scale = {}, {}
    for modality, values in samples.values.items():
        if len(values) == 0:
            mean[modality] = torch.zeros(values.shape[1])
            scale[modality] = torch.ones(values.shape[1])
            continue
        deviation = values.std(dim=0, correction=0)
        mean[modality] = values.mean(dim=0)
        scale[modality] = torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
    return mean, scale
