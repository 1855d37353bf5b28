"""Linear layers of equal shape held in one parameter, so that one matrix product serves them all.

`stacked` on a module says how many of the paper's tensors lie one after another along the first
dimension of each of its parameters: whatever treats parameters one by one (clipping, reading a
published checkpoint) treats these parts one by one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class StackedOutputs(nn.Linear):
    """`stacked` linear layers on the same input, their outputs side by side: n -> stacked * m."""

    def __init__(self, stacked: int, n: int, m: int) -> None:
        super().__init__(n, stacked * m)
        self.stacked = stacked


class StackedLinear(nn.Module):
    """`stacked` linear layers, each on an input of its own: (stacked, N, n) -> (stacked, N, m).

    Weights start Xavier-uniform and biases uniform within 1/sqrt(n), as published.
    """

    def __init__(self, stacked: int, n: int, m: int) -> None:
        super().__init__()
        self.stacked = stacked
        self.weight = nn.Parameter(xavier_uniform(stacked, m, n))
        self.bias = nn.Parameter(uniform(1 / math.sqrt(n), stacked, m))

    def forward(self, x_SNn: Tensor) -> Tensor:
        return torch.baddbmm(self.bias[:, None, :], x_SNn, self.weight.transpose(1, 2))


def xavier_uniform(*shape: int) -> Tensor:
    """Xavier-uniform over the last two dimensions (m, n), whatever stands before them."""
    return uniform(math.sqrt(6 / (shape[-1] + shape[-2])), *shape)


def uniform(bound: float, *shape: int) -> Tensor:
    """Uniform within [-bound, bound]."""
    return torch.empty(shape).uniform_(-bound, bound)
