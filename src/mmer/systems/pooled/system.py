"""The pooled network as a system."""

from __future__ import annotations

from mmer.systems.network import NetworkSystem
from mmer.systems.pooled.network import PooledNetwork
from mmer.systems.pooled.settings import PooledSettings


class PooledSystem(NetworkSystem):
    """The strongest system that looks at each step by itself."""

    name = "pooled"
    title = "Pooled network"
    settings = PooledSettings
    network = PooledNetwork
    simple = True
