"""Pickles written by hand: those that would run code, and those that ask for too much."""

from __future__ import annotations

import pickle
import struct
from functools import cache
from pathlib import Path


def text(value: str) -> bytes:
    content = value.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(content)) + content


def number(value: int) -> bytes:
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return pickle.LONG1 + bytes([len(content)]) + content


def named(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()


def many(*values: bytes) -> bytes:
    return pickle.MARK + b"".join(values) + pickle.TUPLE


def call(name: str, *arguments: bytes) -> bytes:
    return named(name) + many(*arguments) + pickle.REDUCE


def put(index: int) -> bytes:
    return pickle.LONG_BINPUT + struct.pack("<I", index)


def get(index: int) -> bytes:
    return pickle.LONG_BINGET + struct.pack("<I", index)


def dtype(code: str) -> bytes:
    return call("numpy.dtype", text(code), pickle.NEWFALSE, pickle.NEWTRUE)


def array(shape: bytes, kind: bytes, content: bytes) -> bytes:
    """What numpy writes for an array, with any shape, type and content."""
    empty = call(
        "numpy._core.multiarray._reconstruct",
        named("numpy.ndarray"),
        many(number(0)),
        pickle.SHORT_BINBYTES + b"\x01b",
    )
    return empty + many(number(1), shape, kind, pickle.NEWFALSE, content) + pickle.BUILD


def raw(content: bytes) -> bytes:
    return pickle.BINBYTES + struct.pack("<I", len(content)) + content


def that_run_code(canary: Path) -> dict[str, bytes]:
    """Pickles that write `canary` when read by `pickle.load`, by each way there is to call."""
    touch = f"touch {canary}"
    path, mode = text(str(canary)), text("w")
    source = text(f"open({str(canary)!r}, 'w')")
    by_stack = text("posix") + text("system") + pickle.STACK_GLOBAL
    return {
        "system": call("os.system", text(touch)),
        "posix.system": call("posix.system", text(touch)),
        "eval": call("builtins.eval", source),
        "exec": call("builtins.exec", source),
        "python 2 eval": call("__builtin__.eval", source),
        "open": call("builtins.open", path, mode),
        "io.open": call("io.open", path, mode),
        "stack global": by_stack + many(text(touch)) + pickle.REDUCE,
        "instance": pickle.MARK + text(touch) + pickle.INST + b"os\nsystem\n",
        "object": pickle.MARK + named("os.system") + text(touch) + pickle.OBJ,
        "new object": named("subprocess.Popen") + many(text(touch)) + pickle.NEWOBJ,
        "new object with keywords": named("subprocess.Popen")
        + many(text(touch))
        + pickle.EMPTY_DICT
        + pickle.NEWOBJ_EX,
        "getattr": call("builtins.getattr", call("builtins.__import__", text("os")), text("system"))
        + many(text(touch))
        + pickle.REDUCE,
        "dotted name": named("argparse.Namespace")
        + pickle.POP
        + pickle.GLOBAL
        + b"argparse\n_os.system\n"
        + many(text(touch))
        + pickle.REDUCE,
        "extension": pickle.EXT1 + b"\x01",
        "persistent id": pickle.PERSID + b"1\n",
        "namespace's code": named("argparse.Namespace.__init__.__globals__"),
        "array of a subtype": call(
            "numpy._core.multiarray._reconstruct", named("numpy.memmap"), many(path), mode
        ),
        "codec": call("_codecs.encode", text("x"), text("zip")),
        "lookup of a codec": call("_codecs.lookup", text("zip")),
        "numpy.load": call("numpy.load", path),
        "torch storage": call("torch.storage._load_from_bytes", text("x")),
        "call of data": text("x") + many() + pickle.REDUCE,
        "call of a builder's attribute": named("numpy.dtype.__class__"),
    }


@cache
def that_ask_for_too_much() -> dict[str, bytes]:
    """Small pickles that cost a naive reader its memory, its stack or its time."""
    doubled = pickle.EMPTY_TUPLE + put(0)
    for index in range(60):
        doubled += get(index) + get(index) + pickle.TUPLE2 + put(index + 1) + pickle.POP
    before, after = array(
        many(number(1)), dtype("O8"), pickle.EMPTY_LIST + b"@" + pickle.APPEND
    ).split(b"@")
    long_list = pickle.EMPTY_LIST + pickle.MARK + number(1) * 100_000 + pickle.APPENDS + put(1)
    narrow = many(number(20_000), *[number(1)] * 399)
    nothing = pickle.EMPTY_LIST + pickle.MARK + pickle.NONE * 20_000 + pickle.APPENDS
    megabyte = array(many(number(1 << 20)), dtype("u1"), raw(bytes(1 << 20))) + put(1)
    return {
        "bytes of an exabyte": pickle.BINBYTES8 + struct.pack("<Q", 1 << 60),
        "bytearray of an exabyte": pickle.BYTEARRAY8 + struct.pack("<Q", 1 << 60),
        "frame of an exabyte": pickle.FRAME + struct.pack("<Q", 1 << 60) + pickle.NONE,
        "integer of two gigabytes": pickle.LONG4 + struct.pack("<i", (1 << 31) - 1),
        "integer of a negative size": pickle.LONG4 + struct.pack("<i", -5),
        "digits": pickle.INT + b"9" * 1_000_000 + b"\n",
        "memo index": pickle.NONE + put((1 << 32) - 1),
        "bytearray": call("builtins.bytearray", number(1 << 40)),
        "array of a terabyte": array(many(number(1 << 40)), dtype("f8"), raw(b"12345678")),
        "array of many rows without elements": array(
            many(number(1 << 40), number(0)), dtype("f4"), raw(b"")
        ),
        "array of a negative size": array(many(number(-1)), dtype("f4"), raw(b"1234")),
        "type of no size": array(many(number(1 << 40)), dtype("S0"), raw(b"")),
        "type of many bytes": dtype("S999999999"),
        "objects instead of numbers": array(many(number(1)), dtype("O8"), raw(b"12345678")),
        "numbers instead of objects": array(many(number(1)), dtype("f8"), pickle.EMPTY_LIST),
        "objects in many dimensions": array(narrow, dtype("O8"), nothing),
        "text in many dimensions": array(
            many(number(20_000), *[number(1)] * 50), dtype("S1"), raw(b"a" * 20_000)
        ),
        "empty sets": pickle.MARK + pickle.EMPTY_SET * 1_000_000 + pickle.LIST,
        "empty lists": pickle.MARK + pickle.EMPTY_LIST * 1_000_000 + pickle.LIST,
        "empty dicts": pickle.MARK + pickle.EMPTY_DICT * 1_000_000 + pickle.LIST,
        "one object remembered a million times": pickle.NONE + pickle.MEMOIZE * 1_000_000,
        "tuples around tuples": pickle.NONE + pickle.TUPLE1 * 1_000_000,
        "numbers in many dimensions": array(
            many(number(20_000), *[number(1)] * 60), dtype("u1"), raw(bytes(20_000))
        ),
        "arrays in many dimensions without elements": pickle.MARK
        + array(many(*[number(0)] * 60), dtype("f4"), raw(b"")) * 100
        + pickle.LIST,
        "text beyond Unicode": array(many(number(1)), dtype("U1"), raw(b"\xff\xff\xff\xff")),
        "doubled tuples": doubled + get(60),
        "doubled tuples as a key": doubled
        + pickle.EMPTY_DICT
        + get(60)
        + pickle.NONE
        + pickle.SETITEM,
        "doubled tuples as a name": doubled + get(60) + get(60) + pickle.STACK_GLOBAL,
        "nested lists": pickle.EMPTY_LIST * 60_000 + pickle.APPEND * 59_999,
        "nested arrays of objects": before * 10_000 + pickle.EMPTY_LIST + after * 10_000,
        "list that holds itself": pickle.EMPTY_LIST + put(0) + get(0) + pickle.APPEND,
        "array that holds itself": array(
            many(number(1)), dtype("O8"), pickle.EMPTY_LIST + put(0) + get(0) + pickle.APPEND
        ),
        "sets of one list": long_list
        + pickle.POP
        + b"".join(
            named("builtins.set") + get(1) + pickle.TUPLE1 + pickle.REDUCE + pickle.POP
            for _ in range(10_000)
        ),
        "one array in many places": megabyte
        + pickle.POP
        + pickle.MARK
        + get(1) * 100_000
        + pickle.LIST,
        "keys that collide": pickle.MARK
        + b"".join(number(k * ((1 << 61) - 1)) + pickle.NONE for k in range(10_000))
        + pickle.DICT,
        "memo that collides": pickle.NONE
        + b"".join(b"p%d\n" % (k * ((1 << 61) - 1)) for k in range(10_000)),
        "marks": pickle.MARK * 60_000 + pickle.TUPLE * 60_000,
        "pops": pickle.POP * 10,
        "no end": pickle.NONE * 10,
    }
