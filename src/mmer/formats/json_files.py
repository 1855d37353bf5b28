"""JSON files: small ones as a whole, and large ones of named vectors one vector at a time."""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mmer.errors import InputError
from mmer.formats.plain import describe
from mmer.formats.restricted_pickle import map_file

_LONGEST_NAME = 1000
_DAMAGED = "The file is cut off, damaged or of another format."
_OPENING = re.compile(rb"\s*\{\s*")
_ENTRY = re.compile(rb'("(?:[^"\\\x00-\x1f]|\\.){0,%d}")\s*:\s*\[' % _LONGEST_NAME)
_BEHIND = re.compile(rb"\s*([,}])\s*")


def read_json(path: Path) -> Any:
    """What a JSON file says, all of it in memory; NaN and infinities may be among its numbers.

    Raises:
        InputError: The file is missing, cut off, no JSON, nested without end, or has an object in
            which a name stands twice.
    """
    content = map_file(path)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            [(name, times)] = Counter(name for name, _ in pairs).most_common(1)
            found_there = f"{describe(name)} {times} times"
            raise InputError(path, "", "each name of an object once", found_there)
        return found

    try:
        return json.loads(content[:], object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise InputError(path, "", "a whole JSON file", str(error)[:200], _DAMAGED) from error


class NamedVectors:
    """A JSON object of vectors, `{"name": [1.5, ..], ..}`, of which only the places are kept.

    The file is mapped into memory and looked through once. A vector is parsed when it is asked for:
    what takes gigabytes as text, and several times as much as Python's numbers, is never held.

    Attributes:
        path: The file.
        width: Numbers in each vector, which the first one has.

    Raises:
        InputError: The file is missing, cut off, empty, or no such object, or a name stands twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._content = map_file(path)
        self._places = self._look_through()
        if not self._places:
            raise InputError(path, "", "named vectors", "none")
        self.width = len(self._parsed(next(iter(self._places))))
        if self.width == 0:
            raise InputError(path, next(iter(self._places)), "a vector of numbers", "an empty list")

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, name: str) -> np.ndarray:
        """(width,) float64, not all of them finite perhaps.

        Raises:
            KeyError: There is no vector of this name.
            InputError: It is not as wide as the first one, or not all of it are numbers.
        """
        values = self._parsed(name)
        if len(values) != self.width:
            expected = f"{self.width} numbers, as many as in the first vector"
            raise InputError(self.path, name, expected, len(values))
        return values

    def _look_through(self) -> dict[str, slice]:
        """Name -> where its list stands, brackets included."""
        opening = _OPENING.match(self._content)
        if opening is None:
            self._refuse(0, "an object of named vectors")
        places: dict[str, slice] = {}
        position, closing = opening.end(), b","
        if self._content[position : position + 1] == b"}":
            position, closing = position + 1, b"}"
        while closing == b",":
            entry = _ENTRY.match(self._content, position)
            end = self._content.find(b"]", entry.end()) + 1 if entry else 0
            behind = _BEHIND.match(self._content, end) if end else None
            if entry is None or behind is None:
                self._refuse(position, "a name, and behind it a list of numbers")
            name = self._name(entry[1], position)
            if name in places:
                raise InputError(self.path, name, "each name once", "it stands there twice")
            places[name] = slice(entry.end() - 1, end)
            position, closing = behind.end(), behind[1]
        if self._content[position:].strip():
            self._refuse(position, "the end of the file")
        return places

    def _name(self, quoted: bytes, position: int) -> str:
        with suppress(ValueError):
            name = json.loads(quoted)
            name.encode()  # halves of surrogate pairs are no text
            return name
        self._refuse(position, "a name")

    def _parsed(self, name: str) -> np.ndarray:
        text = self._content[self._places[name]]
        try:
            values = json.loads(text)
            if not all(type(value) in (int, float) for value in values):
                raise ValueError("something that is no number")
            return np.array(values, np.float64)
        except (ValueError, OverflowError, RecursionError) as error:
            expected = "a list of numbers"
            raise InputError(self.path, name, expected, str(error)[:200], _DAMAGED) from error

    def _refuse(self, position: int, expected: str) -> NoReturn:
        found = describe(bytes(self._content[position : position + 40]))
        raise InputError(self.path, f"byte {position}", expected, found, _DAMAGED)
