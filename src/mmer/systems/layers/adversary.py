"""Features that tell their modality and features that do not, and who tries to tell (RAMer).

Shapes: M modalities, B samples, L labels, N = B L, d hidden.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmer.systems.layers.dropout import dropout
from mmer.systems.layers.stacked import StackedLinear


def reverse_gradient(x: Tensor) -> Tensor:
    """`x`, whose gradient changes its sign: what is minimised behind it is maximised before it."""
    return _Reversed.apply(x)


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        return -upstream[0]


class SpecificFeatures(nn.Module):
    """S_m = tanh(dropout(W_m U_m)), W_m per modality."""

    def __init__(self, modalities: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.linear = StackedLinear(modalities, hidden, hidden)

    def forward(self, u_MBLd: Tensor) -> Tensor:
        """(M, B, L, d) -> (M, B, L, d)."""
        drawn = self.linear(u_MBLd.flatten(1, 2)).view_as(u_MBLd)
        return dropout(drawn, self.dropout, self.training).tanh()


class CommonFeatures(nn.Module):
    """C_m = tanh(dropout(W beta_m)), one W for all modalities."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.linear = nn.Linear(hidden, hidden)

    def forward(self, beta_MBLd: Tensor) -> Tensor:
        """(M, B, L, d) -> (M, B, L, d)."""
        return dropout(self.linear(beta_MBLd), self.dropout, self.training).tanh()


class Discriminator(nn.Module):
    """Says of which modality a feature is: d -> d/2, dropout, ReLU -> M logits."""

    def __init__(self, modalities: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.join = nn.Linear(hidden, hidden // 2)
        self.output = nn.Linear(hidden // 2, modalities)

    def forward(self, features: Tensor) -> Tensor:
        """(.., d) -> logits (.., M)."""
        return self.output(dropout(self.join(features), self.dropout, self.training).relu())


class CommonClassification(nn.Module):
    """Logits of the labels from c, the sum of the common features over the modalities."""

    def __init__(self, num_labels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.linear = nn.Linear(hidden, num_labels)

    def forward(self, common_MBLd: Tensor, *, first_slot: bool = False) -> Tensor:
        """(M, B, L, d) -> (B, L): slot l of c predicts label l, or the first predicts them all."""
        summed_BLd = common_MBLd.sum(dim=0)
        if first_slot:
            logits_BL = self.linear(summed_BLd[:, 0])
        else:
            logits_BL = (summed_BLd * self.linear.weight).sum(dim=-1) + self.linear.bias
        return dropout(logits_BL, self.dropout, self.training)


def told_modality(logits_MBLM: Tensor, present_MB: Tensor) -> Tensor:
    """Sum over the modalities of the discriminator's mean cross-entropy over those present."""
    places = torch.arange(len(logits_MBLM), device=logits_MBLM.device)
    told_MBL = logits_MBLM.log_softmax(dim=-1)[places, :, :, places]
    return -_summed_means(told_MBL.mean(dim=2), present_MB)


def overlap_of_specific(specific_MBLd: Tensor, present_MB: Tensor) -> Tensor:
    """Sum over pairs of modalities of the mean of |S_i S_j^T|^2 over the samples that have both."""
    first, second = torch.triu_indices(
        len(specific_MBLd), len(specific_MBLd), 1, device=specific_MBLd.device
    )
    squares = _squared_products(specific_MBLd[first], specific_MBLd[second])
    return _summed_means(squares, present_MB[first] & present_MB[second])


def overlap_with_common(common_MBLd: Tensor, specific_MBLd: Tensor, present_MB: Tensor) -> Tensor:
    """Sum over the modalities of the mean of |C_m S_m^T|^2 over the samples that have them."""
    return _summed_means(_squared_products(common_MBLd, specific_MBLd), present_MB)


def _squared_products(x: Tensor, y: Tensor) -> Tensor:
    """Squared Frobenius norms of X Y^T, (.., L, d) -> (..)."""
    return (x @ y.transpose(-1, -2)).square().sum(dim=(-1, -2))


def _summed_means(x_MB: Tensor, present_MB: Tensor) -> Tensor:
    """Sum over the rows of the mean over what is present; 0 for a row with nothing."""
    return ((x_MB * present_MB).sum(dim=1) / present_MB.sum(dim=1).clamp(min=1)).sum()
