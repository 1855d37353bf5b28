"""A small CARAT."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch

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


@pytest.fixture
def make_settings() -> Callable[..., CaratNetwork]:
    return settings


@pytest.fixture
def make_network() -> Callable[..., Carat]:
    return network
