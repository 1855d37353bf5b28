from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmer.systems.layers import attention
from mmer.systems.layers.attention import SelfAttention, key_bias


def plain(module: SelfAttention, x: Tensor, mask: Tensor, kept: Tensor, scale: float) -> Tensor:
    """Head by head, sample by sample."""
    q, k, v = module.qkv(x).chunk(3, dim=-1)
    width = x.shape[-1] // module.heads
    samples = []
    for b in range(len(x)):
        heads = []
        for head in range(module.heads):
            part = slice(head * width, (head + 1) * width)
            scores = q[b, :, part] @ k[b, :, part].T / math.sqrt(width)
            weights = scores.masked_fill(~mask[b], -math.inf).softmax(dim=-1)
            kept_here = kept[b * module.heads + head]
            heads.append((weights * kept_here * scale) @ v[b, :, part])
        samples.append(torch.cat(heads, dim=-1))
    return module.output(torch.stack(samples))


@pytest.fixture
def case() -> tuple[SelfAttention, Tensor, Tensor]:
    torch.manual_seed(0)
    module = SelfAttention(hidden=6, heads=2, dropout=0.4).double()
    mask = torch.arange(5) < torch.tensor([[5], [2], [4]])
    return module, torch.randn(3, 5, 6, dtype=torch.double, requires_grad=True), mask


@pytest.mark.parametrize("masked", [True, False])
def test_without_dropout(case: tuple, masked: bool) -> None:
    module, x, mask = case
    module.eval()
    mask = mask if masked else torch.ones_like(mask)
    ones = torch.ones(6, 5, 5)
    torch.testing.assert_close(
        module(x, key_bias(mask, x.dtype)), plain(module, x, mask, ones, 1.0)
    )


@pytest.mark.parametrize("masked", [True, False])
def test_with_dropout_value_and_gradient(
    case: tuple, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, x, mask = case
    mask = mask if masked else torch.ones_like(mask)
    keep = (torch.rand(6, 5, 5) < 0.6).to(torch.uint8)
    monkeypatch.setattr(attention, "keep_mask", lambda shape, probability: (keep, 1 / 0.6))
    ours = module(x, key_bias(mask, x.dtype))
    theirs = plain(module, x, mask, keep, 1 / 0.6)
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn_like(ours)
    parameters = [x, *module.parameters()]
    for found, expected in zip(
        torch.autograd.grad(ours, parameters, upstream),
        torch.autograd.grad(theirs, parameters, upstream),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


def test_no_bias_where_nothing_is_padded() -> None:
    assert key_bias(torch.ones(2, 3, dtype=torch.bool), torch.float32) is None


@pytest.mark.parametrize("training", [True, False])
def test_a_sample_of_padding_alone_stays_finite(case: tuple, training: bool) -> None:
    module, x, mask = case
    mask[1] = False
    module.train(training)
    attended = module(x, key_bias(mask, x.dtype))
    attended.sum().backward()
    assert attended.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
