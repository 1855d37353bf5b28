"""Each modality rebuilt from the others, on two levels (CARAT, "reconstruction").

Shapes: M modalities, B samples, L labels, N = B L, d hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmer.systems.layers.stacked import StackedLinear


class TwoLevelReconstruction(nn.Module):
    """One linear layer G_m per modality, from the M features side by side, in order, to one.

    Args:
        modalities: Number M.
        hidden: Width d.
    """

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
