"""What numpy writes into pickles, rebuilt without numpy's own unpickling.

A pickled array is a call that makes an empty array and a state with shape, type and bytes. Here the
call makes a placeholder, and the state is checked before a view of the bytes is made.

Numbers become arrays that view the file's bytes. Text, bytes and objects become nested lists.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

# No official file has more than four, and each one costs a view of the array something.
_MOST_DIMENSIONS = 8
# Loops run over the extents of an array, so an array without elements may not be "long" either.
_MOST_ROWS_WITHOUT_ELEMENTS = 1 << 16
# Each dimension of text and objects makes lists, which take more than their elements in the file.
_MOST_DIMENSIONS_OF_LISTS = 2


class MalformedPickle(Exception):
    """The bytes do not describe what they claim to; the message says how."""


@dataclass
class PickledType:
    """A numpy type: kind, size as written ("f" and 4) and byte order."""

    kind: str
    size: int
    order: str = "<"

    def build(self, state: object) -> PickledType:
        """Take the byte order from the state; refuse records and sub-arrays."""
        if not isinstance(state, tuple) or len(state) < 5 or any(p is not None for p in state[2:5]):
            raise MalformedPickle("a numpy type that is neither number, text nor object")
        if state[1] not in ("<", ">", "|", "="):
            raise MalformedPickle("a numpy type without byte order")
        self.order = ">" if state[1] == ">" else "<"
        return self


@dataclass
class PendingArray:
    """An array whose state has not been read yet; pickles refer to it before and after."""

    value: np.ndarray | list | None = None

    def build(self, state: object) -> np.ndarray | list:
        """The array from numpy's state `(version, shape, type, is_fortran, content)`."""
        if self.value is not None or not isinstance(state, tuple) or len(state) != 5:
            raise MalformedPickle("an array without (version, shape, type, order, content)")
        version, shape, dtype, fortran, content = state
        if version != 1:
            raise MalformedPickle("an array of another version of the layout")
        self.value = from_buffer(content, dtype, shape, "F" if fortran is True else "C")
        return self.value


def pickled_type(code: object, *_: object) -> PickledType:
    """`numpy.dtype(code, align, copy)`, for numbers, booleans, text and objects only."""
    match = re.fullmatch(r"[<>|=]?([fiubSUO])(\d{1,9})", code) if isinstance(code, str) else None
    if match is None:
        raise MalformedPickle("a numpy type that is neither number, text nor object")
    return PickledType(match[1], int(match[2]))


def scalar(dtype: object, content: object = b"") -> object:
    """`numpy._core.multiarray.scalar(type, bytes)`, as the plain Python number or text."""
    value = from_buffer(content, dtype, (1,), "C")
    return value[0] if isinstance(value, list) else value[0].item()


def check_shape(shape: object) -> tuple[int, ...]:
    """The shape as a tuple of extents that are safe to loop over."""
    if not isinstance(shape, tuple) or any(type(n) is not int or n < 0 for n in shape):
        raise MalformedPickle("an array whose shape is not a tuple of sizes")
    if len(shape) > _MOST_DIMENSIONS:
        raise MalformedPickle(f"an array of more than {_MOST_DIMENSIONS} dimensions")
    if 0 in shape and max(shape) > _MOST_ROWS_WITHOUT_ELEMENTS:
        raise MalformedPickle("an array of many rows and no elements")
    return shape


def from_buffer(content: object, dtype: object, shape: object, order: object) -> np.ndarray | list:
    """`numpy._core.numeric._frombuffer`, which protocol 5 writes; a state says the same."""
    if not isinstance(dtype, PickledType):
        raise MalformedPickle("an array without a type")
    shape = check_shape(shape)
    if dtype.kind in "OSU" and len(shape) > _MOST_DIMENSIONS_OF_LISTS:
        raise MalformedPickle("text or objects in many dimensions")
    if dtype.kind == "O":
        return _nested(content, shape, order)
    if isinstance(content, str):  # Python 2 wrote bytes as text, read as Latin-1
        content = content.encode("latin-1")
    plain = np.dtype("u1" if dtype.kind == "b" else f"{dtype.order}{dtype.kind}{dtype.size}")
    if not isinstance(content, bytes | memoryview) or plain.itemsize == 0:
        raise MalformedPickle("an array whose content is not bytes, or that has none")
    if len(content) != math.prod(shape) * plain.itemsize:
        raise MalformedPickle(f"{len(content)} bytes for an array of shape {shape}")
    if dtype.kind == "U":  # numpy would hand out code points that do not exist
        bytes(content).decode("utf-32-le" if dtype.order == "<" else "utf-32-be")
    flat = np.frombuffer(content, plain) if content else np.empty(0, plain)
    values = flat.reshape(shape, order="F" if order == "F" else "C")
    if dtype.kind in "SU":
        return values.tolist()
    return values != 0 if dtype.kind == "b" else values


def _nested(content: object, shape: tuple[int, ...], order: object) -> list:
    """As lists: arrays of objects that hold each other could overflow the stack."""
    if not isinstance(content, list) or len(content) != math.prod(shape) or order == "F":
        raise MalformedPickle("an array of objects that does not list its elements in C order")
    if not shape or 0 in shape[1:]:
        raise MalformedPickle("an array of objects without elements or without extent")
    if len(shape) == 1:
        return list(content)
    return [content[i : i + shape[1]] for i in range(0, len(content), shape[1])]
