"""Pickles read without running anything that is in them.

A pickle is a program for a small stack machine, and one of its instructions calls any function that
it names. This machine knows only the instructions that plain data needs, and the only functions it
can call are the few builders below, which stand in for the names that numpy, `collections`
and `argparse` leave in data files. Every other name is refused, by name.

Plain data means: dict, OrderedDict and Namespace (all read as dict), list, tuple, set, text, bytes,
numbers, None, and numpy arrays and scalars. Arrays of numbers are views of the file, which is
mapped into memory: what nobody looks at is never read.

What a file can ask for is bounded by its size: no content goes beyond the bytes that are there,
only keys of a fixed cost are hashed, and what stands in many places counts each time.
"""

from __future__ import annotations

import mmap
import pickle
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import NoReturn, TypeVar

import numpy as np

from mmer.errors import InputError, UntrustedDataError
from mmer.formats import pickled_numpy
from mmer.formats.pickled_numpy import MalformedPickle, PendingArray, PickledType

# Bytes of arrays that a file may have placed, per byte of its size, and at least.
_EXPANSION = 64
_EXPANSION_ALWAYS = 1 << 20
# What handing an element to a builder costs of that: it takes longer than placing a byte.
_COST_OF_ARGUMENTS = 8
_MOST_INSTRUCTIONS = 30_000_000
_LONGEST_NAME_SHOWN = 100
# Longer byte strings are the content of arrays and stay in the mapped file.
_LONGEST_BYTES_COPIED = 4096
# Integers as keys stay small enough that nobody can choose them to collide.
_LARGEST_KEY = 1 << 31

Builder = Callable[..., object]
Container = TypeVar("Container", list, dict, set)


def read_pickle(path: Path) -> object:
    """Read the one object of a pickle file.

    Raises:
        InputError: The file is missing, cut off or damaged, or holds more than one pickle.
        UntrustedDataError: It names something that plain data does not need.
    """
    return read_pickles(path, most=1)[0]


def read_pickles(path: Path, most: int) -> list[object]:
    """Read the objects of a file with one to `most` pickles after each other.

    Raises:
        InputError: The file is missing, cut off or damaged, or holds more than `most` pickles.
        UntrustedDataError: It names something that plain data does not need.
    """
    content = map_file(path)
    objects: list[object] = []
    end = 0
    while end < len(content):
        if len(objects) == most:
            raise InputError(path, f"byte {end}", "the end of the file", "more bytes")
        value, end = unpickle(path, content, end)
        objects.append(value)
    return objects


def map_file(path: Path) -> mmap.mmap:
    """The bytes of a file, mapped into memory.

    Raises:
        InputError: The file is missing, unreadable or empty.
    """
    try:
        with path.open("rb") as handle:
            return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise InputError(path, "", "a file with content", error) from error


def unpickle(
    where: object,
    content: bytes | mmap.mmap,
    start: int = 0,
    builders: Mapping[str, object] | None = None,
    persistent: Builder | None = None,
) -> tuple[object, int]:
    """Read one pickle from `content`; return the object and the position behind it.

    Args:
        where: The file, for messages.
        content: The bytes of the file, whose number limits what it may ask for.
        start: Where in them the pickle begins.
        builders: Names that may occur besides those of plain data, and what stands in for them.
        persistent: Makes an object from a persistent id; None if there are none.

    Raises:
        InputError: The bytes are cut off or damaged.
        UntrustedDataError: They name something that plain data does not need.
    """
    machine = _Machine(where, content, start)
    machine.builders = {**_BUILDERS, **(builders or {})}
    machine.persistent = persistent
    try:
        return machine.run(), machine.position
    except InputError:
        raise
    except Exception as error:  # a damaged program can trip the machine in any way there is
        raise InputError(
            where,
            f"byte {machine.position}",
            "a whole pickle of plain data",
            f"{type(error).__name__}: {str(error)[:200]}",
            "The file is cut off, damaged or of another format.",
        ) from error


class _Machine:
    """The stack machine: a position in the bytes, a stack with marks, a memo."""

    def __init__(self, where: object, content: bytes | mmap.mmap, start: int) -> None:
        self.where, self.content, self.view = where, content, memoryview(content)
        self.position = start
        self.allowance = _EXPANSION * len(content) + _EXPANSION_ALWAYS
        self.builders: Mapping[str, object] = {}
        self.persistent: Builder | None = None
        self.stack: list = []
        self.below_marks: list[list] = []
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        for _ in range(_MOST_INSTRUCTIONS):
            code = self.view[self.position]
            self.position += 1
            if code == _STOP:
                return self.stack.pop()
            if code not in _INSTRUCTIONS:
                self.refuse(f"the pickle instruction {bytes([code])!r}")
            _INSTRUCTIONS[code](self)
        raise MalformedPickle(f"more than {_MOST_INSTRUCTIONS} instructions")

    def refuse(self, what: str) -> NoReturn:
        raise UntrustedDataError(
            self.where,
            f"byte {self.position}",
            "plain containers, numbers, text and numpy arrays",
            what,
            "Nothing in a data file is ever run: if the file is yours, save it without that.",
        )

    # Reading the bytes

    def take(self, count: int) -> memoryview:
        end = self.position + count
        if count < 0 or end > len(self.view):
            raise MalformedPickle(f"{count} bytes announced, {len(self.view) - self.position} left")
        piece = self.view[self.position : end]
        self.position = end
        return piece

    def line(self) -> bytes:
        end = self.content.find(b"\n", self.position)
        if end < 0:
            raise MalformedPickle("a line without end")
        piece = bytes(self.view[self.position : end])
        self.position = end + 1
        return piece

    def frame(self) -> None:
        """Frames only help buffering, but one that does not fit shows that bytes are missing."""
        length = _unpack("<Q", self.take(8))
        if length > len(self.view) - self.position:
            raise MalformedPickle(f"a frame of {length} bytes, cut off")

    # The stack, its marks and the memo

    def push(self, value: object) -> None:
        """Push what was built or recalled; an array counts each time that it is placed."""
        if isinstance(value, np.ndarray):
            self.spend(value.nbytes)
        self.stack.append(value)

    def spend(self, elements: int) -> None:
        """Count what a few bytes can ask for again and again."""
        self.allowance -= elements
        if self.allowance < 0:
            raise MalformedPickle("contents many times larger than the file")

    def mark(self) -> None:
        self.below_marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list:
        items, self.stack = self.stack, self.below_marks.pop()
        return items

    def discard(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def remember(self, index: int) -> None:
        if not 0 <= index <= len(self.view):  # larger ones could be chosen to collide
            raise MalformedPickle(f"memo index {index}")
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        value = self.memo[index]
        if isinstance(value, PendingArray):
            if value.value is None:
                raise MalformedPickle("an array inside itself")
            value = value.value
        elif isinstance(value, _BytesAsText):
            self.spend(len(value.content))
            value = _text(value.content)
        self.push(value)

    def text(self, length: int) -> None:
        """Text; what is about to become bytes stays in the file, for pickles remember it."""
        content = self.take(length)
        to_bytes = self.stack and self.stack[-1] is _latin1_bytes
        self.stack.append(_BytesAsText(content) if to_bytes else _text(content))

    def empty(self, kind: type) -> None:
        container = kind()
        self.spend(sys.getsizeof(container))
        self.stack.append(container)

    # Containers

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise MalformedPickle("fewer values than a tuple needs")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def extend(self, items: list) -> None:
        self.top(list).extend(items)

    def update(self, items: list) -> None:
        self.top(dict).update(_pairs(items))

    def add(self, items: list) -> None:
        self.top(set).update(map(_key, items))

    def top(self, kind: type[Container]) -> Container:
        container = self.stack[-1]
        if not isinstance(container, kind):
            raise MalformedPickle(f"an element for something that is no {kind.__name__}")
        return container

    # Names, calls and states

    def builder(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise MalformedPickle("a name that is not text")
        full_name = f"{module}.{name}"
        if full_name not in self.builders:
            self.refuse(ascii(full_name[:_LONGEST_NAME_SHOWN])[1:-1])
        self.stack.append(self.builders[full_name])

    def builder_from_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.builder(module, name)

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, FunctionType) or not isinstance(arguments, tuple):
            raise MalformedPickle("a call of something that cannot be called")
        self.spend(_cost(arguments))
        self.push(function(*arguments))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack.pop()
        self.spend(_cost(state if isinstance(state, tuple) else (state,)))
        if isinstance(target, PendingArray | PickledType):
            self.push(target.build(state))
        elif isinstance(target, dict) and isinstance(state, dict):  # a Namespace
            target.update(state)
            self.push(target)
        else:
            raise MalformedPickle("a state for something that has none")

    def persistent_value(self) -> None:
        if self.persistent is None:
            self.refuse("a persistent id")
        # Many tensors may share a storage: what they show of it counts, not the storage.
        self.stack.append(self.persistent(self.stack.pop()))


def _cost(arguments: tuple) -> int:
    arguments = tuple(a.content if isinstance(a, _BytesAsText) else a for a in arguments)
    sized = [a for a in arguments if isinstance(a, str | bytes | memoryview | list | tuple | dict)]
    return _COST_OF_ARGUMENTS * sum(map(len, sized))


def _key(value: object) -> object:
    if isinstance(value, str | bytes) or (type(value) is int and abs(value) < _LARGEST_KEY):
        return value
    raise MalformedPickle(f"a key of type {type(value).__name__}")


def _pairs(items: list) -> dict:
    return {_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


# Builders: what stands in for the names that plain data leaves in a pickle


def _ordered_dict(pairs: object = ()) -> dict:
    if not isinstance(pairs, list | tuple):
        raise MalformedPickle("an OrderedDict that is not made of pairs")
    return {_key(key): value for key, value in pairs}


def _namespace() -> dict:
    return {}


def _set(items: object = ()) -> set:
    if not isinstance(items, list | tuple):
        raise MalformedPickle("a set that is not made of a list")
    return set(map(_key, items))


@dataclass(frozen=True)
class _BytesAsText:
    """Bytes as text as UTF-8."""

    content: memoryview


def _latin1_bytes(text: object, encoding: object) -> bytes:
    """`_codecs.encode`, in which Python 3 wraps bytes for the old protocols."""
    if isinstance(text, _BytesAsText):
        text = _text(text.content)
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise MalformedPickle("text in another encoding than Latin-1")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    return b""


_BUILDERS: dict[str, object] = {
    "collections.OrderedDict": _ordered_dict,
    "argparse.Namespace": _namespace,
    "_codecs.encode": _latin1_bytes,
    "numpy.ndarray": "numpy.ndarray",  # only ever an argument
    "numpy.dtype": pickled_numpy.pickled_type,
}
for _builtins in ("builtins", "__builtin__"):
    _BUILDERS |= {f"{_builtins}.set": _set, f"{_builtins}.bytes": _no_bytes}
for _numpy in ("numpy.core", "numpy._core"):
    _BUILDERS |= {
        f"{_numpy}.multiarray._reconstruct": pickled_numpy.reconstruct,
        f"{_numpy}.multiarray.scalar": pickled_numpy.scalar,
        f"{_numpy}.numeric._frombuffer": pickled_numpy.from_buffer,
    }


# Instructions: every one that plain data needs; the others are refused


def _unpack(layout: str, content: memoryview) -> int:
    return struct.unpack(layout, content)[0]


def _number(layout: str) -> Callable[[_Machine], None]:
    size = struct.calcsize(layout)
    return lambda machine: machine.stack.append(_unpack(layout, machine.take(size)))


def _counted(layout: str, decode: Callable[[memoryview], object]) -> Callable[[_Machine], None]:
    size = struct.calcsize(layout)

    def instruction(machine: _Machine) -> None:
        count = _unpack(layout, machine.take(size))
        machine.stack.append(decode(machine.take(count)))

    return instruction


def _line(decode: Callable[[bytes], object]) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(decode(machine.line()))


def _constant(value: object) -> Callable[[_Machine], None]:
    return lambda machine: machine.stack.append(value)


def _text(content: memoryview) -> str:
    return str(content, "utf-8")


def _python2_text(content: memoryview) -> str:
    return str(content, "latin-1")


def _bytes(content: memoryview) -> bytes | memoryview:
    return bytes(content) if len(content) <= _LONGEST_BYTES_COPIED else content


def _integer(content: memoryview) -> int:
    return int.from_bytes(content, "little", signed=True)


def _integer_line(line: bytes) -> int:
    return line == b"01" if line in (b"00", b"01") else int(line.removesuffix(b"L"), 0)


def _quoted_line(line: bytes) -> str:
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise MalformedPickle("text without quotes")
    # Python 2 escaped each byte on its own, so Latin-1 on both sides gives back the bytes as text.
    return line[1:-1].decode("unicode_escape") if b"\\" in line else line[1:-1].decode("latin-1")


def _raw_escape_line(line: bytes) -> str:
    text = line.decode("raw_unicode_escape")
    text.encode()  # halves of surrogate pairs are no text
    return text


_STOP = pickle.STOP[0]
_INSTRUCTIONS: dict[int, Callable[[_Machine], None]] = {
    code[0]: instruction
    for code, instruction in {
        pickle.PROTO: lambda m: m.take(1),
        pickle.FRAME: _Machine.frame,
        pickle.NONE: _constant(None),
        pickle.NEWTRUE: _constant(True),
        pickle.NEWFALSE: _constant(False),
        pickle.INT: _line(_integer_line),
        pickle.LONG: _line(_integer_line),
        pickle.FLOAT: _line(float),
        pickle.BININT: _number("<i"),
        pickle.BININT1: _number("<B"),
        pickle.BININT2: _number("<H"),
        pickle.BINFLOAT: _number(">d"),
        pickle.LONG1: _counted("<B", _integer),
        pickle.LONG4: _counted("<i", _integer),
        pickle.STRING: _line(_quoted_line),
        pickle.BINSTRING: _counted("<i", _python2_text),
        pickle.SHORT_BINSTRING: _counted("<B", _python2_text),
        pickle.UNICODE: _line(_raw_escape_line),
        pickle.SHORT_BINUNICODE: lambda m: m.text(m.take(1)[0]),
        pickle.BINUNICODE: lambda m: m.text(_unpack("<I", m.take(4))),
        pickle.BINUNICODE8: lambda m: m.text(_unpack("<Q", m.take(8))),
        pickle.SHORT_BINBYTES: _counted("<B", _bytes),
        pickle.BINBYTES: _counted("<I", _bytes),
        pickle.BINBYTES8: _counted("<Q", _bytes),
        pickle.BYTEARRAY8: _counted("<Q", _bytes),
        pickle.MARK: _Machine.mark,
        pickle.POP: _Machine.discard,
        pickle.POP_MARK: lambda m: m.since_mark() and None,
        pickle.DUP: lambda m: m.push(m.stack[-1]),
        pickle.EMPTY_TUPLE: _constant(()),
        pickle.TUPLE1: lambda m: m.tuple_of(1),
        pickle.TUPLE2: lambda m: m.tuple_of(2),
        pickle.TUPLE3: lambda m: m.tuple_of(3),
        pickle.TUPLE: lambda m: m.push(tuple(m.since_mark())),
        pickle.EMPTY_LIST: lambda m: m.empty(list),
        pickle.LIST: lambda m: m.push(m.since_mark()),
        pickle.APPEND: lambda m: m.extend([m.stack.pop()]),
        pickle.APPENDS: lambda m: m.extend(m.since_mark()),
        pickle.EMPTY_DICT: lambda m: m.empty(dict),
        pickle.DICT: lambda m: m.push(_pairs(m.since_mark())),
        pickle.SETITEM: lambda m: m.update([m.stack.pop(-2), m.stack.pop()]),
        pickle.SETITEMS: lambda m: m.update(m.since_mark()),
        pickle.EMPTY_SET: lambda m: m.empty(set),
        pickle.ADDITEMS: lambda m: m.add(m.since_mark()),
        pickle.PUT: lambda m: m.remember(int(m.line())),
        pickle.BINPUT: lambda m: m.remember(m.take(1)[0]),
        pickle.LONG_BINPUT: lambda m: m.remember(_unpack("<I", m.take(4))),
        pickle.MEMOIZE: lambda m: m.remember(len(m.memo)),
        pickle.GET: lambda m: m.recall(int(m.line())),
        pickle.BINGET: lambda m: m.recall(m.take(1)[0]),
        pickle.LONG_BINGET: lambda m: m.recall(_unpack("<I", m.take(4))),
        pickle.GLOBAL: lambda m: m.builder(m.line().decode(), m.line().decode()),
        pickle.INST: lambda m: m.builder(m.line().decode(), m.line().decode()),
        pickle.STACK_GLOBAL: _Machine.builder_from_stack,
        pickle.REDUCE: _Machine.call,
        pickle.NEWOBJ: _Machine.call,
        pickle.BUILD: _Machine.build,
        pickle.BINPERSID: _Machine.persistent_value,
    }.items()
}
