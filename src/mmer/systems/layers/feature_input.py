"""What happens to raw features first: a standardisation of ours, and the published LayerNorm.

Shapes: B samples, T steps, D raw features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmer.systems.layers.encoder import NORM_EPS


class InputNorm(nn.LayerNorm):
    """LayerNorm over raw features, each of them standardised first if its statistics are known.

    Raw features differ by orders of magnitude (a pitch in Hz beside a probability); without
    statistics the LayerNorm sees the largest alone. Until `standardise` is called they are the
    identity. It is the one LayerNorm whose scale the published program decays.
    """

    decays = True  # see training.optimiser.decay_groups
    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=NORM_EPS)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def standardise(self, mean_D: Tensor, scale_D: Tensor) -> None:
        """From now on features become (x - mean) / scale before they are normalised."""
        self.mean.copy_(mean_D)
        self.scale.copy_(scale_D)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return super().forward((x_BTD - self.mean) / self.scale)
