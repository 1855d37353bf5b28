"""Multi-head self-attention with padded keys held off.

Shapes: B samples, T steps, d hidden, H heads, h = d / H.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer.models.dropout import keep_mask
from mmer.models.stacked import StackedOutputs

# Finite, so that a sample without a single valid step gives numbers (which nothing uses) and not
# NaN; large enough that exp() of it is exactly 0 wherever one step is valid.
_PADDED_KEY = -10000.0


def key_bias(mask_BT: Tensor, dtype: torch.dtype) -> Tensor | None:
    """What padded keys add to their scores, (B, 1, 1, T), or None if no key is padded.

    Whether any is padded is asked on the CPU only: elsewhere the answer would have to be waited for.
    """
    if mask_BT.device.type == "cpu" and bool(mask_BT.all()):
        return None
    bias_BT = torch.zeros(mask_BT.shape, dtype=dtype, device=mask_BT.device)
    return bias_BT.masked_fill(~mask_BT, _PADDED_KEY)[:, None, None, :]


class SelfAttention(nn.Module):
    """Attention of a sequence to itself (CARAT, "label-specific features": the encoder).

    Args:
        hidden: Width d.
        heads: Number H of heads.
        dropout: Probability that an attention weight is dropped in training.
    """

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = StackedOutputs(3, hidden, hidden)
        self.output = nn.Linear(hidden, hidden)

    def forward(self, x_BTd: Tensor, key_bias_B11T: Tensor | None) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        B, T, d = x_BTd.shape
        qkv = self.qkv(x_BTd).view(B, T, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, h)
        dropout = self.dropout if self.training else 0.0
        if dropout and x_BTd.device.type == "cpu":
            mixed = _attend_with_cheap_dropout(q, k, v, key_bias_B11T, dropout)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, key_bias_B11T, dropout_p=dropout)
        return self.output(mixed.transpose(1, 2).reshape(B, T, d))


def _attend_with_cheap_dropout(
    q: Tensor, k: Tensor, v: Tensor, key_bias_B11T: Tensor | None, dropout: float
) -> Tensor:
    """`scaled_dot_product_attention` for the CPU, which has no fused kernel with dropout."""
    B, H, T, h = q.shape
    q, k, v = (x.reshape(B * H, T, h) for x in (q, k, v))
    scores = torch.bmm(q, k.transpose(1, 2)) * h**-0.5  # (B H, T, T)
    if key_bias_B11T is not None:
        scores = (scores.view(B, H, T, T) + key_bias_B11T).view(B * H, T, T)
    weights = torch.softmax(scores, dim=-1)
    keep, scale = keep_mask(weights.shape, dropout)
    return torch.bmm(weights * keep, v * scale).view(B, H, T, h)
