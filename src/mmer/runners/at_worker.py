"""What a Dask worker does: one node, as if its process belonged to the run.

The scheduler imports this as well, so nothing here imports what nodes need.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from traceback import format_exc
from typing import Any

import fsspec
from kedro.framework import project
from kedro.io import AbstractDataset, DatasetError
from kedro.runner import Task

from mmer.errors import InputError, printable
from mmer.schema import Record

_OURS = "MMER_"
_LONGEST_REASON, _LONGEST_STACK = 500, 5_000  # characters; Dask drops errors of 10,000

# A node sets seeds, threads and modes of its whole process.
_alone = threading.Lock()


class Threads(Record):
    """How many threads torch and BLAS compute with: a sum over others has other last bits."""

    torch: int
    blas: int

    @classmethod
    def here(cls) -> Threads:
        """As many as in this process."""
        import torch
        from threadpoolctl import threadpool_info

        pools = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
        return cls(torch=torch.get_num_threads(), blas=max(pools, default=1))

    def hold(self) -> None:
        """Compute with as many in this thread, whatever its process was started with."""
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(self.torch)
        threadpool_limits(self.blas, "blas")

    def announce(self) -> None:
        """Say so to libraries that are yet to be loaded: they read it once."""
        os.environ["OMP_NUM_THREADS"] = str(self.torch)
        # Who waits sleeps: this machine's other workers need the processor.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class Run(Record):
    """What a worker is told of the run, beside node and datasets.

    Attributes:
        run_id: Kedro's.
        package: The project, whose settings and hooks hold.
        logging: Its configuration of logging.
        folder: Where the run was started; relative names are of files in it.
        environment: Variables by which the processes of a run find what they share.
        is_async: Whether threads load and save.
    """

    run_id: str
    package: str
    logging: dict[str, Any]
    folder: Path
    environment: dict[str, str]
    threads: Threads
    is_async: bool

    @classmethod
    def here(cls, run_id: str | None, is_async: bool) -> Run:
        """That of this process."""
        return cls(
            run_id=run_id or "",
            package=project.PACKAGE_NAME or "",
            logging=dict(project.LOGGING),
            folder=Path.cwd(),
            environment={k: v for k, v in os.environ.items() if k.startswith(_OURS)},
            threads=Threads.here(),
            is_async=is_async,
        )

    @property
    def topic(self) -> str:
        """Under which workers tell which node they begin."""
        return f"mmer {self.run_id}"

    def join(self) -> None:
        """Make this process one of the run's."""
        for variable in [name for name in os.environ if name.startswith(_OURS)]:
            del os.environ[variable]
        os.environ.update(self.environment)
        if self.folder.is_dir():  # if it is not, the catalog names files that all machines see
            os.chdir(self.folder)
        self.threads.announce()
        if self.package and self.package != project.PACKAGE_NAME:
            Task._bootstrap_subprocess(self.package, self.logging)


class NodeError(Exception):
    """A node failed on a worker.

    Args:
        why: In one line.
        is_mistake: Whether it is the program's mistake, and not the input's.
        stack: The traceback there.
    """

    def __init__(self, why: str, is_mistake: bool = False, stack: str = "") -> None:
        self.why, self.is_mistake, self.stack = why, is_mistake, stack
        super().__init__(why, is_mistake, stack)

    def __str__(self) -> str:
        return f"{self.why}\n{self.stack}".rstrip()


def run_node(name: str, pickled: bytes, told: str) -> None:
    """Run a node on the worker that this is.

    Args:
        name: Of the node.
        pickled: The node and the catalog of its datasets.
        told: The `Run`, as JSON.

    Raises:
        NodeError: Anything went wrong.
    """
    from distributed import get_worker

    run, worker = Run.from_json(told, "run"), get_worker()
    with _alone:
        worker.log_event(run.topic, {"node": name, "worker": worker.address})
        failed = _failed(pickled, run)
    if failed:  # raised here, nothing else travels with it
        raise failed


def _failed(pickled: bytes, run: Run) -> NodeError | None:
    """Run a node, and tell what went wrong."""
    try:
        run.join()
        node, catalog = pickle.loads(pickled)
        run.threads.hold()
        for output in node.outputs:
            remove_version(catalog[output])
        hooks = Task._run_node_synchronization()
        Task(node, catalog, run.is_async, hooks, run.run_id).execute()
    except Exception as error:
        return NodeError(*told_in_one_line(error), format_exc()[-_LONGEST_STACK:])
    return None


def remove_version(dataset: AbstractDataset) -> None:
    """Remove what a lost attempt has saved as this run's version, which nobody else writes."""
    version = getattr(dataset, "resolve_save_version", lambda: None)()
    if version is None:
        return
    files = getattr(dataset, "_fs", None) or fsspec.filesystem("file")
    files.invalidate_cache()
    folder = str(PurePosixPath(dataset._get_versioned_path(version)).parent)  # type: ignore[attr-defined]
    if files.exists(folder):
        files.rm(folder, recursive=True)


def told_in_one_line(error: Exception) -> tuple[str, bool]:
    """Why, in one line, and whether it is a mistake of the program."""
    causes = list(_causes(error))
    told = next((cause for cause in causes if isinstance(cause, InputError)), error)
    is_mistake = not isinstance(told, InputError | DatasetError | OSError)
    lines = str(told).strip().splitlines() or [""]
    kind = "" if isinstance(told, InputError) else f"{type(told).__name__}: "
    return printable(kind + lines[0])[:_LONGEST_REASON], is_mistake


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
