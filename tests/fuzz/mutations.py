"""Ways to break a file: its bytes, the objects in it, and objects that nobody should unpickle."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

Setter = Callable[[object], None]

WRONG_VALUES: list[object] = [
    None,
    True,
    -1,
    2**70,
    float("nan"),
    "text",
    b"\xff\xfe",
    [],
    {},
    (),
    [[]],
    [None, 1, "a"],
    {"a": 1},
    np.zeros(0),
    np.zeros((0, 3), np.float32),
    np.zeros((3, 0), np.float32),
    np.full((2, 3), np.nan),
    np.zeros((2, 3, 4, 5), np.float32),
    np.array(3.0),
    np.array(["a", "b"]),
    np.array([b"a"]),
    np.array([None, []], dtype=object),
    np.zeros(2, np.complex64),
    np.zeros(2, "datetime64[s]"),
    np.full((6, 4), 1e300),
    np.arange(12).reshape(4, 3).astype(">i2"),
]


def break_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    """Flip, cut, drop, repeat or overwrite some bytes."""
    data = bytearray(content)
    kind = rng.integers(5)
    at = int(rng.integers(len(data)))
    length = int(rng.integers(1, 40))
    if kind == 0:
        for place in rng.integers(len(data), size=rng.integers(1, 9)):
            data[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[at : at + length]
    elif kind == 3:
        data[at:at] = data[at : at + length]
    else:
        data[at : at + length] = rng.bytes(length)
    return bytes(data)


def break_objects(
    rng: np.random.Generator, content: object, intruder: object | None = None
) -> object:
    """A copy with one to three places removed, replaced, swapped, cut or repeated.

    Args:
        rng: Chooses what.
        content: Nested dicts and lists, arrays and numbers.
        intruder: What to put there; None draws from `WRONG_VALUES`.
    """
    content = copy.deepcopy(content)
    for _ in range(1 if intruder is not None else int(rng.integers(1, 4))):
        places = list(_places(content))
        container, key = places[int(rng.integers(len(places)))]
        if intruder is not None:
            container[key] = intruder
            break
        _break_place(rng, container, key, places)
    return content


def _places(value: object) -> Iterator[tuple]:
    """Every (container, key) inside nested dicts and lists."""
    if isinstance(value, dict):
        keys: list = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    elif hasattr(value, "__dict__"):
        yield from _places(vars(value))
        return
    else:
        return
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _break_place(rng: np.random.Generator, container, key, places: list[tuple]) -> None:
    value = container[key]
    kind = rng.integers(6)
    if kind == 0:
        del container[key]
    elif kind == 1:
        other, other_key = places[int(rng.integers(len(places)))]
        container[key] = copy.deepcopy(other[other_key])
    elif kind == 2 and _length(value):
        container[key] = value[: int(rng.integers(len(value)))]
    elif kind == 3 and isinstance(value, list) and value:
        container[key] = [*value, value[0]]
    elif kind == 4 and isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        container[key] = value.T if rng.integers(2) else value.astype("f8").ravel()
    else:
        container[key] = WRONG_VALUES[int(rng.integers(len(WRONG_VALUES)))]


def _length(value: object) -> int:
    if isinstance(value, np.ndarray):
        return len(value) if value.ndim else 0
    return len(value) if isinstance(value, list) else 0


class Intruder:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


class StatefulIntruder(Intruder):
    """The same, with a state that asks for BUILD."""

    def __reduce__(self) -> tuple:
        return (*self.call, {"state": 1})


def intruders(canary: Path) -> list[object]:
    """Objects whose unpickling would write `canary`, or reach for something that could."""
    touch = f"touch {canary}"
    return [
        Intruder(os.system, touch),
        Intruder(eval, f"open({str(canary)!r}, 'w')"),
        Intruder(exec, f"open({str(canary)!r}, 'w')"),
        Intruder(open, str(canary), "w"),
        Intruder(getattr, "a", "upper"),
        Intruder(np.ndarray.tofile, np.zeros(1), str(canary)),
        Intruder(np.save, str(canary), np.zeros(1)),
        StatefulIntruder(Path, str(canary)),
        Intruder(bytearray, 10**12),
        Intruder(__import__, "os"),
        Intruder(Path.touch, canary),
    ]


def costly(content: object) -> list[object]:
    """Contents that are small or usual in themselves and make a naive reader slow."""
    found: list[object] = [
        {f"key {i}": f"text {i}" for i in range(100_000)},
        [[f"{i}", [i], {i: ()}] for i in range(50_000)],
    ]
    splits = content if isinstance(content, dict) else {}
    if all(isinstance(split, dict) and "raw_text" in split for split in splits.values()):
        for repeats in (1, 2000):  # all clips are of one video
            one = {name: _repeated(split, repeats) for name, split in splits.items()}
            for split in one.values():
                split["id"] = [f"v$_${i}" for i in range(len(split["id"]))]
            found.append(one)
    return found


def _repeated(fields: dict, repeats: int) -> dict:
    return {
        name: value * repeats if isinstance(value, list) else np.concatenate([value] * repeats)
        for name, value in fields.items()
    }
