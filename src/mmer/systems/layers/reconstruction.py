"""Latent vectors of each modality, and each rebuilt from the others (CARAT, "reconstruction").

Shapes: M modalities, B samples, L labels, N = B L, d hidden, z latent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmer.systems.layers.stacked import StackedLinear


class Autoencoders(nn.Module):
    """One per modality, shared by the labels: d -> d/2 -> z and back, ReLU between."""

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


class TwoLevelReconstruction(nn.Module):
    """One linear layer G_m per modality, from the M features side by side, in order, to one."""

    def __init__(self, modalities: int, hidden: int) -> None:
        super().__init__()
        self.rebuild = StackedLinear(modalities, modalities * hidden, hidden)

    def alpha(self, seen_MBLd: Tensor, pad_MBLd: Tensor) -> Tensor:
        """First level: alpha_m = G_m[R_n for every n but m, Pad_m in the place of m].

        Args:
            seen_MBLd: Decoded features R; the decoded prototype where a sample lacks the modality.
            pad_MBLd: Decoded prototypes, "Pad".
        """
        # One input per rebuilt modality: (rebuilt, N, source, d), the prototype where both agree.
        seen, pad = (_by_sample(x) for x in (seen_MBLd, pad_MBLd))
        own = torch.eye(len(seen_MBLd), dtype=torch.bool, device=seen.device)[:, None, :, None]
        inputs = torch.where(own, pad, seen).flatten(2)
        return self.rebuild(inputs).view_as(seen_MBLd)

    def beta(self, alpha_MBLd: Tensor) -> Tensor:
        """Second level: beta_m = G_m[alpha_1, .., alpha_M], the same G."""
        inputs = _by_sample(alpha_MBLd).flatten(1).expand(len(alpha_MBLd), -1, -1)
        return self.rebuild(inputs).view_as(alpha_MBLd)


def _by_sample(x_MBLd: Tensor) -> Tensor:
    """(M, B, L, d) -> (N, M, d)."""
    return x_MBLd.flatten(1, 2).transpose(0, 1)
