"""Normalised features and the Transformer encoder (CARAT, "label-specific features").

Shapes: R steps of all samples together (see `Packing`), D raw features, d hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mmer.systems.layers.attention import SelfAttention
from mmer.systems.layers.dropout import add_dropout, dropout
from mmer.systems.layers.packing import Packing

NORM_EPS = 1e-12
_INITIAL_STD = 0.02
# Beyond so many rows on a CPU, a layer's backward pass computes its forward pass again: a third
# more arithmetic, for a tenth of the memory.
_ROWS_KEPT = 6000


class InputNorm(nn.LayerNorm):
    """LayerNorm over raw features, each of them standardised first if its statistics are known.

    Raw features differ by orders of magnitude (a pitch in Hz beside a probability); without
    statistics the LayerNorm sees the largest alone. Until `standardise` is called they are the
    identity. It is the one LayerNorm whose scale the published program decays.
    """

    decays = True  # see training.optimiser.decay_groups
    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=NORM_EPS)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def standardise(self, mean_D: Tensor, scale_D: Tensor) -> None:
        """From now on features become (x - mean) / scale before they are normalised."""
        self.mean.copy_(mean_D)
        self.scale.copy_(scale_D)

    def forward(self, x: Tensor) -> Tensor:
        """(.., D) -> (.., D)."""
        return super().forward((x - self.mean) / self.scale)


class Encoder(nn.Module):
    """Linear layer D -> d plus learned positions, then post-norm Transformer layers.

    Dropout is on attention weights and on the sub-layers' outputs.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        heads: int,
        feed_forward: int,
        layers: int,
        max_length: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.input = nn.Linear(width, hidden)
        self.positions = nn.Parameter(torch.empty(max_length, hidden))
        self.norm = nn.LayerNorm(hidden, eps=NORM_EPS)
        self.layers = nn.ModuleList(
            EncoderLayer(hidden, heads, feed_forward, dropout) for _ in range(layers)
        )
        nn.init.normal_(self.positions, std=_INITIAL_STD)
        self.apply(_initialise)

    def forward(self, x_RD: Tensor, packing: Packing) -> Tensor:
        """(R, D) -> (R, d); no sample has more than max_length steps."""
        x_Rd = self.input(x_RD) + F.embedding(packing.steps, self.positions)
        x_Rd = dropout(self.norm(x_Rd), self.dropout, self.training)
        again = x_Rd.requires_grad and x_Rd.device.type == "cpu" and len(x_Rd) > _ROWS_KEPT
        for layer in self.layers:
            if again:
                x_Rd = checkpoint(layer, x_Rd, packing, use_reentrant=False)
            else:
                x_Rd = layer(x_Rd, packing)
        return x_Rd


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward layer with exact GELU, each added and normalised."""

    def __init__(self, hidden: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.attention = SelfAttention(hidden, heads, dropout)
        self.attention_norm = nn.LayerNorm(hidden, eps=NORM_EPS)
        self.widen = nn.Linear(hidden, feed_forward)
        self.narrow = nn.Linear(feed_forward, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=NORM_EPS)

    def forward(self, x_Rd: Tensor, packing: Packing) -> Tensor:
        """(R, d) -> (R, d)."""
        attended = self.attention(x_Rd, packing)
        x_Rd = self.attention_norm(add_dropout(x_Rd, attended, self.dropout, self.training))
        fed = self.narrow(F.gelu(self.widen(x_Rd)))
        return self.output_norm(add_dropout(x_Rd, fed, self.dropout, self.training))


def _initialise(module: nn.Module) -> None:
    """Linear layers start normal with the published spread and without bias."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=_INITIAL_STD)
        nn.init.zeros_(module.bias)
