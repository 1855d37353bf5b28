"""Fields of an object that came out of a file, checked before anything relies on them.

What is not as described raises an InputError that names the file, the field, and what is there.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from mmer.errors import InputError

_MOST_SHOWN = 60
_LARGEST_NUMBER = 1e18


def describe(value: object) -> str:
    """A value in a few words; unlike `repr`, of the same cost whatever a file put into it."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}"
    if isinstance(value, str | bytes):
        return ascii(value[:_MOST_SHOWN])
    if (
        value is None
        or isinstance(value, float)
        or (isinstance(value, int) and abs(value) < _LARGEST_NUMBER)
    ):
        return repr(value)
    if isinstance(value, list | tuple | dict | set):
        return f"{type(value).__name__} of {len(value)}"
    return f"a value of type {type(value).__name__}"


def field(where: Path, value: object, *names: str | int) -> Any:
    """What stands under `names` in dicts within dicts."""
    for depth, name in enumerate(names):
        if not isinstance(value, dict) or name not in value:
            found = ", ".join(map(describe, list(value)[:20])) if isinstance(value, dict) else ""
            inside = "/".join(map(str, names[:depth]))
            raise InputError(where, inside, f"a field {name!r}", found or describe(value))
        value = value[name]
    return value


def texts(where: Path, key: str, value: object, count: int) -> list[str]:
    """`count` strings, from text or UTF-8 bytes."""
    if not isinstance(value, list | tuple) or len(value) != count:
        raise InputError(where, key, f"{count} strings", describe(value))
    return [text(where, f"{key}[{i}]", item) for i, item in enumerate(value)]


def text(where: Path, key: str, value: object) -> str:
    """A string, from text or UTF-8 bytes."""
    with suppress(UnicodeError):
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, str):
            return value.encode().decode()  # halves of surrogate pairs are no text
    raise InputError(where, key, "text", describe(value))


def numbers(where: Path, key: str, value: object, count: int) -> np.ndarray:
    """`count` finite numbers as float64, from a list or an array whose other extents are 1."""
    if isinstance(value, list | tuple) and all(isinstance(x, int | float) for x in value):
        value = np.array([x if abs(x) < _LARGEST_NUMBER else np.nan for x in value], np.float64)
    if not is_numeric(value) or value.shape[:1] != (count,) or value.size != count:
        raise InputError(where, key, f"{count} numbers", describe(value))
    if not np.isfinite(value).all():
        raise InputError(where, key, f"{count} finite numbers", "some that are not finite")
    return value.reshape(count).astype(np.float64)


def sequences(where: Path, key: str, value: object, width: int | None = None) -> list[np.ndarray]:
    """Feature sequences (T, D) of equal width, from one stacked array (n, T, D) or a list.

    All have the width D that is expected, or where that is None, the first one's.
    """
    if is_numeric(value) and value.ndim == 3:
        value = list(value)
    if not isinstance(value, list | tuple) or len(value) == 0:
        raise InputError(where, key, "feature sequences, stacked or as a list", describe(value))
    for i, rows in enumerate(value):
        if not is_numeric(rows) or rows.ndim != 2 or rows.shape[1] != (width or rows.shape[1]):
            expected = f"numbers in rows of width {width}" if width else "numbers in rows"
            raise InputError(where, f"{key}[{i}]", expected, describe(rows))
        width = rows.shape[1]
    return list(value)


def is_numeric(value: object) -> TypeGuard[np.ndarray]:
    """Whether this is an array of integers or floating-point numbers."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiu"


def as_float32(rows: np.ndarray) -> np.ndarray:
    """The rows as float32; what is beyond its range becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(rows).astype(np.float32)
