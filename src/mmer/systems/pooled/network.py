"""A small network that looks at each step by itself and pools over time.

Shapes: B samples, T steps, D raw features, W step width, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer.samples.batches import Batch
from mmer.systems.layers.encoder import InputNorm
from mmer.systems.pooled.settings import PooledNetworkSettings
from mmer.training.distributed import gathered
from mmer.training.network import Losses, Network


class PooledNetwork(Network):
    """Mean and maximum over time of each modality's encoded steps, then one linear layer.

    It made fewer errors on the validation split of the synthetic corpus than with a hidden layer
    over what was pooled.
    """

    def __init__(
        self, settings: PooledNetworkSettings, widths: Mapping[str, int], num_labels: int
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(
            {m: _PooledSteps(width, settings.step_width) for m, width in widths.items()}
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(len(widths) * (2 * settings.step_width + 1), num_labels)

    def forward(self, batch: Batch) -> Tensor:
        """(B, L) logits."""
        pooled = [encode(batch.features[m], batch.masks[m]) for m, encode in self.encoders.items()]
        return self.output(self.dropout(torch.cat(pooled, dim=1)))

    def losses(self, batch: Batch) -> Losses:
        logits, labels = gathered(self(batch)), gathered(batch.labels)
        return Losses({"total": F.binary_cross_entropy_with_logits(logits, labels)})

    def scores(self, batch: Batch) -> Tensor:
        return self(batch).sigmoid()

    def set_input_statistics(self, mean: Mapping[str, Tensor], scale: Mapping[str, Tensor]) -> None:
        for modality, encoder in self.encoders.items():
            assert isinstance(encoder, _PooledSteps)
            encoder.norm.standardise(mean[modality], scale[modality])


class _PooledSteps(nn.Module):
    """One modality: mean and maximum of its encoded steps, and whether it is there at all."""

    def __init__(self, width: int, step_width: int) -> None:
        super().__init__()
        self.norm = InputNorm(width)
        self.linear = nn.Linear(width, step_width)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """(B, 2 W + 1); zeros where the modality is absent."""
        encoded_BTW = F.gelu(self.linear(self.norm(x_BTD)))
        mask_BT1, present_B1 = mask_BT[:, :, None], mask_BT.any(dim=1, keepdim=True)
        mean_BW = (encoded_BTW * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1).clamp(min=1)
        maximum_BW = encoded_BTW.masked_fill(~mask_BT1, -torch.inf).amax(dim=1)
        maximum_BW = maximum_BW.where(present_B1, 0)
        return torch.cat([mean_BW, maximum_BW, present_B1], dim=1)
