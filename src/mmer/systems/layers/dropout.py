"""Dropout with cheap random bits on a CPU, where drawing them would outweigh the arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_STEPS = 1 << 16  # values of one 16-bit draw


class KeepMasks:
    """Masks of what survives dropout, one after another, on the CPU.

    Each element takes 16 bits of a generator that gives them several times faster than torch's.
    The same seed gives the same masks again, so that a backward pass need not have kept them.

    Attributes:
        seed: Drawn from torch's generator if none is given.
        scale: Restores the mean of what survives, `probability` being that of an element to be
            dropped, taken to the nearest 1/65536.
    """

    def __init__(self, probability: float, seed: int | None = None) -> None:
        self.seed = int(torch.empty((), dtype=torch.int64).random_()) if seed is None else seed
        dropped = min(round(probability * _STEPS), _STEPS - 1)
        self.scale = _STEPS / (_STEPS - dropped)
        self._least_kept = dropped - _STEPS // 2
        self._bits = np.random.SFC64(self.seed)

    def draw(self, shape: Sequence[int]) -> Tensor:
        """The next one, 0 and 1 as bytes: a product with them converts faster than with bool."""
        count = math.prod(shape)
        words = self._bits.random_raw((count + 3) // 4).view(np.int16)[:count]
        return torch.from_numpy((words >= self._least_kept).view(np.uint8)).view(*shape)


def dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """`x` with each element zeroed with `probability`, the rest scaled to keep the mean."""
    if not training or probability == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, probability)
    masks = KeepMasks(probability)
    return x * masks.draw(x.shape) * masks.scale


def add_dropout(residual: Tensor, x: Tensor, probability: float, training: bool) -> Tensor:
    """`residual + dropout(x)`, the end of each Transformer sub-layer, in fewer passes."""
    if not training or probability == 0 or x.device.type != "cpu":
        return residual + dropout(x, probability, training)
    masks = KeepMasks(probability)
    return torch.add(residual, x * masks.draw(x.shape), alpha=masks.scale)
