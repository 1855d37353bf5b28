"""The cells of a comparison: systems, or what is left of them without a part, x seeds.

Kedro registers pipelines without their parameters. So the settings that a run asks for are noted
here as soon as its configuration is known, before the pipelines are made (`hooks.AskedCells`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from mmer.corpora import CORPORA
from mmer.errors import InputError
from mmer.evaluation.seeds import AblationSettings, ComparisonSettings
from mmer.systems import SYSTEMS

Asked = TypeVar("Asked", ComparisonSettings, AblationSettings)

_asked: dict[tuple[str, type], ComparisonSettings | AblationSettings] = {}


class Cell(NamedTuple):
    """One seed of one system; no seed if the system draws no random numbers.

    Attributes:
        without: The part that is taken away, if one is.
        name: What everything of it is filed under.
    """

    system: str
    seed: int | None
    without: str | None = None

    @property
    def name(self) -> str:
        without = f"_without_{self.without}" if self.without else ""
        seed = "" if self.seed is None else f"_seed_{self.seed}"
        return f"{self.system}{without}{seed}"


def families() -> dict[str, list[str]]:
    """Family -> its corpora."""
    found: dict[str, list[str]] = {}
    for name, corpus in CORPORA.items():
        if corpus.family:
            found.setdefault(corpus.family, []).append(name)
    return found


def ask(settings: Mapping[str, Iterable[ComparisonSettings | AblationSettings]]) -> None:
    """Note what is asked for of each corpus or family."""
    _asked.clear()
    _asked.update({(name, type(one)): one for name, given in settings.items() for one in given})


def asked(name: str, kind: type[Asked]) -> Asked:
    """What is asked for of a corpus or a family."""
    found = _asked.get((name, kind), kind())
    assert isinstance(found, kind)
    return found


def compared_cells(settings: ComparisonSettings) -> list[Cell]:
    """The cells of a comparison, system by system.

    Raises:
        InputError: A system is asked for that there is not.
    """
    names = _known("comparison", "systems", settings.systems, SYSTEMS)
    return [cell for name in names for cell in _cells(name, settings.seeds)]


def ablated_cells(settings: AblationSettings, corpus: str) -> dict[str, list[Cell]]:
    """System -> the cells of its ablation: the whole system first, then without each part.

    Raises:
        InputError: A system or a part is asked for that there is not, or not on this corpus.
    """
    able = [name for name, system in SYSTEMS.items() if system.parts]
    names = _known("ablation", "systems", settings.systems, SYSTEMS, able)
    parts = {name: parts_on(corpus, name) for name in names}
    _known("ablation", "parts", settings.parts, sorted({p for own in parts.values() for p in own}))
    found = {}
    for name, own in parts.items():
        kept = [part for part in own if part in (settings.parts or own)]
        found[name] = [
            cell for part in (None, *kept) for cell in _cells(name, settings.seeds, part)
        ]
    return found


def parts_on(corpus: str, system: str) -> list[str]:
    """What can be taken away from a system on a corpus: its parts, and the modalities."""
    known, recipe = CORPORA[corpus], SYSTEMS[system]
    idle = frozenset() if known.persons else recipe.parts_for_persons
    return [*(part for part in recipe.parts if part not in idle), *known.modalities]


def _cells(system: str, seeds: Iterable[int], without: str | None = None) -> list[Cell]:
    seeded = SYSTEMS[system].seeded
    return [Cell(system, seed, without) for seed in (seeds if seeded else (None,))]


def _known(
    where: str,
    key: str,
    given: tuple[str, ...],
    known: Iterable[str],
    default: Iterable[str] | None = None,
) -> list[str]:
    """What is given, or all; an InputError if it is not known."""
    if unknown := set(given) - set(known):
        expected = f"some of {', '.join(known)}"
        raise InputError(f"{where} settings", key, expected, ", ".join(sorted(unknown)))
    return list(given or (known if default is None else default))
