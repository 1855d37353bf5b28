"""One training by several processes: each batch is shared out, and joined where its samples meet.

Every process ("rank", counted from 0) holds all samples and all parameters. Of each batch it takes
its share through whatever treats samples one by one. There `gathered` joins the shares, and what
follows (a contrast, queues, prototypes, means over the batch) is computed on the whole batch by
every rank alike. So the losses are those of one process, and none of them is an average of parts.

DDP averages the gradients over the ranks. Behind the join all have the same, which stays what it
is. Before it each has that of its own share: `gathered` multiplies it by the number of ranks on its
way back, so that the average is the sum.

Random numbers before the join are each rank's own, and those behind it common to all. What is drawn
before follows from seed, step and rank: nothing of it is in a checkpoint, which any number of
processes can go on from.

Without `torch.distributed` all of this is nothing: one process has no shares.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.parallel import DistributedDataParallel

from mmer.errors import InputError
from mmer.samples.batches import Batch
from mmer.training.network import Losses, Network

Generators = tuple[Tensor, Tensor | None]


class _Step:
    """The batch at hand: how many samples all shares have together, how often they have been
    joined, and the common generators until they first have.
    """

    def __init__(self, samples: int, device: torch.device) -> None:
        self.samples, self.device = samples, device
        self.common: Generators | None = _generators(device)
        self.joins = 0
        # What would keep it out of a compiled step takes seconds to import where there is none.
        self.join = _uncompiled() if "torch._dynamo" in sys.modules else _gathered

    def take_common(self) -> None:
        """From now on all ranks draw the same."""
        if self.common is not None:
            _set_generators(self.common, self.device)
            self.common = None


_step: _Step | None = None


@contextmanager
def team(device: torch.device) -> Iterator[None]:
    """Inside, this process is one of those that torchrun has started, with a device of its own.

    Raises:
        InputError: There are fewer CUDA devices than processes on this machine.
    """
    cuda, place = device.type == "cuda", int(os.environ["LOCAL_RANK"])
    if cuda:
        if place >= (count := torch.cuda.device_count()):
            expected = f"at most {count}, as many as there are CUDA devices"
            found = os.environ["LOCAL_WORLD_SIZE"]
            raise InputError("training settings", "processes", expected, found)
        torch.cuda.set_device(place)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _several() else 1


def is_first() -> bool:
    """Whether this is the process that writes what all of them would."""
    return not _several() or dist.get_rank() == 0


def agreed(number: int | None) -> int | None:
    """The largest number that one of them says; None if none says any. None waits for a device."""
    if not _several():
        return number
    said = torch.tensor(number or 0)
    dist.all_reduce(said, dist.ReduceOp.MAX)
    return int(said) or None


def from_first(content: bytes | None) -> bytes | None:
    """What the first process has, for all."""
    if not _several():
        return content
    length = torch.tensor(-1 if content is None else len(content))
    dist.broadcast(length, 0)
    if length < 0:
        return None
    told = torch.empty(int(length), dtype=torch.uint8)
    if content is not None:
        told = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    dist.broadcast(told, 0)
    return told.numpy().tobytes()


def own_share(count: int) -> np.ndarray:
    """Which of the samples of a batch this process takes: places (B,) in it, one after another.

    All shares have one size, at least 1. Where they do not come out even, the last sample is taken
    once more; `gathered` leaves these copies out again.
    """
    each = -(-count // size())
    first = dist.get_rank() * each if _several() else 0
    return np.minimum(np.arange(first, first + each), count - 1)


def every_nth(count: int) -> np.ndarray:
    """Which of `count` samples this process scores; see `interleaved`."""
    return np.arange(dist.get_rank() if _several() else 0, count, size())


def interleaved(own: np.ndarray, count: int) -> np.ndarray:
    """The rows (N, ..) of all of which each process has `every_nth`."""
    if not _several():
        return own
    longest = -(-count // size())
    padded = np.zeros((longest, *own.shape[1:]), own.dtype)
    padded[: len(own)] = own
    everyone = _from_all(torch.from_numpy(padded))  # (ranks, longest, ..)
    return everyone.transpose(0, 1).flatten(0, 1)[:count].numpy()


def replicated(network: Network, losses: Callable[[Batch], Losses]) -> Callable[[Batch], Losses]:
    """The losses of a network whose gradients become the mean over the processes.

    Parameters and buffers are those of the first process from now on.
    """
    if not _several():
        return losses
    # Static: what a setting switches off has no gradient in any step.
    return DistributedDataParallel(_Losses(network, losses), static_graph=True)


@contextmanager
def sharing(samples: int, seed: Sequence[int], device: torch.device) -> Iterator[None]:
    """Inside, a step is made with the `own_share` of a batch of so many samples.

    Args:
        seed: Of the step.

    Raises:
        InputError: The network has not joined the shares: its loss would be that of one of them.
    """
    global _step
    if not _several():
        yield
        return
    _step = _Step(samples, device)
    own = np.random.default_rng((*seed, dist.get_rank())).integers(1 << 63)
    torch.manual_seed(int(own))
    try:
        yield
        if _step.common is not None:
            expected = "a network whose losses join the shares (mmer.training.distributed.gathered)"
            raise InputError("training settings", "processes", expected, "another")
    finally:
        _step = None


def gathered(x: Tensor, dim: int = 0) -> Tensor:
    """What all processes have of a batch, joined along its samples, `dim`; `x` if there is one.

    From here on all draw the same random numbers.
    """
    return x if _step is None else _step.join(x, dim)


def gathered_scores(network: Network, batch: Batch) -> Tensor:
    """Scores (B, L) of the whole batch, whether or not the network joins the shares for them."""
    before = _step.joins if _step else 0
    scores = network.scores(batch)
    return scores if _step is None or _step.joins > before else gathered(scores)


@cache
def _uncompiled() -> Callable[[Tensor, int], Tensor]:
    return torch.compiler.disable(_gathered)


def _gathered(x: Tensor, dim: int) -> Tensor:
    assert _step is not None
    _step.take_common()
    _step.joins += 1
    return _Gathered.apply(x, dim, _step.samples)


class _Gathered(torch.autograd.Function):
    """Behind it every rank has the same gradient, so none needs to be told that of another."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, samples: int) -> Tensor:
        ctx.dim, ctx.each = dim, x.shape[dim]
        return torch.cat(list(_from_all(x)), dim).narrow(dim, 0, samples)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (whole,) = upstream
        dim, each = ctx.dim, ctx.each
        shape = list(whole.shape)
        shape[dim] = each * dist.get_world_size()
        padded = whole.new_zeros(shape)  # copies of samples have none
        padded.narrow(dim, 0, whole.shape[dim]).copy_(whole)
        own = padded.narrow(dim, each * dist.get_rank(), each)
        return own * dist.get_world_size(), None, None


class _Losses(nn.Module):
    """What DDP can wrap: a module whose forward pass is the losses."""

    def __init__(self, network: Network, losses: Callable[[Batch], Losses]) -> None:
        super().__init__()
        self.network, self._losses = network, losses

    def forward(self, batch: Batch) -> Losses:
        return self._losses(batch)


def _from_all(x: Tensor) -> Tensor:
    """(ranks, *x.shape), as bytes: for gloo does not know every type."""
    own = x.contiguous().view(-1).view(torch.uint8)
    everyone = own.new_empty(dist.get_world_size(), len(own))
    dist.all_gather(list(everyone), own)
    return everyone.view(x.dtype).view(-1, *x.shape)


def _several() -> bool:
    return dist.is_available() and dist.is_initialized()


def _generators(device: torch.device) -> Generators:
    cuda = device.type == "cuda"
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if cuda else None


def _set_generators(states: Generators, device: torch.device) -> None:
    host, cuda = states
    torch.set_rng_state(host)
    if cuda is not None:
        torch.cuda.set_rng_state(cuda, device)
