"""Each label looks for its own evidence along time (CARAT, "label-specific features").

Shapes: B samples, T steps, L labels, d hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmer.systems.layers.stacked import xavier_uniform


class LabelAttention(nn.Module):
    """A = softmax over time of H W; U_l = sum over t of A_tl H_t. No bias, no scaling."""

    def __init__(self, hidden: int, num_labels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(xavier_uniform(num_labels, hidden))

    def forward(self, h_BTd: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Attend to the valid steps.

        Returns:
            U (B, L, d) and A (B, T, L). A is zero at padded steps; a sample without a valid step
            has U = 0 and A = 0.
        """
        scores_BTL = h_BTd @ self.weight.T
        padded_BT1 = ~mask_BT[..., None]
        lowest = torch.finfo(scores_BTL.dtype).min  # finite: a sample of padding alone stays finite
        attention_BTL = scores_BTL.masked_fill(padded_BT1, lowest).softmax(dim=1)
        attention_BTL = attention_BTL.masked_fill(padded_BT1, 0.0)
        return attention_BTL.transpose(1, 2) @ h_BTd, attention_BTL
