"""Who aligns: this machine, one task after the other or several at once, or Dask's workers.

Every task runs in a process of its own, with limits (`mmer.confined`), wherever it is. It is told
the names of files and tells the names of those that it made; nothing else passes through here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import joblib

from mmer.confined import Limits, confined
from mmer.corpora.corpus import Ingestion
from mmer.corpora.tasks import AlignTask, Made, make_shards
from mmer.dask_cluster import Patience, connected, lost
from mmer.schema import Record
from mmer.terminal import Bar, bar, draws_bars

if TYPE_CHECKING:
    from distributed import Client

_SETTING = "ingestion.dask"
_TASKS_PER_WORKER = 4
_SECONDS_TO_CONNECT = 10
_SECONDS_BETWEEN_LOOKS = 0.2


class Job(Record):
    """A task, what it may cost, and the files that are at fault if it costs more."""

    task: AlignTask
    limits: Limits
    where: Path


class Workers(NamedTuple):
    """Those who align.

    Attributes:
        tasks: Into how many tasks to put a split's shards: one, or a few for every worker.
        run: Runs jobs, in any order; the first error ends them.
    """

    tasks: int
    run: Callable[[Sequence[Job]], None]


@contextmanager
def workers(settings: Ingestion) -> Iterator[Workers]:
    """Whom the settings name.

    Raises:
        InputError: Dask's scheduler or workers are not there, or are lost on the way.
    """
    if settings.dask:
        with connected(_SETTING, settings.dask, _SECONDS_TO_CONNECT) as client:
            tasks = _TASKS_PER_WORKER * sum(client.nthreads().values())
            yield Workers(tasks, partial(_on_dask, client))
        return
    count = joblib.effective_n_jobs(settings.processes)
    # Threads only wait: each has a process of its own.
    threads = joblib.Parallel(n_jobs=count, backend="threading")
    # Each task opens the files anew, so there is one for each process.
    yield Workers(count, lambda jobs: threads(joblib.delayed(_run)(job) for job in jobs))


@contextmanager
def progress(what: str, folder: Path, total: int) -> Iterator[None]:
    """A bar of how many of `total` shards are in `folder`, on a terminal, whoever makes them."""
    over = threading.Event()

    def watch(shown: Bar) -> None:
        while not over.wait(_SECONDS_BETWEEN_LOOKS):
            shown.show(len(list(folder.glob("[0-9]*.arrow"))))

    if not draws_bars():
        yield
        return
    with bar(f"{what}: parts aligned", total) as shown:
        watcher = threading.Thread(target=watch, args=(shown,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def _run(job: Job) -> Made:
    return confined(make_shards, job.task, job.limits, job.where)


def _run_json(job: str) -> str:
    """On a worker: what travels is text."""
    return _run(Job.from_json(job, "job")).to_json()


def _on_dask(client: Client, jobs: Sequence[Job]) -> None:
    from distributed import KilledWorker

    futures = client.map(_run_json, [job.to_json() for job in jobs], pure=False)
    address, patience = client.scheduler.address, Patience(_SECONDS_TO_CONNECT)
    try:
        while any(future.status == "pending" for future in futures):
            if patience.is_over(bool(client.scheduler_info(n_workers=-1)["workers"])):
                client.cancel(futures)
                raise lost(_SETTING, address, "none left")
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        client.gather(futures)
    except (KilledWorker, CancelledError, OSError) as error:
        raise lost(_SETTING, address, error) from error
