"""The cells of a comparison, systems x seeds: what `compare_<corpus>` is made of.

Kedro registers pipelines without their parameters. So the settings that a run asks for are noted
here as soon as its configuration is known, before the pipelines are made (`hooks.AskedCells`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mmer.errors import InputError
from mmer.evaluation.seeds import ComparisonSettings
from mmer.systems import SYSTEMS

_asked: dict[str, ComparisonSettings] = {}


class Cell(NamedTuple):
    """One seed of one system; no seed if the system draws no random numbers.

    Attributes:
        name: What everything of it is filed under.
    """

    system: str
    seed: int | None

    @property
    def name(self) -> str:
        return self.system if self.seed is None else f"{self.system}_seed_{self.seed}"


def ask(settings: Mapping[str, ComparisonSettings]) -> None:
    """Note what each corpus's comparison is asked for."""
    _asked.clear()
    _asked.update(settings)


def cells(corpus: str) -> list[Cell]:
    """The cells of a corpus's comparison, system by system.

    Raises:
        InputError: A system is asked for that there is not.
    """
    return cells_of(_asked.get(corpus, ComparisonSettings()))


def cells_of(settings: ComparisonSettings) -> list[Cell]:
    """See `cells`."""
    if unknown := set(settings.systems) - set(SYSTEMS):
        expected = f"some of {', '.join(SYSTEMS)}"
        raise InputError("comparison settings", "systems", expected, ", ".join(sorted(unknown)))
    return [
        Cell(name, seed)
        for name in settings.systems or SYSTEMS
        for seed in (settings.seeds if SYSTEMS[name].seeded else (None,))
    ]
