"""Multi-head self-attention with padded keys held off.

Shapes: B samples, T steps, d hidden, H heads, h = d / H.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmer.systems.layers.dropout import keep_mask
from mmer.systems.layers.stacked import StackedOutputs

# Finite, so that a sample without a single valid step gives numbers (which nothing uses) and not
# NaN; large enough that exp() of it is exactly 0 wherever one step is valid.
_PADDED_KEY = -10000.0


def key_bias(mask_BT: Tensor, dtype: torch.dtype) -> Tensor | None:
    """What padded keys add to their scores, (B, 1, 1, T), or None if no key is padded.

    Whether any is padded is asked on the CPU only: elsewhere one would have to wait for the answer.
    """
    if mask_BT.device.type == "cpu" and bool(mask_BT.all()):
        return None
    bias_BT = torch.zeros(mask_BT.shape, dtype=dtype, device=mask_BT.device)
    return bias_BT.masked_fill(~mask_BT, _PADDED_KEY)[:, None, None, :]


class SelfAttention(nn.Module):
    """Attention of a sequence to itself; dropout is on its weights."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = StackedOutputs(3, hidden, hidden)
        self.output = nn.Linear(hidden, hidden)

    def forward(self, x_BTd: Tensor, key_bias_B11T: Tensor | None) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        B, T, d = x_BTd.shape
        qkv_3BHTh = self.qkv(x_BTd).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        if dropout and x_BTd.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):  # one precision forward and backward
                mixed_BHTh = _AttentionWithDropout.apply(qkv_3BHTh, key_bias_B11T, dropout)
        else:
            q, k, v = qkv_3BHTh
            mixed_BHTh = F.scaled_dot_product_attention(q, k, v, key_bias_B11T, dropout)
        return self.output(mixed_BHTh.transpose(1, 2).reshape(B, T, d))


class _AttentionWithDropout(torch.autograd.Function):
    """Scaled dot-product attention with dropout on the CPU, where no fused kernel has it.

    Saves no more than queries, keys, values, weights and the mask of what is kept.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv_3BHTh: Tensor, key_bias_B11T: Tensor | None, dropout: float
    ) -> Tensor:
        _, B, H, T, h = qkv_3BHTh.shape
        qkv = qkv_3BHTh.reshape(3, B * H, T, h)
        q, k, v = qkv
        bias = qkv.new_zeros(1, 1, 1)
        if key_bias_B11T is not None:
            bias = key_bias_B11T.to(qkv.dtype).expand(B, H, 1, T).reshape(B * H, 1, T)
        weights = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=h**-0.5).softmax(dim=-1)
        keep, scale = keep_mask(weights.shape, dropout)
        ctx.save_for_backward(qkv, weights, keep)
        ctx.scale = scale
        return torch.bmm(weights * keep, v).mul_(scale).view(B, H, T, h)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        qkv, weights, keep = ctx.saved_tensors
        q, k, v = qkv
        B, H, T, h = upstream[0].shape
        mixed = upstream[0].reshape(B * H, T, h) * ctx.scale
        by_weight = torch.bmm(mixed, v.transpose(1, 2)).mul_(keep)
        by_score = torch.ops.aten._softmax_backward_data(by_weight, weights, -1, weights.dtype)
        by_score *= h**-0.5
        gradient = torch.empty_like(qkv)
        torch.bmm(by_score, k, out=gradient[0])
        torch.bmm(by_score.transpose(1, 2), q, out=gradient[1])
        torch.bmm((weights * keep).transpose(1, 2), mixed, out=gradient[2])
        return gradient.view(3, B, H, T, h), None, None
