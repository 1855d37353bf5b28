"""RAMer as a system: reconstruction-based adversarial emotion recognition."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from mmer.samples.batches import Samples
from mmer.samples.table import TableInfo
from mmer.systems.contract import SystemInfo
from mmer.systems.network import NetworkSystem
from mmer.systems.ramer.network import Ramer
from mmer.systems.ramer.settings import RamerParts, RamerSettings


class RamerSystem(NetworkSystem):
    """One network for any number of modalities, and for corpora with and without persons."""

    name = "ramer"
    title = "RAMer"
    settings = RamerSettings
    network = Ramer
    parts = MappingProxyType(RamerParts.changes())
    parts_for_persons = frozenset({"persons", "personality"})

    def build(self, settings: Any, info: TableInfo | SystemInfo) -> Ramer:
        return Ramer(settings.network, info.widths, len(info.labels), info.persons)

    def info(self, train: Samples, settings: Any, **more: Any) -> SystemInfo:
        persons = train.info.persons if settings.network.parts.persons else None
        return super().info(train, settings, persons=persons, **more)
