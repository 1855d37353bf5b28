"""Autoencoders between label-specific features and latent vectors, one per modality.

Shapes: M modalities, N = samples x labels, d hidden, z latent.
"""

from __future__ import annotations

from torch import Tensor, nn

from mmer.systems.layers.stacked import StackedLinear


class Autoencoders(nn.Module):
    """d -> d/2 -> z and back, ReLU between, shared by the labels (CARAT, "reconstruction")."""

    def __init__(self, modalities: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.encode_first = StackedLinear(modalities, hidden, hidden // 2)
        self.encode_last = StackedLinear(modalities, hidden // 2, latent)
        self.decode_first = StackedLinear(modalities, latent, hidden // 2)
        self.decode_last = StackedLinear(modalities, hidden // 2, hidden)

    def encode(self, features_MNd: Tensor) -> Tensor:
        """(M, N, d) -> Z (M, N, z)."""
        return self.encode_last(self.encode_first(features_MNd).relu())

    def decode(self, latent_MNz: Tensor) -> Tensor:
        """(M, N, z) -> (M, N, d)."""
        return self.decode_last(self.decode_first(latent_MNz).relu())
