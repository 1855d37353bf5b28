from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmer.systems.layers import attention
from mmer.systems.layers.attention import SelfAttention
from mmer.systems.layers.dropout import KeepMasks
from mmer.systems.layers.packing import Packing

LENGTHS = (5, 2, 4, 5)


def plain(module: SelfAttention, x: Tensor, mask: Tensor, kept: Tensor, scale: float) -> Tensor:
    """Head by head, sample by sample; `kept` (B, H, T, T)."""
    q, k, v = module.qkv(x).chunk(3, dim=-1)
    width = x.shape[-1] // module.heads
    samples = []
    for b in range(len(x)):
        heads = []
        for head in range(module.heads):
            part = slice(head * width, (head + 1) * width)
            scores = q[b, :, part] @ k[b, :, part].T / math.sqrt(width)
            weights = scores.masked_fill(~mask[b], -math.inf).softmax(dim=-1)
            heads.append((weights * kept[b, head] * scale) @ v[b, :, part])
        samples.append(torch.cat(heads, dim=-1))
    return module.output(torch.stack(samples))


def drawn(packing: Packing, heads: int, dropout: float, seed: int) -> tuple[Tensor, float]:
    """The masks of the blocks, in the order in which they are drawn, put together (B, H, T, T)."""
    torch.manual_seed(seed)
    masks = KeepMasks(dropout)
    B, T = packing.mask_BT.shape
    kept = torch.ones(B, heads, T, T)
    samples = packing.pack(torch.arange(B).repeat_interleave(T).view(B, T, 1)).flatten()
    for rows, n in attention._sequences(packing.groups, heads):
        of_part = samples[rows][::n]
        part = torch.ones(len(of_part) * heads, n, n)
        for sequences, queries in attention._blocks(len(part), n):
            part[sequences, queries] = masks.draw(part[sequences, queries].shape).float()
        kept[of_part, :, :n, :n] = part.view(len(of_part), heads, n, n)
    return kept, masks.scale


def ours(module: SelfAttention, x: Tensor, packing: Packing) -> Tensor:
    return packing.unpack(module(packing.pack(x), packing))


@pytest.fixture
def case() -> tuple[SelfAttention, Tensor, Tensor]:
    torch.manual_seed(0)
    module = SelfAttention(hidden=6, heads=2, dropout=0.4).double()
    mask = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
    return module, torch.randn(4, 5, 6, dtype=torch.double, requires_grad=True), mask


@pytest.mark.parametrize("masked", [True, False])
def test_without_dropout(case: tuple, masked: bool) -> None:
    module, x, mask = case
    module.eval()
    mask = mask if masked else torch.ones_like(mask)
    expected = plain(module, x, mask, torch.ones(4, 2, 5, 5), 1.0)
    torch.testing.assert_close(ours(module, x, Packing(mask))[mask], expected[mask])


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("scores", [1, 7, 12, 30, 120, 1 << 17])
def test_training_gradients_with_the_same_mask(
    case: tuple, masked: bool, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of single queries, of some, of whole sequences and of several samples."""
    monkeypatch.setattr(attention, "_SCORES_OF_BLOCK", scores)
    module, x, mask = case
    mask = mask if masked else torch.ones_like(mask)
    packing = Packing(mask)
    kept, scale = drawn(packing, module.heads, module.dropout, seed=3)
    assert 0.4 < kept.mean() < 1
    expected = plain(module, x, mask, kept, scale)
    torch.manual_seed(3)
    found = ours(module, x, packing)
    torch.testing.assert_close(found[mask], expected[mask])
    upstream = torch.randn_like(found) * mask[..., None]
    parameters = [x, *module.parameters()]
    for one, other in zip(
        torch.autograd.grad(found, parameters, upstream),
        torch.autograd.grad(expected, parameters, upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_another_seed_is_another_mask_and_the_same_seed_the_same(case: tuple) -> None:
    module, x, mask = case
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(ours(module, x, Packing(mask)))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_no_matrix_of_a_long_sequence_outlives_its_block(case: tuple) -> None:
    """Every tensor that the forward pass keeps is linear in length."""
    module, _, _ = case
    sizes = []
    for length in (100, 200):
        kept: list[int] = []

        def keep(x: Tensor, kept: list[int] = kept) -> Tensor:
            kept.append(x.untyped_storage().nbytes())
            return x

        packing = Packing(torch.ones(1, length, dtype=torch.bool))
        rows = torch.randn(length, 6, dtype=torch.double)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            module(rows, packing)
        sizes.append(sum(kept))
    assert sizes[1] < 2 * sizes[0]


def test_a_sample_without_a_step_has_no_row(case: tuple) -> None:
    module, x, mask = case
    mask[1] = False
    attended = ours(module, x, Packing(mask))
    attended.sum().backward()
    assert (attended[1] == 0).all()
    assert x.grad is not None
    assert (x.grad[1] == 0).all()
    assert x.grad.isfinite().all()


def test_other_devices_give_the_same(case: tuple) -> None:
    """Their way, run here: padded rows and a bias on padded keys."""
    module, x, mask = case
    module.eval()
    packing = Packing(mask)
    q, k, v = module.qkv(x).view(4, 5, 3, 2, 3).permute(2, 0, 3, 1, 4)
    bias = packing.key_bias(x.dtype)
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, bias)
    expected = module.output(mixed.transpose(1, 2).reshape(x.shape))
    torch.testing.assert_close(ours(module, x, packing)[mask], expected[mask])
