from __future__ import annotations

import torch
from torch import nn

from mmer.systems.layers.encoder import Encoder


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
    torch.testing.assert_close(encoder(x, mask)[mask], expected[mask])
