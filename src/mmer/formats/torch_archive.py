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
from pathlib import Path

import numpy as np

from mmer.errors import InputError
from mmer.formats.pickled_numpy import MalformedPickle, check_shape
from mmer.formats.restricted_pickle import map_file, unpickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
# What the standard library raises for archives that are cut off, damaged or encrypted.
_ZIP_TROUBLE = (
    zipfile.BadZipFile,
    RuntimeError,
    ArithmeticError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    struct.error,
)
_STORAGE_TYPES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "u1",  # as 0 and 1: other bytes are no booleans to numpy
}


def read_torch(path: Path) -> object:
    """Read what `torch.save` wrote: plain data, numpy arrays, and tensors as numpy arrays.

    Raises:
        InputError: The file is missing, cut off, damaged, compressed or big-endian.
        UntrustedDataError: It names something that plain data does not need.
    """
    content = map_file(path)
    if content[:4] != b"PK\x03\x04":
        return _read_legacy(path, content)
    try:
        with zipfile.ZipFile(path) as archive:
            return _Zip(path, archive, content).read()
    except _ZIP_TROUBLE as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: object) -> InputError:
    return InputError(path, "", "a whole file of torch.save", str(reason)[:200])


class _Zip:
    """The entries of an archive: `data.pkl` and `data/<key>` under one folder."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, content: mmap.mmap) -> None:
        self.path, self.content, self.unread = path, content, len(content)
        self.entries = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        self.storages: dict[str, np.ndarray] = {}

    def read(self) -> object:
        if "byteorder" in self.entries and bytes(self.entry("byteorder")) != b"little":
            raise InputError(self.path, "byteorder", "little", "another")
        begin, end = self.place("data.pkl")
        value, found = unpickle(self.path, self.content, begin, _BUILDERS, self.storage)
        if found > end:
            raise InputError(self.path, "data.pkl", f"its end at byte {end}", f"byte {found}")
        return value

    def place(self, name: str) -> tuple[int, int]:
        """Where an entry's bytes begin and end in the file, checked against their sum."""
        if name not in self.entries:
            raise InputError(self.path, name, "an entry of this name in the archive", "none")
        entry = self.entries[name]
        if entry.compress_type != zipfile.ZIP_STORED:  # torch.save never compresses
            raise InputError(self.path, name, "an uncompressed entry", "a compressed one")
        self.unread -= entry.file_size
        if self.unread < 0:
            raise InputError(self.path, name, "entries within the file's size", "larger ones")
        # The local header: 30 bytes, of which the last four are the lengths of what follows them.
        behind = struct.unpack_from("<HH", self.content, entry.header_offset + 26)
        begin = entry.header_offset + 30 + sum(behind)
        end = begin + entry.file_size
        if end > len(self.content) or zlib.crc32(memoryview(self.content)[begin:end]) != entry.CRC:
            raise InputError(self.path, name, "the bytes that were written", "another CRC")
        return begin, end

    def entry(self, name: str) -> memoryview:
        begin, end = self.place(name)
        return memoryview(self.content)[begin:end]

    def storage(self, identity: object) -> np.ndarray:
        dtype, key, count = _storage_identity(identity)
        if key not in self.storages:
            self.storages[key] = _numbers(self.entry(f"data/{key}"), dtype, count)
        return _checked(self.storages[key], dtype, count)


def _read_legacy(path: Path, content: mmap.mmap) -> object:
    end, header = 0, []
    for _ in range(3):
        part, end = unpickle(path, content, end)
        header.append(part)
    if header[:2] != [_LEGACY_MAGIC, _LEGACY_VERSION] or not isinstance(header[2], dict):
        raise InputError(path, "", "a file of torch.save", "a pickle of something else")
    if header[2].get("little_endian") is not True:
        raise InputError(path, "little_endian", "True", "another byte order")
    storages: dict[str, np.ndarray] = {}
    room = len(content)

    def storage(identity: object) -> np.ndarray:
        nonlocal room
        dtype, key, count = _storage_identity(identity)
        if key not in storages:
            room -= count * dtype.itemsize
            if room < 0:
                raise MalformedPickle("tensors larger than the file")
            storages[key] = np.empty(count, dtype)  # filled below: its content comes later
        return _checked(storages[key], dtype, count)

    value, end = unpickle(path, content, end, _BUILDERS, storage)
    keys, end = unpickle(path, content, end)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise _damaged(path, "storages other than those that its tensors name")
    for key in keys:
        end = _fill(path, content, end, storages[key])
    return value


def _fill(path: Path, content: mmap.mmap, start: int, storage: np.ndarray) -> int:
    """Copy a storage's numbers from behind their count; return the position behind them."""
    begin, end = start + 8, start + 8 + storage.nbytes
    if end > len(content) or struct.unpack_from("<q", content, start)[0] != len(storage):
        raise _damaged(path, f"a storage that is cut off at byte {start}")
    storage[:] = np.frombuffer(content, storage.dtype, len(storage), begin)
    return end


def _storage_identity(identity: object) -> tuple[np.dtype, str, int]:
    """Number type, key and count from `("storage", type, key, device, count, ...)`."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise MalformedPickle("a persistent id that is no storage")
    kind, key, count, view = identity[1], identity[2], identity[4], identity[5:]
    if not isinstance(kind, str) or kind not in _STORAGE_TYPES or view not in ((), (None,)):
        raise MalformedPickle("a storage without number type, or a view of another")
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise MalformedPickle("a storage without key or count")
    return np.dtype(_STORAGE_TYPES[kind]), key, count


def _numbers(content: memoryview, dtype: np.dtype, count: int) -> np.ndarray:
    if len(content) != count * dtype.itemsize:
        raise MalformedPickle(f"{len(content)} bytes for {count} numbers of {dtype.itemsize} bytes")
    return np.frombuffer(content, dtype) if content else np.empty(0, dtype)


def _checked(storage: np.ndarray, dtype: np.dtype, count: int) -> np.ndarray:
    if storage.dtype != dtype or len(storage) != count:
        raise MalformedPickle("one storage with two types or counts")
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
    **{name: name for name in _STORAGE_TYPES},  # only ever arguments
}
