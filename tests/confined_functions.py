"""What `test_confined.py` runs in processes of their own."""

from __future__ import annotations

import ctypes
import logging
import mmap
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmer.confined import Limits, confined
from mmer.errors import InputError, UntrustedDataError
from mmer.schema import Record


class Job(Record):
    """Name of one of `WAYS`, and what it is given."""

    way: str = ""
    path: Path = Path()
    count: int = 0


class Found(Record):
    text: str = ""


def found(job: Job) -> Found:
    """Go this way."""
    return Found(text=WAYS[job.way](job) or "")


def _libraries(job: Job) -> str:
    import mmer.corpora.ingestion  # noqa: F401

    return " ".join(sorted({"torch", "mlflow", "kedro"} & set(sys.modules)))


def _log(job: Job) -> None:
    logging.getLogger("mmer.corpora.some").info("100%% of %s", "it")
    logging.getLogger("mmer.corpora.some").debug("not asked for")
    warnings.warn("odd rows", stacklevel=1)


def _refuse(job: Job) -> None:
    raise InputError(job.path, "row 3", "a number", "text \udcff", "Look at it.")


def _distrust(job: Job) -> None:
    raise UntrustedDataError(job.path, "byte 7", "plain data", "os.system")


def _fail(job: Job) -> None:
    raise KeyError("our mistake")


def _fill(job: Job) -> str:
    return str(np.ones(job.count, "u1").sum())


def _fill_and_blame(job: Job) -> None:
    try:
        _fill(job)
    except MemoryError as error:
        raise InputError(job.path, "", "a readable file", error) from error


def _map(job: Job) -> str:
    with job.path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return str(int(np.frombuffer(content, "u1").sum()))


def _read_what_shrinks(job: Job) -> str:
    with job.path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    os.truncate(job.path, 0)
    return str(content[0])


def _calculate(job: Job) -> None:
    while True:
        pass


def _write(job: Job) -> None:
    job.path.write_bytes(bytes(job.count))


def _sleep(job: Job) -> None:
    job.path.with_suffix(".partial").write_text(str(os.getpid()))
    job.path.with_suffix(".partial").rename(job.path)
    time.sleep(600)


WAYS: dict[str, Callable[[Job], str | None]] = {
    "libraries": _libraries,
    "log": _log,
    "refuse": _refuse,
    "distrust": _distrust,
    "fail": _fail,
    "fill": _fill,
    "fill and blame": _fill_and_blame,
    "map": _map,
    "shrinks": _read_what_shrinks,
    "calculate": _calculate,
    "write": _write,
    "sleep": _sleep,
    "print": lambda job: print('{"answer": "another"}\n' * job.count),
    "tell much": lambda job: "x" * job.count,
    "leave": lambda job: os._exit(0),
    "abort": lambda job: os.abort(),
    "crash": lambda job: ctypes.string_at(0).decode(),
    "threads": lambda job: os.environ["OMP_NUM_THREADS"],
    "parent": lambda job: str(os.getppid()),
    "folder": lambda job: str(Path.cwd()),
}

if __name__ == "__main__":  # the parent that is killed: waits for a child that sleeps
    sys.modules["confined_functions"] = sys.modules["__main__"]
    found.__module__ = Job.__module__ = Found.__module__ = "confined_functions"
    here = Path(sys.argv[1])
    confined(found, Job(way="sleep", path=here), Limits.of(0), here)
