"""Files and folders that appear when they are whole, or not at all.

Whatever is written goes under a hidden name of its own first, "partial", and is renamed at the end.
So a reader never sees a half, an error or a kill leaves what was there before, and two writers of
one name do not mix. What a killed writer leaves behind is removed by a later one.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

# Nobody who is alive leaves what they are writing alone for so long.
_SECONDS_UNTIL_ABANDONED = 3600.0

_log = logging.getLogger(__name__)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` if no error comes; its folder is made."""
    partial = _partial(path)
    try:
        yield partial
        with partial.open("rb+") as handle:
            os.fsync(handle.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to write to, which becomes `folder` if no error comes.

    `folder` must be named after what determines its content: if another writer was faster, theirs
    is kept.
    """
    partial = _partial(folder)
    partial.mkdir()
    try:
        yield partial
        try:
            partial.replace(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def locked(path: Path, waiting: str) -> Iterator[None]:
    """Only one process at a time is in here, of all that name this lock file.

    Whoever comes second waits, and logs `waiting` as a warning if that takes time. The lock of a
    process that has ended, however it did, is free. Where a file system has no locks, nobody waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning(waiting)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            _log.debug("%s: this file system has no locks", path)
        yield


def sweep(folder: Path) -> None:
    """Remove from a folder what killed writers have left there."""
    for abandoned in folder.glob(".*.partial"):
        with suppress(OSError):  # another is sweeping, or its writer is alive and done
            if time.time() - _last_written(abandoned) < _SECONDS_UNTIL_ABANDONED:
                continue
            if abandoned.is_dir():
                shutil.rmtree(abandoned, ignore_errors=True)
            else:
                abandoned.unlink(missing_ok=True)


def _last_written(path: Path) -> float:
    """When a file, or the last of what is in a folder, was written."""
    return max(p.lstat().st_mtime for p in (path, *path.rglob("*")))


def _partial(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    return path.with_name(f".{path.name}.{uuid4().hex}.partial")
