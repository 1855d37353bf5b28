"""Logits of features, from single modalities and labels or from all (CARAT, "heads").

Shapes: M modalities, B samples, L labels, d hidden.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmer.systems.layers.stacked import uniform


class MaxPooledHeads(nn.Module):
    """logit_ml = <x_ml, w_ml>, the maximum over the modalities; shared by the three levels."""

    def __init__(self, modalities: int, num_labels: int, hidden: int) -> None:
        super().__init__()
        self.stacked = modalities
        self.weight = nn.Parameter(uniform(1 / math.sqrt(hidden), modalities, num_labels, hidden))

    def forward(self, x_MBLd: Tensor, present_MB: Tensor | None = None) -> Tensor:
        """(M, B, L, d) -> logits (B, L), over the modalities that are present; over all if none is.

        What stands for an absent modality must not win: its logit of 0 says "as likely as not".
        """
        logits_MBL = (x_MBLd * self.weight[:, None]).sum(dim=-1)
        if present_MB is not None:
            left_out_MB = ~present_MB & present_MB.any(dim=0)
            logits_MBL = logits_MBL.masked_fill(left_out_MB[..., None], -torch.inf)
        return logits_MBL.amax(dim=0)


class Aggregation(nn.Module):
    """The L feature vectors side by side -> d, ReLU -> L logits; one network for the modalities."""

    def __init__(self, num_labels: int, hidden: int) -> None:
        super().__init__()
        self.join = nn.Linear(num_labels * hidden, hidden)
        self.output = nn.Linear(hidden, num_labels)
        for layer in (self.join, self.output):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, features_BMLd: Tensor) -> Tensor:
        """(B, M, L, d) -> logits (B, M, L)."""
        return self.output(self.join(features_BMLd.flatten(2)).relu())
