"""Seals: an Arrow IPC file carries a digest of its own bytes, which whoever uses it checks first.

The digest stands in the file's footer, as text of a fixed length. It covers every byte of the file
but itself: SHA-256 of the CRC-32 of every block. It is to find damage, which a CRC misses once in
four thousand million times, and is no signature, which would take three times as long; who wants to
forge a file could seal it again.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from mmer.errors import InputError

KEY = b"seal"
UNSEALED = b"0" * 64
"""What to write a file with: the footer's metadata `{KEY: UNSEALED}`."""

_BLOCK = 1 << 18
# At a file's end: the footer, its length as int32, and six bytes that are the same in every file.
_END = struct.Struct("<i6s")


def put(path: Path) -> None:
    """Seal a file that has been written unsealed, in place."""
    with path.open("rb+") as file:
        place = _place(file, UNSEALED)
        digest = _digest(file, place)
        file.seek(place)
        file.write(digest)


def check(path: Path, seal: bytes) -> None:
    """Read a file through and see that it is as it was sealed.

    Raises:
        InputError: It is not.
    """
    with path.open("rb") as file:
        place = _place(file, seal) if len(seal) == len(UNSEALED) else -1
        if place < 0 or _digest(file, place) != seal:
            expected, remedy = "the bytes that were written", "Run the alignment stage again."
            raise InputError(path, "", expected, "others: its digest differs", remedy)


def _place(file: BinaryIO, seal: bytes) -> int:
    """Where in the file the seal stands; -1 if nowhere in the footer."""
    end = file.seek(-_END.size, os.SEEK_END)
    length, _ = _END.unpack(file.read(_END.size))
    begin = file.seek(max(end - length, 0))
    found = file.read(length).rfind(seal)
    return found if found < 0 else begin + found


def _digest(file: BinaryIO, place: int) -> bytes:
    """The digest of all but the seal at `place`; as many threads as there are cores make it."""
    size, stop = file.seek(0, os.SEEK_END), place + len(UNSEALED)
    blocks = [
        (at, min(at + _BLOCK, end))
        for begin, end in ((0, place), (stop, size))
        for at in range(begin, end, _BLOCK)
    ]

    def checksum(block: tuple[int, int]) -> bytes:
        begin, end = block
        return zlib.crc32(os.pread(file.fileno(), end - begin, begin)).to_bytes(4)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        whole = b"".join(threads.map(checksum, blocks)) + size.to_bytes(8)
    return hashlib.sha256(whole).hexdigest().encode()
