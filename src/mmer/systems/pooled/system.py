"""The pooled network as a system."""

from __future__ import annotations

from collections.abc import Mapping

from mmer.systems.network import NetworkSystem
from mmer.systems.pooled.network import PooledNetwork
from mmer.systems.pooled.settings import PooledSettings


class PooledSystem(NetworkSystem):
    """The strongest system that looks at each step by itself."""

    name = "pooled"
    title = "Pooled network"
    settings = PooledSettings
    simple = True

    def network(
        self, settings: PooledSettings, widths: Mapping[str, int], num_labels: int
    ) -> PooledNetwork:
        """A network for features of these widths per modality and L labels."""
        return PooledNetwork(settings.network, widths, num_labels)
