"""A small RAMer, and batches that say whose their steps are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch

from mmer.samples.batches import Batch, StepPersons
from mmer.samples.table import Persons
from mmer.systems.ramer.network import Ramer
from mmer.systems.ramer.settings import RamerNetwork

WIDTHS = {"text": 7, "visual": 5, "audio": 6}
PERSONS = Persons(
    names=("Ann", "Ben", "Cleo", "Dee"),
    traits=((1.0, 30.0, 5.0), (2.0, 10.0, 5.0), (4.0, 20.0, 5.0), (3.0, 50.0, 5.0)),
)


def settings(**changes: object) -> RamerNetwork:
    small = {
        "hidden": 8,
        "latent": 4,
        "heads": 2,
        "feed_forward": 8,
        "layers": 1,
        "dropout": 0.0,
        "specific_dropout": 0.0,
        "common_dropout": 0.0,
        "discriminator_dropout": 0.0,
        "max_length": 14,
        "queue": 64,
    }
    return RamerNetwork(**{**small, **changes})


def network(
    num_labels: int = 3,
    seed: int = 0,
    widths: Mapping[str, int] = WIDTHS,
    persons: Persons | None = None,
    **changes: object,
) -> Ramer:
    torch.manual_seed(seed)
    built = Ramer(settings(**changes), widths, num_labels, persons)
    for name, parameter in built.named_parameters():
        if "norm" not in name:  # the published start is so narrow that differences would not show
            torch.nn.init.normal_(parameter, std=0.3)
    return built


@pytest.fixture
def make_settings() -> Callable[..., RamerNetwork]:
    return settings


@pytest.fixture
def make_network() -> Callable[..., Ramer]:
    return network


@pytest.fixture
def make_talk(make_batch: Callable[..., Batch]) -> Callable[..., Batch]:
    """Batches in which each step is one of four persons' in one of three segments, each once."""

    def talk(size: int = 5, seed: int = 1, **more: object) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        made = make_batch(size, 9, seed=seed, **more)
        cells = {
            m: torch.stack([torch.randperm(12, generator=generator)[:9] for _ in range(size)])
            for m in made.features
        }
        persons = {m: x % 4 * made.masks[m] for m, x in cells.items()}
        segments = {m: x // 4 * made.masks[m] for m, x in cells.items()}
        target = torch.randint(4, (size,), generator=generator)
        return replace(made, persons=StepPersons(target, persons, segments))

    return talk


@pytest.fixture
def persons() -> Persons:
    return PERSONS
