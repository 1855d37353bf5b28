"""Files and folders that appear when they are whole, or not at all.

Whatever is written goes under a hidden name of its own first, "partial", and is renamed at the end.
So a reader never sees a half, an error or a kill leaves what was there before, and two writers of
one name do not mix. What a killed writer leaves behind is removed by a later one.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

# Nobody who is alive leaves what they are writing alone for so long.
_SECONDS_UNTIL_ABANDONED = 3600.0


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


def _partial(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    for abandoned in path.parent.glob(f".{path.name}.*.partial"):
        if time.time() - abandoned.stat().st_mtime > _SECONDS_UNTIL_ABANDONED:
            if abandoned.is_dir():
                shutil.rmtree(abandoned, ignore_errors=True)
            else:
                abandoned.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{uuid4().hex}.partial")
