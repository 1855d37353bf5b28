"""Seals: an Arrow IPC file carries a digest of its own bytes, which whoever uses it checks first.

The digest stands in the file's footer, as text of a fixed length. It covers every byte of the file
but itself. It is no signature: who wants to forge a file can seal it again.
"""

from __future__ import annotations

import hashlib
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from mmer.errors import InputError

KEY = b"sha256"
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
    """SHA-256 of the digests of all blocks, which as many threads make as there are cores.

    The bytes of the seal at `place` are left out.
    """
    size, stop = file.seek(0, os.SEEK_END), place + len(UNSEALED)
    parts = [(at, min(at + _BLOCK, place)) for at in range(0, place, _BLOCK)] + [(stop, size)]

    def of_part(part: tuple[int, int]) -> bytes:
        return hashlib.sha256(os.pread(file.fileno(), part[1] - part[0], part[0])).digest()

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return hashlib.sha256(b"".join(threads.map(of_part, parts))).hexdigest().encode()
