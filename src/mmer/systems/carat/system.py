"""CARAT as a system: contrastive feature reconstruction and aggregation (AAAI 2024)."""

from __future__ import annotations

from collections.abc import Mapping

from mmer.systems.carat.network import Carat
from mmer.systems.carat.settings import CaratSettings
from mmer.systems.network import NetworkSystem


class CaratSystem(NetworkSystem):
    """One network for any number of modalities; `settings` say how the published one differs."""

    name = "carat"
    title = "CARAT"
    settings = CaratSettings

    def network(self, settings: CaratSettings, widths: Mapping[str, int], num_labels: int) -> Carat:
        """A network for features of these widths per modality and L labels."""
        return Carat(settings.network, widths, num_labels)
