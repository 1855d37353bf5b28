"""Moving prototypes of presence and absence per modality and label (CARAT, "reconstruction").

Shapes: M modalities, B samples, L labels, P = 2 polarities (present, absent), z latent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PrototypeBank(nn.Module):
    """Per modality, polarity and label one latent vector that follows the unit vectors seen.

    One sample's update keeps the share `momentum` of a prototype.
    """

    vectors: Tensor

    def __init__(self, modalities: int, num_labels: int, latent: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("vectors", torch.zeros(modalities, 2, num_labels, latent))

    def mixture(self, unit_MBLz: Tensor) -> Tensor:
        """Both prototypes, weighed by a softmax over their inner products with Z/|Z|: training."""
        weights = _similarity(unit_MBLz, self.vectors).softmax(dim=2)  # (M, B, P, L)
        return (weights[..., None] * self.vectors[:, None]).sum(dim=2)

    def nearest(self, unit_MBLz: Tensor) -> Tensor:
        """The prototype with the larger inner product, the mean of both in a tie: inference."""
        present, absent = _similarity(unit_MBLz, self.vectors).unbind(dim=2)  # (M, B, L)
        share = ((present - absent).sign()[..., None] + 1) / 2
        vectors = self.vectors[:, None]  # (M, 1, P, L, z)
        return share * vectors[:, :, 0] + (1 - share) * vectors[:, :, 1]

    @torch.no_grad()
    def update(self, unit_MBLz: Tensor, labels_BL: Tensor, taught_MB: Tensor) -> None:
        """mu <- momentum * mu + (1 - momentum) * Z/|Z|, sample after sample in batch order.

        Not before the backward pass of a `mixture`, whose gradient needs the vectors as they were.
        Of K samples that teach a prototype, the k-th keeps the share momentum^(K - k) of its move,
        and the prototype's past the share momentum^K: one weighted sum instead of a loop.
        A sample that lacks a modality teaches nothing of it: there `taught_MB` is False.
        """
        polarity_BPL = torch.stack([labels_BL, 1 - labels_BL], dim=1)
        teaches_MBPL = polarity_BPL * taught_MB[:, :, None, None]
        count_MPL = teaches_MBPL.sum(dim=1)
        later_MBPL = count_MPL[:, None] - teaches_MBPL.cumsum(dim=1)
        share_MBPL = (1 - self.momentum) * self.momentum**later_MBPL * teaches_MBPL
        moved = (share_MBPL[..., None] * unit_MBLz[:, :, None]).sum(dim=1)  # (M, P, L, z)
        self.vectors.mul_(self.momentum ** count_MPL[..., None]).add_(moved)


def _similarity(unit_MBLz: Tensor, vectors_MPLz: Tensor) -> Tensor:
    """Inner products, (M, B, P, L); element by element, so that autocast leaves them exact."""
    return (unit_MBLz[:, :, None] * vectors_MPLz[:, None]).sum(dim=-1)
