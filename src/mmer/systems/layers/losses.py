"""Terms of CARAT's loss, and what goes into its contrast (CARAT, "heads and losses").

Shapes: B samples, L labels, M modalities, d hidden, z latent; V levels: U, alpha, beta, without
those that are switched off.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmer.systems.layers.contrast import EMPTY


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over all entries; (..., L) logits against labels that broadcast to them."""
    return F.binary_cross_entropy_with_logits(logits, labels.expand_as(logits))


def summed_mse(x_MBLd: Tensor, target_MBLd: Tensor, present_MB: Tensor) -> Tensor:
    """Sum over the modalities of the mean squared error over the samples that have the modality.

    The target is not detached: it is drawn to what is rebuilt of it, as published.
    """
    error_MB = F.mse_loss(x_MBLd, target_MBLd, reduction="none").mean(dim=(2, 3)) * present_MB
    return (error_MB.sum(dim=1) / present_MB.sum(dim=1).clamp(min=1)).sum()


def contrast_vectors(*levels: Tensor) -> Tensor:
    """Unit vectors of the levels U, alpha, beta, each (M, B, L, z) -> (B V M L, z)."""
    return torch.stack(levels).permute(2, 0, 1, 3, 4).flatten(0, 3)


def contrast_classes(labels_BL: Tensor, present_MB: Tensor, levels: int = 3) -> Tensor:
    """Class of each contrast vector: (modality, polarity, label); the level is no part of it.

    A modality that a sample lacks has no vector at level U, but its reconstructions have.

    Returns:
        (B V M L,) int64 in [0, 2 M L), or `EMPTY`.
    """
    M, L = present_MB.shape[0], labels_BL.shape[1]
    device = labels_BL.device
    first_M = 2 * L * torch.arange(M, device=device)
    place_BL = torch.arange(L, device=device) + L * (labels_BL == 0)
    classes_BML = first_M[:, None] + place_BL[:, None, :]
    level_u_BML = torch.where(present_MB.T[..., None], classes_BML, EMPTY)
    rebuilt = (classes_BML for _ in range(levels - 1))
    return torch.stack([level_u_BML, *rebuilt], dim=1).flatten()
