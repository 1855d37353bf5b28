"""A uniform shuffle of samples and of modalities (CARAT, "shuffle")."""

from __future__ import annotations

import torch
from torch import Tensor

from mmer.systems.layers.shuffle import Shuffle


def draw_shuffle(
    num_labels: int,
    modalities: int,
    batch: int,
    device: torch.device,
    *,
    mix_samples: bool = True,
    mix_modalities: bool = True,
) -> Shuffle:
    """Uniform permutations, all at once: the order of random numbers. What is not to be mixed stays
    where it is.
    """

    def permutations(mixed: bool, *shape: int) -> Tensor:
        if mixed:
            return torch.rand(shape, device=device).argsort(dim=-1)
        return torch.arange(shape[-1], device=device).expand(shape)

    return Shuffle(
        samples=permutations(mix_samples, num_labels, modalities, batch),
        modalities=permutations(mix_modalities, num_labels, batch, modalities),
    )
