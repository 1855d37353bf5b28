"""Two networks to train: a small one without memory, and one with prototypes and a queue."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mmer.samples.batches import Samples
from mmer.systems.carat.network import Carat
from mmer.systems.carat.settings import CaratNetwork
from mmer.systems.pooled.network import PooledNetwork
from mmer.systems.pooled.settings import PooledNetworkSettings
from mmer.training.network import Network

SMALL_CARAT = {
    "hidden": 16,
    "latent": 8,
    "heads": 2,
    "feed_forward": 16,
    "layers": {"text": 1, "visual": 1, "audio": 1},
    "queue": 128,
    "max_length": 10,
}
Build = Callable[[], Network]


def pooled(samples: Samples, **changes: object) -> Build:
    settings = PooledNetworkSettings(**{"step_width": 8, **changes})
    return lambda: PooledNetwork(settings, samples.info.widths, len(samples.info.labels))


def carat(samples: Samples, **changes: object) -> Build:
    settings = CaratNetwork(**{**SMALL_CARAT, **changes})
    return lambda: Carat(settings, samples.info.widths, len(samples.info.labels))


@pytest.fixture(params=[pooled, carat])
def building(request) -> Callable[..., Build]:
    """(samples, **changed settings) -> what builds a network for them."""
    return request.param


@pytest.fixture
def building_pooled() -> Callable[..., Build]:
    return pooled


@pytest.fixture
def building_carat() -> Callable[..., Build]:
    return carat
