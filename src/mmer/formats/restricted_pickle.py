"""Pickles read without running anything that is in them.

A pickle is a program for a small stack machine, and one of its instructions calls any function that
it names. Here Python's own machine, the one written in Python, does what is harmless; every
instruction that calls, restores a state, hashes or could ask for much is replaced, the others are
refused. All that can be called are the few builders below, which stand in for the names that numpy,
`collections` and `argparse` leave in data files. Every other name is refused, by name.

`pickle.Unpickler` with a list of allowed names would not do, nor would `torch.load` with
`weights_only=True` and numpy allowed: both hand numpy whatever state the file gives, so that a file
of 200 bytes can crash the process, and one of about 100 allocate eight gigabytes.

Plain data means: dict, OrderedDict and Namespace (all read as dict), list, tuple, set, text, bytes,
numbers, None, and numpy arrays and scalars. Arrays of numbers are views of the file, which is
mapped into memory: what nobody looks at is never read.

What a file can ask for is bounded by its size: no content goes beyond the bytes that are there,
only keys of a fixed cost are hashed, and what stands in many places counts each time.
"""

from __future__ import annotations

import codecs
import mmap
import pickle
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, NoReturn

import numpy as np

from mmer.errors import InputError, UntrustedDataError
from mmer.formats import pickled_numpy
from mmer.formats.pickled_numpy import MalformedPickle, PendingArray, PickledType

# Bytes of arrays that a file may have placed, per byte of its size, and at least.
_EXPANSION = 64
_EXPANSION_ALWAYS = 1 << 20
# What handing an element to a builder costs of that: it takes longer than placing a byte.
_COST_OF_ARGUMENTS = 8
# What a list, a dict, an open one, or an object remembered takes, for a byte or two in the file.
_COST_OF_CONTAINER = 100
_MOST_INSTRUCTIONS = 30_000_000
_LONGEST_NAME_SHOWN = 100
# Longer byte strings are the content of arrays and stay in the mapped file.
_LONGEST_BYTES_COPIED = 4096
_BYTES_DECODED_AT_ONCE = 1 << 20
# Integers as keys stay small enough that nobody can choose them to collide.
_LARGEST_KEY = 1 << 31

Builder = Callable[..., object]


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
    if not path.is_file():  # to open a pipe would wait for somebody to write to it
        raise InputError(path, "", "a file with content", "no such file")
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
    machine = _Unpickler(where, content, start, {**_BUILDERS, **(builders or {})}, persistent)
    try:
        return machine.load(), machine.position
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a damaged program can trip the machine in any way there is
        raise InputError(
            where,
            f"byte {machine.position}",
            "a whole pickle of plain data",
            f"{type(error).__name__}: {str(error)[:200]}",
            "The file is cut off, damaged or of another format.",
        ) from error


class _Unpickler(pickle._Unpickler):
    """Python's stack machine on bytes in memory, with the instructions that are listed below."""

    pop_mark: Callable[[], list]

    def __init__(
        self,
        where: object,
        content: bytes | mmap.mmap,
        start: int,
        builders: Mapping[str, object],
        persistent: Builder | None,
    ) -> None:
        self.where, self.content, self.view = where, content, memoryview(content)
        self.position = start
        self.builders, self.persistent = builders, persistent
        self.allowance = _EXPANSION * len(content) + _EXPANSION_ALWAYS
        self.memo: dict[object, object] = {}
        self.metastack: list[list] = []
        self.stack: list = []
        self.append = self.stack.append

    def load(self) -> object:
        for _ in range(_MOST_INSTRUCTIONS):
            code = self.view[self.position]
            self.position += 1
            if code == pickle.STOP[0]:
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

    # What Python's instructions use

    def read(self, count: int) -> bytes | memoryview:
        start, end = self.position, self.position + count
        if end > len(self.view):
            raise MalformedPickle(f"{count} bytes announced, {len(self.view) - start} left")
        self.position = end
        return (self.content if count <= _LONGEST_BYTES_COPIED else self.view)[start:end]

    def readline(self) -> bytes:
        start, end = self.position, self.content.find(b"\n", self.position) + 1
        if end == 0:
            raise MalformedPickle("a line without end")
        self.position = end
        return self.content[start:end]

    def find_class(self, module: str, name: str) -> object:
        full_name = f"{module}.{name}"
        if full_name not in self.builders:
            self.refuse(ascii(full_name[:_LONGEST_NAME_SHOWN])[1:-1])
        return self.builders[full_name]

    def persistent_load(self, pid: object) -> object:
        if self.persistent is None:
            self.refuse("a persistent id")
        # Many tensors may share a storage: what they show of it counts, not the storage.
        return self.persistent(pid)

    def _decode_string(self, value: bytes | memoryview) -> str | memoryview:
        """Python 2's only kind of string, as text; where it is the content of an array, as bytes.

        That is the fifth part of a state, of which the third is the array's type.
        """
        if len(self.stack) == 4 and isinstance(self.stack[2], PickledType):
            return memoryview(value)
        return str(value, "latin-1")

    # Instructions in the place of Python's

    def frame(self) -> None:
        """Frames only help buffering, but one that does not fit shows that bytes are missing."""
        (length,) = struct.unpack("<Q", self.read(8))
        if length > len(self.view) - self.position:
            raise MalformedPickle(f"a frame of {length} bytes, cut off")

    def text(self, layout: str) -> None:
        """Text; what is about to become bytes stays in the file, for pickles remember it."""
        (length,) = struct.unpack(layout, self.read(struct.calcsize(layout)))
        content = self.read(length)
        to_bytes = self.stack and self.stack[-1] is _latin1_bytes
        self.append(_BytesAsText(content) if to_bytes else str(content, "utf-8"))

    def repeated(self) -> None:
        """What was recalled: an array counts each time that it is placed, and so does long text."""
        value = self.stack.pop()
        if isinstance(value, PendingArray):
            if value.value is None:
                raise MalformedPickle("an array inside itself")
            value = value.value
        elif isinstance(value, _BytesAsText | memoryview):
            content = value.content if isinstance(value, _BytesAsText) else value
            self.spend(len(content))
            value = str(content, "utf-8" if content is not value else "latin-1")
        self.push(value)

    def push(self, value: object) -> None:
        if isinstance(value, np.ndarray):
            self.spend(value.nbytes)
        self.append(value)

    def spend(self, elements: int) -> None:
        """Count what a few bytes can ask for again and again."""
        self.allowance -= elements
        if self.allowance < 0:
            raise MalformedPickle("contents many times larger than the file")

    def update(self, items: list) -> None:
        dict.update(self.stack[-1], _pairs(items))

    def add(self, items: list) -> None:
        set.update(self.stack[-1], map(_key, items))

    def put(self) -> None:
        self.spend(_COST_OF_CONTAINER)
        self.memo[_key(int(self.readline()))] = self.stack[-1]

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


# Instructions: every one that plain data needs; the others are refused


def _then(code: bytes, check: Callable[[Any], object]) -> Callable[[Any], object]:
    """Python's instruction, followed by a check of what it left on the stack."""
    instruction = pickle._Unpickler.dispatch[code[0]]

    def checked(machine: Any) -> None:
        instruction(machine)
        check(machine)

    return checked


_AS_PYTHON_DOES = (
    "PROTO POP POP_MARK NONE NEWTRUE NEWFALSE INT LONG BININT BININT1 BININT2 LONG1 LONG4 "
    "FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING SHORT_BINBYTES BINBYTES BINBYTES8 EMPTY_TUPLE "
    "TUPLE LIST APPEND APPENDS GLOBAL STACK_GLOBAL BINPERSID"
)
_INSTRUCTIONS: dict[int, Callable[[Any], object]] = {
    **{
        code: pickle._Unpickler.dispatch[code]
        for code in (getattr(pickle, name)[0] for name in _AS_PYTHON_DOES.split())
    },
    pickle.FRAME[0]: _Unpickler.frame,
    # Halves of surrogate pairs are no text.
    pickle.UNICODE[0]: _then(pickle.UNICODE, lambda m: m.stack[-1].encode()),
    pickle.SHORT_BINUNICODE[0]: lambda m: m.text("<B"),
    pickle.BINUNICODE[0]: lambda m: m.text("<I"),
    pickle.BINUNICODE8[0]: lambda m: m.text("<Q"),
    pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]],
    pickle.EMPTY_SET[0]: _then(pickle.EMPTY_SET, lambda m: m.spend(sys.getsizeof(set()))),
    **{
        code[0]: _then(code, lambda m: m.spend(_COST_OF_CONTAINER))
        for code in (
            *(pickle.MARK, pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.TUPLE1, pickle.TUPLE2),
            *(pickle.TUPLE3, pickle.MEMOIZE, pickle.BINPUT, pickle.LONG_BINPUT),
        )
    },
    pickle.ADDITEMS[0]: lambda m: m.add(m.pop_mark()),
    pickle.DICT[0]: lambda m: m.push(_pairs(m.pop_mark())),
    pickle.SETITEM[0]: lambda m: m.update([m.stack.pop(-2), m.stack.pop()]),
    pickle.SETITEMS[0]: lambda m: m.update(m.pop_mark()),
    pickle.PUT[0]: _Unpickler.put,
    pickle.GET[0]: _then(pickle.GET, _Unpickler.repeated),
    pickle.BINGET[0]: _then(pickle.BINGET, _Unpickler.repeated),
    pickle.LONG_BINGET[0]: _then(pickle.LONG_BINGET, _Unpickler.repeated),
    pickle.DUP[0]: _then(pickle.DUP, _Unpickler.repeated),
    pickle.REDUCE[0]: _Unpickler.call,
    pickle.NEWOBJ[0]: _Unpickler.call,
    pickle.BUILD[0]: _Unpickler.build,
}


# Builders: what stands in for the names that plain data leaves in a pickle


@dataclass(frozen=True)
class _BytesAsText:
    """Bytes as text as UTF-8."""

    content: bytes | memoryview


def _latin1_bytes(text: str | _BytesAsText, encoding: object) -> bytes | memoryview:
    """`_codecs.encode`, in which Python 3 wraps bytes for the old protocols."""
    if encoding not in ("latin1", "latin-1"):
        raise MalformedPickle("text in another encoding than Latin-1")
    if isinstance(text, str):
        return text.encode("latin-1")
    if len(text.content) <= _LONGEST_BYTES_COPIED:
        return str(text.content, "utf-8").encode("latin-1")
    return _decoded(memoryview(text.content))


def _decoded(content: memoryview) -> memoryview:
    """Latin-1 from UTF-8, piece by piece: the text of an array's bytes is as large as the array."""
    pieces = range(0, len(content), _BYTES_DECODED_AT_ONCE)
    size = sum(
        int((np.frombuffer(content[i : i + pieces.step], "i1") >= -64).sum()) for i in pieces
    )  # as many as begin a character
    found, end = np.empty(size, "u1"), 0
    decoder = codecs.getincrementaldecoder("utf-8")()
    for i in pieces:
        piece = decoder.decode(content[i : i + pieces.step]).encode("latin-1")
        found[end : end + len(piece)] = np.frombuffer(piece, "u1")
        end += len(piece)
    decoder.decode(b"", final=True)
    return found.data.toreadonly()


def _ordered_dict(pairs: object = ()) -> dict:
    if not isinstance(pairs, list | tuple):
        raise MalformedPickle("an OrderedDict that is not made of pairs")
    return {_key(key): value for key, value in pairs}


def _set(items: object = ()) -> set:
    if not isinstance(items, list | tuple):
        raise MalformedPickle("a set that is not made of a list")
    return set(map(_key, items))


_BUILDERS: dict[str, object] = {
    "collections.OrderedDict": _ordered_dict,
    "argparse.Namespace": lambda: {},
    "_codecs.encode": _latin1_bytes,
    "numpy.ndarray": object(),  # only ever an argument: text would pass for a key
    "numpy.dtype": pickled_numpy.pickled_type,
}
for _builtins in ("builtins", "__builtin__"):
    _BUILDERS |= {f"{_builtins}.set": _set, f"{_builtins}.bytes": lambda: b""}
for _numpy in ("numpy.core", "numpy._core"):
    _BUILDERS |= {
        f"{_numpy}.multiarray._reconstruct": lambda *_: PendingArray(),
        f"{_numpy}.multiarray.scalar": pickled_numpy.scalar,
        f"{_numpy}.numeric._frombuffer": pickled_numpy.from_buffer,
    }
