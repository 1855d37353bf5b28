"""Dropout with cheap random bits on a CPU, where drawing them would outweigh the arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_STEPS = 1 << 16  # values of one 16-bit draw


def keep_mask(shape: torch.Size, probability: float) -> tuple[Tensor, float]:
    """Which elements survive, on the CPU, from 16 random bits each (a quarter of a 64-bit draw).

    Returns:
        A mask of 0 and 1 as bytes (a product with them converts faster than one with bool), and
        the factor that restores the mean of what survives, `probability` being that of an element
        to be dropped, taken to the nearest 1/65536.
    """
    dropped = min(round(probability * _STEPS), _STEPS - 1)
    words = torch.empty((shape.numel() + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    keep = words.view(torch.int16)[: shape.numel()].view(shape) >= dropped - _STEPS // 2
    return keep.view(torch.uint8), _STEPS / (_STEPS - dropped)


def dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """`x` with each element zeroed with `probability`, the rest scaled to keep the mean."""
    if not training or probability == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, probability)
    keep, scale = keep_mask(x.shape, probability)
    return x * keep * scale


def add_dropout(residual: Tensor, x: Tensor, probability: float, training: bool) -> Tensor:
    """`residual + dropout(x)`, the end of each Transformer sub-layer, in fewer passes."""
    if not training or probability == 0 or x.device.type != "cpu":
        return residual + dropout(x, probability, training)
    keep, scale = keep_mask(x.shape, probability)
    return torch.add(residual, x * keep, alpha=scale)
