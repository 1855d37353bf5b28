"""A small CARAT and ragged batches for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch

from mmer.samples.batches import Batch
from mmer.systems.carat.network import Carat
from mmer.systems.carat.settings import CaratNetwork

WIDTHS = {"text": 7, "visual": 5, "audio": 6}


def settings(**changes: object) -> CaratNetwork:
    small = {
        "hidden": 8,
        "latent": 4,
        "heads": 2,
        "feed_forward": 8,
        "layers": {"text": 2, "visual": 1, "audio": 1},
        "dropout": 0.0,
        "max_length": 12,
        "queue": 64,
    }
    return CaratNetwork(**{**small, **changes})


def network(
    num_labels: int = 3, seed: int = 0, widths: Mapping[str, int] = WIDTHS, **changes: object
) -> Carat:
    torch.manual_seed(seed)
    built = Carat(settings(**changes), widths, num_labels)
    for name, parameter in built.named_parameters():
        if "norm" not in name:  # the published start is so narrow that differences would not show
            torch.nn.init.normal_(parameter, std=0.3)
    return built


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
def make_settings() -> Callable[..., CaratNetwork]:
    return settings


@pytest.fixture
def make_network() -> Callable[..., Carat]:
    return network


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    return batch
