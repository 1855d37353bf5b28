"""The names that parameters may have, and which of them a mistyped one may have meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher, get_close_matches
from functools import partial
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from mmer.schema import Settings

Name = tuple[str, ...]

_UNKNOWN = "extra_forbidden"


def names_of(kind: type[BaseModel]) -> Iterator[Name]:
    """Every setting of a kind, by the names that lead to it."""
    for name, field in kind.model_fields.items():
        inner = [one for model in _models(field.annotation) for one in names_of(model)]
        yield from ((name, *one) for one in dict.fromkeys(inner)) if inner else [(name,)]


def leaf(value: Any) -> Name:
    """The names that lead to the first single value."""
    if not (isinstance(value, Mapping) and value):
        return ()
    name, inner = next(iter(value.items()))
    return (str(name), *leaf(inner))


class Fault(NamedTuple):
    """Where a value differs from what a kind of settings takes.

    Attributes:
        unknown: Whether there is no such name; else its value is wrong, as `message` says.
    """

    place: Name
    unknown: bool
    message: str


def first_fault(kind: type[Settings], value: Any) -> Fault | None:
    """Where a value first differs from what a kind of settings takes, and how; None if nowhere.

    What has no such name comes first: it may be why another is missing.
    """
    try:
        kind.model_validate(value)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        unknown = [fault for fault in faults if fault["type"] == _UNKNOWN]
        fault = (unknown or faults)[0]
        place = fault["loc"]
        message = fault["msg"].removeprefix("Input should be ")
        return Fault(
            tuple(map(str, place)) if unknown else _within(value, place),
            bool(unknown),
            f"{place[-1]} as well" if fault["type"] == "missing" else message,
        )
    return None


def nearest(given: Name, depth: int, known: Iterable[Name]) -> str:
    """The known name that is most like a given one, of which `depth` parts are right; or "".

    A part that is mistyped, then one that was left out or is too much, then any likeness.
    """
    every = [name for name in dict.fromkeys(known) if name != given[: len(name)]]
    beside = [name for name in every if name[:depth] == given[:depth] and len(name) > depth]
    parts = [name[depth] for name in beside]
    for part in get_close_matches(given[depth], dict.fromkeys(parts), 3, 0.6):
        meant = (*given[:depth], part, *given[depth + 1 :])
        if any(name[: len(meant)] == meant for name in beside):
            return ".".join(meant)
    if close := get_close_matches(given[depth], dict.fromkeys(parts), 1, 0.75):
        return ".".join((*given[:depth], *close))
    for names in (beside, every):
        for start in range(depth, len(given)):
            if same := [name for name in names if name[start - len(given) :] == given[start:]]:
                if start == depth:
                    return ".".join(same[0])
                return ".".join(max(same, key=partial(_likeness, given)))
    close = get_close_matches(".".join(given), map(".".join, every), 1, 0.6)
    return close[0] if close else ""


def _within(value: Any, place: Iterable[Any]) -> Name:
    """As far as a place leads into a value: pydantic also names the alternatives of a type."""
    found: Name = ()
    for part in place:
        if isinstance(value, Mapping) and part in value:
            value, found = value[part], (*found, str(part))
    return found


def _likeness(given: Name, name: Name) -> float:
    return SequenceMatcher(None, ".".join(name), ".".join(given)).ratio()


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]
