"""One logit per label from the modality that speaks for it most (CARAT, "max-pooled heads").

Shapes: M modalities, B samples, L labels, d hidden.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from mmer.systems.layers.stacked import uniform


class MaxPooledHeads(nn.Module):
    """logit_ml = <x_ml, w_ml>, the maximum over the modalities; shared by the three levels."""

    def __init__(self, modalities: int, num_labels: int, hidden: int) -> None:
        super().__init__()
        self.stacked = modalities
        self.weight = nn.Parameter(uniform(1 / math.sqrt(hidden), modalities, num_labels, hidden))

    def forward(self, x_MBLd: Tensor) -> Tensor:
        """(M, B, L, d) -> logits (B, L)."""
        return (x_MBLd * self.weight[:, None]).sum(dim=-1).amax(dim=0)
