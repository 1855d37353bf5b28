"""A small CARAT and ragged batches for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mmer.models.carat import Carat
from mmer.models.settings import MODALITIES, CaratSettings

WIDTHS = {"text": 7, "visual": 5, "audio": 6}


@dataclass
class Batch:
    features: dict[str, Tensor]
    masks: dict[str, Tensor]
    labels: Tensor

    def pick(self, index: Tensor) -> Batch:
        """The samples `index`, in that order."""
        return Batch(
            {m: x[index] for m, x in self.features.items()},
            {m: x[index] for m, x in self.masks.items()},
            self.labels[index],
        )

    def without(self, modality: str, samples: slice | int) -> Batch:
        """The same with a modality absent from some samples."""
        features = {m: x.clone() for m, x in self.features.items()}
        masks = {m: x.clone() for m, x in self.masks.items()}
        features[modality][samples] = 0
        masks[modality][samples] = False
        return Batch(features, masks, self.labels)


def settings(**changes: object) -> CaratSettings:
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
    return CaratSettings(**{**small, **changes})


def network(num_labels: int = 3, seed: int = 0, **changes: object) -> Carat:
    torch.manual_seed(seed)
    built = Carat(settings(**changes), WIDTHS, num_labels)
    for name, parameter in built.named_parameters():
        if "norm" not in name:  # the published start is so narrow that differences would not show
            torch.nn.init.normal_(parameter, std=0.3)
    return built


def batch(
    size: int = 5, length: int = 9, num_labels: int = 3, seed: int = 1, ragged: bool = True
) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    features, masks = {}, {}
    for m in MODALITIES:
        lengths = torch.randint(1, length + 1, (size,), generator=generator)
        lengths[0] = length
        if not ragged:
            lengths[:] = length
        masks[m] = torch.arange(length) < lengths[:, None]
        features[m] = torch.randn(size, length, WIDTHS[m], generator=generator)
        features[m] *= masks[m][..., None]
    labels = (torch.rand(size, num_labels, generator=generator) < 0.4).float()
    return Batch(features, masks, labels)


@pytest.fixture
def make_settings() -> Callable[..., CaratSettings]:
    return settings


@pytest.fixture
def make_network() -> Callable[..., Carat]:
    return network


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    return batch
