"""CARAT as a system: contrastive feature reconstruction and aggregation (AAAI 2024)."""

from __future__ import annotations

from types import MappingProxyType

from mmer.systems.carat.network import Carat
from mmer.systems.carat.settings import CaratParts, CaratSettings
from mmer.systems.network import NetworkSystem


class CaratSystem(NetworkSystem):
    """One network for any number of modalities; `settings` say how the published one differs."""

    name = "carat"
    title = "CARAT"
    settings = CaratSettings
    network = Carat
    parts = MappingProxyType(CaratParts.changes())
