from __future__ import annotations

import pytest
import torch
from torch import nn

from mmer.systems.layers import encoder as module
from mmer.systems.layers.encoder import Encoder
from mmer.systems.layers.packing import Packing


def test_layers_are_post_norm_transformer_layers() -> None:
    """Against torch's own layer with the same weights."""
    torch.manual_seed(0)
    encoder = Encoder(
        width=5, hidden=8, heads=2, feed_forward=6, layers=2, max_length=7, dropout=0.3
    ).eval()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.5)
    x, mask = torch.randn(3, 6, 5), torch.arange(6) < torch.tensor([[6], [1], [4]])
    expected = encoder.norm(encoder.input(x) + encoder.positions[:6])
    for layer in encoder.layers:
        theirs = nn.TransformerEncoderLayer(
            8, 2, 6, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        ).eval()
        theirs.load_state_dict(
            {
                "self_attn.in_proj_weight": layer.attention.qkv.weight,
                "self_attn.in_proj_bias": layer.attention.qkv.bias,
                "self_attn.out_proj.weight": layer.attention.output.weight,
                "self_attn.out_proj.bias": layer.attention.output.bias,
                "linear1.weight": layer.widen.weight,
                "linear1.bias": layer.widen.bias,
                "linear2.weight": layer.narrow.weight,
                "linear2.bias": layer.narrow.bias,
                "norm1.weight": layer.attention_norm.weight,
                "norm1.bias": layer.attention_norm.bias,
                "norm2.weight": layer.output_norm.weight,
                "norm2.bias": layer.output_norm.bias,
            }
        )
        expected = theirs(expected, src_key_padding_mask=~mask)
    packing = Packing(mask)
    found = packing.unpack(encoder(packing.pack(x), packing))
    torch.testing.assert_close(found[mask], expected[mask])


def test_layers_computed_again_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout included: the second time draws the same masks."""
    torch.manual_seed(0)
    encoder = Encoder(
        width=5, hidden=8, heads=2, feed_forward=6, layers=2, max_length=7, dropout=0.3
    )
    x, packing = torch.randn(12, 5), Packing(torch.ones(2, 6, dtype=torch.bool))
    found = []
    for kept in (12, 11):
        monkeypatch.setattr(module, "_ROWS_KEPT", kept)
        torch.manual_seed(1)
        h = encoder(x, packing)
        found.append((h, *torch.autograd.grad(h.square().sum(), list(encoder.parameters()))))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
