"""All labels of one modality read together (CARAT, "aggregation").

Shapes: B samples, M modalities, L labels, d hidden.
"""

from __future__ import annotations

from torch import Tensor, nn


class Aggregation(nn.Module):
    """The L feature vectors side by side -> d, ReLU -> L logits; one network for the modalities."""

    def __init__(self, num_labels: int, hidden: int) -> None:
        super().__init__()
        self.join = nn.Linear(num_labels * hidden, hidden)
        self.output = nn.Linear(hidden, num_labels)
        for layer in (self.join, self.output):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, features_BMLd: Tensor) -> Tensor:
        """(B, M, L, d) -> logits (B, M, L)."""
        return self.output(self.join(features_BMLd.flatten(2)).relu())
