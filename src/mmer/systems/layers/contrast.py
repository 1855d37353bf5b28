"""Supervised contrast of latent vectors against the batch and a queue of earlier batches.

CARAT, sec. "contrastive feature reconstruction". The plain formula needs several (N, N) matrices,
N = current vectors + queue entries. Here the same value and gradient come from blocks of scores:

- The positives of an anchor add up to one sum vector per class, less the anchor itself.
- Scores are symmetric, so each block of exponentials gives the sums of its rows and its columns.
- A score of unit vectors lies within +-1/temperature, so no pass for the maximum is needed.
- Only current vectors have a gradient, and the queue entries' denominators are all that the
  gradient needs to know of how the queue entries lie to each other.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmer.errors import InputError

EMPTY = -1
UNMATCHED = -2

# Scores that go through several operations should stay near the processor; an accelerator wants
# few large kernels instead.
_BLOCK_ROWS = {"cpu": 768, "cuda": 4096}


def supervised_contrast(
    current: Tensor,
    current_classes: Tensor,
    queue: Tensor,
    queue_classes: Tensor,
    temperature: float,
) -> Tensor:
    """Mean supervised contrastive loss over all current vectors and all queue entries.

    With s the inner product and tau the temperature, anchor a with positives P (same class, not
    itself) contributes `-1/|P| sum_{p in P} log(exp(s_ap/tau) / sum_{k != a} exp(s_ak/tau))`, both
    sums over current vectors and queue entries. An anchor without positives contributes 0 and
    counts in the mean. Of the negative classes, `EMPTY` takes no part at all, neither as anchor
    nor as contrast; any other, such as `UNMATCHED`, takes part but matches nothing.

    Time grows with N^2 z, memory with N z, N = C + Q; nothing waits for the device. Computed in
    the queue's precision, also under autocast.

    Args:
        current: (C, z) unit vectors, C >= 1; the only input that receives a gradient.
        current_classes: (C,) int64.
        queue: (Q, z) unit vectors, Q >= 0.
        queue_classes: (Q,) int64.
        temperature: tau, dimensionless; in float32 at least 1/79 for the paper's N = 11,648.

    Vectors of other lengths are treated by the same formula, without a check: the scores of long
    ones can overflow, which makes the loss infinite or NaN.

    Returns:
        The loss, a scalar in the queue's precision; 0 if nothing takes part.

    Raises:
        InputError: A temperature so low that the exponential of a unit vectors' score could leave
            the floating-point range.
        ValueError: Shapes that do not fit each other.
    """
    C, Q, z = len(current), len(queue), queue.shape[-1]
    found = [tuple(x.shape) for x in (current, current_classes, queue, queue_classes)]
    if not C or found != [(C, z), (C,), (Q, z), (Q,)]:
        expected = "current (C, z), C >= 1, its classes (C,), queue (Q, z), its classes (Q,)"
        raise ValueError(f"expected {expected}; found {found}")
    largest_score = math.log(torch.finfo(queue.dtype).max) - math.log(C + Q)
    if not temperature * largest_score >= 1:
        expected = f"at least {1 / largest_score:.4g} for {C + Q} vectors in {queue.dtype}"
        raise InputError("supervised contrast", "temperature", expected, temperature)
    scale = temperature**-0.5
    with torch.autocast(current.device.type, enabled=False):
        return _BlockwiseContrast.apply(
            current.to(queue.dtype) * scale,
            queue * scale,
            torch.cat([current_classes, queue_classes]),
        )


class FeatureQueue(torch.nn.Module):
    """First-in-first-out store of the latest contrasted vectors and their classes.

    Buffers: `vectors` (Q, z); `classes` (Q,) int64, `EMPTY` in unused slots; `pointer` (1,) int64,
    the slot that is written next.

    Args:
        slots: Q, at least 1.
        width: z.
        random_start: Start not empty but with random vectors of class `UNMATCHED`, negatives until
            they are overwritten. They are normalised over the slots instead of the width, as in the
            published program, so they are not unit vectors.
    """

    vectors: Tensor
    classes: Tensor
    pointer: Tensor

    def __init__(self, slots: int, width: int, random_start: bool = False) -> None:
        super().__init__()
        if random_start:
            vectors = torch.nn.functional.normalize(torch.randn(slots, width), dim=0)
        else:
            vectors = torch.zeros(slots, width)
        self.register_buffer("vectors", vectors)
        self.register_buffer("classes", torch.full((slots,), UNMATCHED if random_start else EMPTY))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, vectors: Tensor, classes: Tensor) -> None:
        """Overwrite the oldest slots, in order; of more than Q vectors the last Q stay."""
        slots, count = len(self.vectors), len(vectors)
        kept = torch.arange(max(0, count - slots), count, device=self.pointer.device)
        places = (self.pointer + kept) % slots
        self.vectors.index_copy_(0, places, vectors[-slots:].to(self.vectors.dtype))
        self.classes.index_copy_(0, places, classes[-slots:])
        self.pointer.copy_((self.pointer + count) % slots)


class _BlockwiseContrast(torch.autograd.Function):
    """Value and gradient in one go; vectors are scaled so that a score is their inner product."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, queue: Tensor, classes: Tensor) -> Tensor:
        weight = (classes != EMPTY).to(current.dtype)  # (N,), 1 or 0
        vectors = torch.cat([current, queue]) * weight[:, None]  # (N, z)
        own, blocks = _blocks(len(current), len(vectors), vectors.device.type)

        others, positives = _sum_of_positives(vectors, classes, weight)
        is_anchor = positives > 0
        share = is_anchor / positives.clamp_min(1)  # (N,), 1/|P| or 0
        denominators = _sum_exp_scores(vectors, weight, blocks)

        # One vector alone has an empty denominator: log 0 must not reach the sum.
        log_denominators = torch.where(is_anchor, denominators, 1).log()
        attraction = (vectors * others).sum(1) * share
        anchors = weight.sum().clamp_min(1)
        if ctx.needs_input_grad[0]:
            pull = torch.where(is_anchor, denominators.reciprocal(), 0)
            gradient = _sum_weighted_exp_scores(vectors, pull, own, blocks)
            gradient -= 2 * (others * share[:, None])[: len(current)]
            ctx.save_for_backward(gradient * (weight[: len(current), None] / anchors))
        return (log_denominators - attraction).sum() / anchors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return upstream[0] * gradient, None, None


def _blocks(current: int, count: int, device: str) -> tuple[list[slice], list[slice]]:
    """Blocks of the current vectors, and these with the queue's; none holds both kinds."""
    size = _BLOCK_ROWS.get(device, _BLOCK_ROWS["cuda"])
    own = [slice(start, min(start + size, current)) for start in range(0, current, size)]
    queued = [slice(start, min(start + size, count)) for start in range(current, count, size)]
    return own, own + queued


def _sum_of_positives(vectors: Tensor, classes: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Sum (N, z) and number (N,) of each anchor's positives; 0 of them for what is no anchor."""
    member = weight * (classes >= 0)
    # The first place of a class in sorted order names it: below N without knowing the classes.
    group = torch.searchsorted(classes.sort().values, classes)
    sums = torch.zeros_like(vectors).index_add_(0, group, vectors * member[:, None])
    counts = torch.zeros_like(member).index_add_(0, group, member)
    return sums[group] - vectors, (counts[group] - 1) * member


def _sum_exp_scores(vectors: Tensor, weight: Tensor, blocks: list[slice]) -> Tensor:
    """Denominators (N,): sum over valid k != a of exp(s_ak); each pair is computed once."""
    sums = torch.zeros_like(weight)
    buffer = _block_buffer(vectors, blocks)
    for place, rows in enumerate(blocks):
        for columns in blocks[place:]:
            scores = _exp_scores(vectors, rows, columns, buffer)
            sums[rows].addmv_(scores, weight[columns])
            if rows != columns:
                sums[columns].addmv_(scores.T, weight[rows])
    return sums


def _sum_weighted_exp_scores(
    vectors: Tensor, pull: Tensor, own: list[slice], blocks: list[slice]
) -> Tensor:
    """(C, z): sum over k != c of exp(s_ck) (pull_c + pull_k) v_k, c as anchor and as contrast."""
    sums = torch.zeros_like(vectors[: own[-1].stop])
    score_buffer, pull_buffer = _block_buffer(vectors, blocks), _block_buffer(vectors, blocks)
    for rows in own:
        for columns in blocks:
            scores = _exp_scores(vectors, rows, columns, score_buffer)
            pulls = _view(pull_buffer, scores.shape)
            torch.add(pull[rows, None], pull[columns], out=pulls)
            sums[rows].addmm_(scores.mul_(pulls), vectors[columns])
    return sums


def _exp_scores(vectors: Tensor, rows: slice, columns: slice, buffer: Tensor) -> Tensor:
    """Block of exp(scores), 0 where a vector meets itself."""
    left, right = vectors[rows], vectors[columns]
    scores = _view(buffer, (len(left), len(right)))
    torch.mm(left, right.T, out=scores).exp_()
    if rows == columns:
        scores.diagonal().zero_()
    return scores


def _block_buffer(vectors: Tensor, blocks: list[slice]) -> Tensor:
    longest = max(block.stop - block.start for block in blocks)
    return vectors.new_empty(longest * longest)


def _view(buffer: Tensor, shape: tuple[int, ...]) -> Tensor:
    return buffer[: math.prod(shape)].view(shape)
