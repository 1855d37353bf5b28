"""A folder that appears when it is whole, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmer.errors import InputError


@contextmanager
def appearing_whole(folder: Path) -> Iterator[Path]:
    """A scratch folder to write to, which becomes `folder` if no error comes.

    Raises:
        InputError: The folder exists and is not empty; it is left as it is.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(folder, "", "an empty folder, or none", "one that holds files")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        yield partial
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
