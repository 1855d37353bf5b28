"""Files of `torch.save`, read without running anything that is in them.

Two layouts: a zip archive with one pickle and one entry per storage (torch >= 1.6), and the older
one of pickles after each other with the storages behind them. Tensors come as numpy arrays.
"""

from __future__ import annotations

import math
import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmer.errors import InputError
from mmer.formats.pickled_numpy import MalformedPickle, check_shape
from mmer.formats.restricted_pickle import map_file, unpickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001


def read_torch(path: Path) -> object:
    """Read what `torch.save` wrote: plain data, numpy arrays, and tensors as numpy arrays.

    Raises:
        InputError: The file is missing, cut off, damaged, compressed or big-endian.
        UntrustedDataError: It names something that plain data does not need.
    """
    content = map_file(path)
    try:
        if content[:4] != b"PK\x03\x04":
            return _read_legacy(path, content)
        with zipfile.ZipFile(path) as archive:
            return _read_zip(path, archive, content)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a damaged archive can trip zipfile in any way there is
        raise InputError(path, "", "a whole file of torch.save", str(error)[:200]) from error


def _read_zip(path: Path, archive: zipfile.ZipFile, content: mmap.mmap) -> object:
    """Entries `data.pkl` and `data/<key>` under one folder."""
    entries = {info.filename.partition("/")[2]: info for info in archive.infolist()}
    unread = len(content)

    def place(name: str) -> slice:
        """Where an entry's bytes are in the file, checked against their sum."""
        nonlocal unread
        if name not in entries:
            raise InputError(path, name, "an entry of this name in the archive", "none")
        entry = entries[name]
        if entry.compress_type != zipfile.ZIP_STORED:  # torch.save never compresses
            raise InputError(path, name, "an uncompressed entry", "a compressed one")
        unread -= entry.file_size
        if unread < 0:
            raise InputError(path, name, "entries within the file's size", "larger ones")
        # The local header: 30 bytes, of which the last four are the lengths of what follows them.
        behind = struct.unpack_from("<HH", content, entry.header_offset + 26)
        begin = entry.header_offset + 30 + sum(behind)
        found = slice(begin, begin + entry.file_size)
        if found.stop > len(content) or zlib.crc32(memoryview(content)[found]) != entry.CRC:
            raise InputError(path, name, "the bytes that were written", "another CRC")
        return found

    made: dict[str, np.ndarray] = {}

    def numbers(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        if key not in made:
            stored = memoryview(content)[place(f"data/{key}")]
            made[key] = np.frombuffer(stored, dtype) if stored else np.empty(0, dtype)
        found = made[key]
        if found.dtype != dtype or len(found) != count:
            raise MalformedPickle(f"{len(found)} numbers ({found.dtype}) for {count} ({dtype})")
        return found

    if "byteorder" in entries and content[place("byteorder")] != b"little":
        raise InputError(path, "byteorder", "little", "another")
    pickled = place("data.pkl")
    value, end = unpickle(path, content, pickled.start, _BUILDERS, _storages(numbers))
    if end > pickled.stop:
        raise InputError(path, "data.pkl", f"its end at byte {pickled.stop}", f"byte {end}")
    return value


def _read_legacy(path: Path, content: mmap.mmap) -> object:
    """Three pickles of a header, one of the object, one of keys, then counts and numbers."""
    end, header = 0, []
    for _ in range(3):
        part, end = unpickle(path, content, end)
        header.append(part)
    if header[:2] != [_LEGACY_MAGIC, _LEGACY_VERSION] or not isinstance(header[2], dict):
        raise InputError(path, "", "a file of torch.save", "a pickle of something else")
    if header[2].get("little_endian") is not True:
        raise InputError(path, "little_endian", "True", "another byte order")
    sizes: dict[str, tuple[np.dtype, int]] = {}

    def note(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        if sizes.setdefault(key, (dtype, count)) != (dtype, count):
            raise MalformedPickle("a storage of two types or sizes")
        return np.empty(0, dtype)

    # Where the numbers are is known behind the object: it is read a second time to view them.
    without_tensors = {**_BUILDERS, "torch._utils._rebuild_tensor_v2": lambda *_: None}
    behind = unpickle(path, content, end, without_tensors, _storages(note))[1]
    places = _legacy_places(path, content, behind, sizes)

    def numbers(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        return np.frombuffer(content, dtype, count, places[key]) if count else np.empty(0, dtype)

    return unpickle(path, content, end, _BUILDERS, _storages(numbers))[0]


def _legacy_places(
    path: Path, content: mmap.mmap, end: int, sizes: dict[str, tuple[np.dtype, int]]
) -> dict[str, int]:
    """Key -> where the numbers of a storage begin; behind the keys at `end` stands each in turn."""
    keys, end = unpickle(path, content, end)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise MalformedPickle("keys of storages that are not text")
    if sorted(keys) != sorted(sizes):
        raise MalformedPickle("storages other than those that its tensors name")
    places = {}
    for key in keys:
        dtype, count = sizes[key]
        places[key] = end + 8
        end = places[key] + count * dtype.itemsize
        if end > len(content) or struct.unpack_from("<q", content, places[key] - 8)[0] != count:
            raise MalformedPickle(f"a storage that is cut off at byte {places[key]}")
    return places


def _storages(make: Callable[[str, np.dtype, int], np.ndarray]) -> Callable[[object], np.ndarray]:
    """Storages by persistent id, `("storage", type, key, device, count, ...)`."""

    def storage(identity: object) -> np.ndarray:
        if not isinstance(identity, tuple) or len(identity) not in (5, 6):
            raise MalformedPickle("a persistent id that is no storage")
        what, dtype, key, _, count, *view = identity
        if what != "storage" or not isinstance(dtype, np.dtype) or view not in ([], [None]):
            raise MalformedPickle("a storage without number type, or a view of another")
        if not isinstance(key, str) or type(count) is not int or count < 0:
            raise MalformedPickle("a storage without key or count")
        return make(key, dtype, count)

    return storage


def _tensor(storage: object, offset: object, size: object, stride: object, *_: object) -> object:
    """`torch._utils._rebuild_tensor_v2`: a view of the storage that stays inside it."""
    shape, steps = check_shape(size), check_shape(stride)
    if not isinstance(storage, np.ndarray) or type(offset) is not int or len(shape) != len(steps):
        raise MalformedPickle("a tensor without storage, offset or strides")
    if 0 in shape:
        return np.empty(shape, storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    # Strides of 0 could make much of little.
    if offset < 0 or last >= len(storage) or math.prod(shape) > len(storage):
        raise MalformedPickle("a tensor beyond its storage")
    strides = [step * storage.itemsize for step in steps]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, strides, writeable=False)


_BUILDERS: dict[str, object] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("u1"),  # as 0 and 1: other bytes are no booleans to numpy
}
