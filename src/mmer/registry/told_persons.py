"""What a request tells of persons: whose labels are asked for, whose each step is, and when.

A model that knows persons takes, beside the modalities, the columns that a sample table has for
them: `person`, a name, and for each modality `<modality>_person`, the name of whose each step is,
and `<modality>_segment`, the number of its segment of the conversation. Without them every sample
would be taken for a stranger's, so one that lacks them is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmer.errors import InputError
from mmer.samples.table import Persons

TARGET = "person"
_LARGEST = 2**31
_SHOWN = 60
_REMEDY = (
    "This model knows persons: tell whose each step is, or score sample tables or the corpus's "
    "official files (predict_<corpus>)."
)


class ToldPersons(NamedTuple):
    """Of one sample.

    Attributes:
        target: Whose labels are asked for.
        persons: Modality -> (T,) whose each step is.
        segments: Modality -> (T,) the segment of each step.
    """

    target: int
    persons: dict[str, np.ndarray]
    segments: dict[str, np.ndarray]


def person_column(modality: str) -> str:
    """Names of persons, one per step."""
    return f"{modality}_person"


def segment_column(modality: str) -> str:
    """Numbers of segments, one per step."""
    return f"{modality}_segment"


def person_columns(modalities: Sequence[str]) -> tuple[str, ...]:
    """All columns that tell of persons."""
    steps = [name for m in modalities for name in (person_column(m), segment_column(m))]
    return TARGET, *steps


def check_columns(where: object, there: Sequence[str], modalities: Sequence[str]) -> None:
    """Refuse a file that does not tell of persons for every modality that it has.

    Raises:
        InputError: A column is not there.
    """
    for name in person_columns([m for m in modalities if m in there]):
        if name not in there:
            raise InputError(where, name, "a column of this name", "none", _REMEDY)


def told_persons(
    where: str, row: Mapping[str, Any], lengths: Mapping[str, int], known: Persons
) -> ToldPersons:
    """What a row tells of persons, of whom each has to be known.

    Args:
        lengths: Modality -> number of steps in this row; of a row without any nothing is asked.

    Raises:
        InputError: Somebody is not known, or not every step has a person and a segment.
    """
    numbers, names = {name: n for n, name in enumerate(known.names)}, ", ".join(known.names)
    target = row.get(TARGET) if any(lengths.values()) else known.names[0]
    if not isinstance(target, str) or target not in numbers:
        raise InputError(where, TARGET, f"one of {names}", _shown(target), _REMEDY)
    persons, segments = {}, {}
    for modality, count in lengths.items():
        column = person_column(modality)
        told = _per_step(where, column, row.get(column), count, "a name")
        for step, one in enumerate(told):
            if not isinstance(one, str) or one not in numbers:
                found = f"{_shown(one)} in step {step}"
                raise InputError(where, column, f"one of {names}", found)
        persons[modality] = np.array([numbers[one] for one in told], np.int64)
        column = segment_column(modality)
        told = _per_step(where, column, row.get(column), count, "a number")
        for step, one in enumerate(told):
            whole = isinstance(one, int) and not isinstance(one, bool)
            if not whole or not 0 <= one < _LARGEST:
                expected, found = f"whole numbers from 0 to {_LARGEST - 1}", _shown(one)
                raise InputError(where, column, expected, f"{found} in step {step}")
        segments[modality] = np.array(told, np.int64)
    return ToldPersons(numbers[target], persons, segments)


def _per_step(where: str, column: str, cell: Any, count: int, what: str) -> list[Any]:
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    if not isinstance(cell, list | tuple):
        if not count:
            return []
        raise InputError(where, column, f"{what} for each of {count} steps", _shown(cell), _REMEDY)
    if len(cell) != count:
        raise InputError(where, column, f"{what} for each of {count} steps", f"{len(cell)} of them")
    return list(cell)


def _shown(value: object) -> str:
    """What came with a request, as a message may repeat it."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "none"
    if not isinstance(value, str | int | float):
        return f"a {type(value).__name__}"
    text = repr(value[:_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"a {type(value).__name__}"
