"""Ragged batches for small networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch

from mmer.samples.batches import Batch

WIDTHS = {"text": 7, "visual": 5, "audio": 6}


def batch(
    size: int = 5,
    length: int = 9,
    num_labels: int = 3,
    seed: int = 1,
    ragged: bool = True,
    widths: Mapping[str, int] = WIDTHS,
) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    features, masks = {}, {}
    for m, width in widths.items():
        lengths = torch.randint(1, length + 1, (size,), generator=generator)
        lengths[0] = length
        if not ragged:
            lengths[:] = length
        masks[m] = torch.arange(length) < lengths[:, None]
        features[m] = torch.randn(size, length, width, generator=generator)
        features[m] *= masks[m][..., None]
    labels = (torch.rand(size, num_labels, generator=generator) < 0.4).float()
    return Batch(features, masks, labels)


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    return batch
