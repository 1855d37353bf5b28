"""Multi-head self-attention of each sample's steps to one another, padding left out.

Shapes: R steps of all samples together (see `Packing`), B samples, T steps, d hidden, H heads,
h = d / H; N = B H sequences of one length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmer.systems.layers.dropout import KeepMasks
from mmer.systems.layers.packing import Group, Packing
from mmer.systems.layers.stacked import StackedOutputs

# As many as stay near the processor together with their gradients.
_SCORES_OF_BLOCK = 1 << 17


class SelfAttention(nn.Module):
    """Attention of a sequence to itself; dropout is on its weights.

    There is one way on each kind of device: blocks of scores on the CPU, where torch would hold all
    weights and their dropout in memory, and torch's own kernels elsewhere.
    """

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = StackedOutputs(3, hidden, hidden)
        self.output = nn.Linear(hidden, hidden)

    def forward(self, x_Rd: Tensor, packing: Packing) -> Tensor:
        """(R, d) -> (R, d)."""
        dropout = self.dropout if self.training else 0.0
        qkv_Rd3 = self.qkv(x_Rd)
        if x_Rd.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):  # one precision forward and backward
                mixed_Rd = _BlockwiseAttention.apply(qkv_Rd3, packing.groups, self.heads, dropout)
        else:
            B, T = packing.mask_BT.shape
            q, k, v = qkv_Rd3.view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            bias = packing.key_bias(q.dtype)
            mixed = F.scaled_dot_product_attention(q, k, v, bias, dropout)
            mixed_Rd = mixed.transpose(1, 2).reshape(x_Rd.shape)
        return self.output(mixed_Rd)


class _BlockwiseAttention(torch.autograd.Function):
    """Scaled dot-product attention with dropout, in memory that is linear in length.

    Nothing that is quadratic outlives a block of scores. The backward pass computes the block's
    weights and draws its mask again.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv_Rd3: Tensor, groups: tuple[Group, ...], heads: int, dropout: float
    ) -> Tensor:
        mixed_Rd = qkv_Rd3.new_empty(len(qkv_Rd3), qkv_Rd3.shape[1] // 3)
        masks = KeepMasks(dropout) if dropout else None
        for rows, length in _sequences(groups, heads):
            q, k, v = _by_head(qkv_Rd3[rows], 3, length, heads)  # (N, T, h)
            mixed = torch.empty_like(q)
            for n, queries in _blocks(len(q), length):
                weights = _weights(q[n, queries], k[n])
                if masks:
                    weights *= masks.draw(weights.shape)
                mixed[n, queries] = torch.bmm(weights, v[n])
            if masks:
                mixed *= masks.scale
            _by_row(mixed_Rd[rows], 1, length, heads).copy_(mixed.view(1, -1, heads, *q.shape[1:]))
        ctx.save_for_backward(qkv_Rd3)
        ctx.groups, ctx.heads, ctx.dropout, ctx.seed = groups, heads, dropout, masks and masks.seed
        return mixed_Rd

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (qkv_Rd3,) = ctx.saved_tensors
        gradient_Rd3 = torch.empty_like(qkv_Rd3)
        masks = KeepMasks(ctx.dropout, ctx.seed) if ctx.dropout else None
        for rows, length in _sequences(ctx.groups, ctx.heads):
            q, k, v = _by_head(qkv_Rd3[rows], 3, length, ctx.heads)
            (mixed,) = _by_head(upstream[0][rows], 1, length, ctx.heads)
            if masks:
                mixed = mixed * masks.scale
            gradient = q.new_zeros(3, *q.shape)
            for n, queries in _blocks(len(q), length):
                weights = _weights(q[n, queries], k[n])
                by_weight = torch.bmm(mixed[n, queries], v[n].transpose(1, 2))
                kept = weights
                if masks:
                    keep = masks.draw(weights.shape)
                    by_weight *= keep
                    kept = weights * keep
                gradient[2, n].baddbmm_(kept.transpose(1, 2), mixed[n, queries])
                by_score = torch.ops.aten._softmax_backward_data(
                    by_weight, weights, -1, weights.dtype
                )
                by_score *= q.shape[-1] ** -0.5
                gradient[0, n, queries] = torch.bmm(by_score, k[n])
                gradient[1, n].baddbmm_(by_score.transpose(1, 2), q[n, queries])
            _by_row(gradient_Rd3[rows], 3, length, ctx.heads).copy_(
                gradient.view(3, -1, ctx.heads, *q.shape[1:])
            )
        return gradient_Rd3, None, None, None


def _sequences(groups: tuple[Group, ...], heads: int) -> Iterator[tuple[slice, int]]:
    """Rows of samples of one length, as many as fill a block or one that is larger."""
    for group in groups:
        most = max(1, _SCORES_OF_BLOCK // (heads * group.length**2))
        for sample in range(0, group.samples, most):
            first = group.first_row + sample * group.length
            samples = min(most, group.samples - sample)
            yield slice(first, first + samples * group.length), group.length


def _blocks(sequences: int, length: int) -> Iterator[tuple[slice, slice]]:
    """Sequences and queries whose scores are computed together."""
    queries = max(1, min(length, _SCORES_OF_BLOCK // length))
    together = max(1, _SCORES_OF_BLOCK // (queries * length))
    for first in range(0, sequences, together):
        for query in range(0, length, queries):
            yield slice(first, first + together), slice(query, query + queries)


def _by_row(x_R: Tensor, parts: int, length: int, heads: int) -> Tensor:
    """Rows (B T, parts d) seen as (parts, B, H, T, h)."""
    return x_R.view(-1, length, parts, heads, x_R.shape[1] // parts // heads).permute(2, 0, 3, 1, 4)


def _by_head(x_R: Tensor, parts: int, length: int, heads: int) -> Tensor:
    """Rows (B T, parts d) copied as (parts, N, T, h)."""
    return _by_row(x_R, parts, length, heads).flatten(1, 2)


def _weights(q: Tensor, k: Tensor) -> Tensor:
    """Softmax of the scores of queries (N, ., h) and keys (N, T, h)."""
    nothing = q.new_zeros(())
    scores = torch.baddbmm(nothing, q, k.transpose(1, 2), beta=0, alpha=q.shape[-1] ** -0.5)
    return scores.softmax(dim=-1)
