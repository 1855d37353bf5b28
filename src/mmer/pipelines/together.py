"""Fitting by several processes, as whoever starts them sees it."""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import torch

from mmer.errors import InputError
from mmer.systems.contract import Fit
from mmer.systems.storage import load_fitted
from mmer.training.history import History
from mmer.training.interruption import Stopped, asked_to_stop
from mmer.training.settings import TrainingSettings

from .ranks import FITTED, HISTORY, JOB, Job, LogLine, Outcome
from .torchrun import EXITS, Exits

_SECONDS_BETWEEN_LOOKS = 0.2
# After one has died, the others may wait for it on the device; then they are killed.
_SECONDS_UNTIL_KILLED = 10

logger = logging.getLogger(__name__)


def fit_together(job: Job, training: TrainingSettings) -> Fit:
    """Have as many processes fit a system as its training is to have.

    Raises:
        InputError: As of `System.fit`; or a process died.
        Stopped: By a signal; a checkpoint has been written.
    """
    options = [f"--nproc_per_node={training.processes}"]
    options += [f"--{name}={value}" for name, value in training.rendezvous.items()]
    logger.info("Several processes train together: torchrun %s", " ".join(options))
    with TemporaryDirectory(prefix="mmer-") as place, asked_to_stop() as asked:
        folder = Path(place)
        (folder / JOB).write_text(job.to_json())
        process = subprocess.Popen(
            [sys.executable, "-m", "mmer.pipelines.torchrun", place, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(training.processes),
            start_new_session=True,  # Ctrl-C reaches this process, which tells them
        )
        assert process.stdin
        assert process.stdout
        try:
            _follow(process.stdin, process.stdout, process.poll, asked)
        finally:
            process.stdin.close()
            process.wait()
        return _result(folder, asked())


def _environment(processes: int) -> dict[str, str]:
    """Processes that share the cores with each other must not have threads for all of them."""
    threads = max(1, torch.get_num_threads() // processes)
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(_SECONDS_UNTIL_KILLED),
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
    }


def _follow(
    stdin: IO[bytes],
    stdout: IO[bytes],
    ended: Callable[[], int | None],
    asked: Callable[[], int | None],
) -> None:
    """Log what they log, and hand on a signal, until they have ended."""
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        for line in stdout:
            lines.put(line)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    told = False
    while True:
        last = ended() is not None
        if last:
            reading.join(timeout=_SECONDS_BETWEEN_LOOKS)
        if (number := asked()) and not told:
            stdin.write(bytes([number]))
            stdin.flush()
            told = True
        try:
            _log(lines.get(timeout=0 if last else _SECONDS_BETWEEN_LOOKS))
        except queue.Empty:
            if last:
                return


def _log(line: bytes) -> None:
    """In this thread, by which trackers know whose training it is."""
    try:
        told = LogLine.from_json(line, "line")
    except InputError:  # a library has printed it
        logger.info("%s", line.decode(errors="replace").rstrip())
        return
    into = logging.getLogger(told.name)
    if into.isEnabledFor(told.level):
        more = {"metrics": told.metrics, "step": told.step} if told.metrics else {}
        into.log(told.level, "%s", told.text, extra=more)


def _result(folder: Path, asked: int | None) -> Fit:
    """What came out.

    Raises:
        InputError, Stopped: As of `fit_together`.
    """
    outcomes = {int(p.stem[5:]): Outcome.read(p) for p in folder.glob("rank-*.json")}
    for outcome in outcomes.values():
        if outcome.refused:
            raise InputError(*outcome.refused)
    exits = Exits.read(folder / EXITS).statuses if (folder / EXITS).exists() else {}
    if exits or not outcomes:
        remedy = "The same command goes on from the last checkpoint, with any number of processes."
        found = why(exits, outcomes)
        raise InputError("training", "processes", "all to reach the end", found, remedy)
    first = outcomes[min(outcomes)]
    if number := first.signal or asked:
        raise Stopped(number, first.place, first.checkpoint)
    return Fit(load_fitted(folder / FITTED), History.read(folder / HISTORY))


def why(exits: Mapping[int, int], outcomes: Mapping[int, Outcome]) -> str:
    """What the others failed for: a process that could not say anything, or the first that did.

    Args:
        exits: Rank -> exit status of those that failed, or less than 0 the signal.
        outcomes: Rank -> what those said that could.
    """
    said = [(o.ended, rank, o.failed) for rank, o in outcomes.items() if o.failed]
    # Once one has failed, torchrun ends the others by SIGTERM.
    killed = {rank: -status for rank, status in exits.items() if status < 0}
    killed = {r: n for r, n in killed.items() if n != signal.SIGTERM} or ({} if said else killed)
    for rank, number in killed.items():
        reason = ", as where memory runs out" if number == signal.SIGKILL else ""
        name = signal.Signals(number).name
        return f"that the process of rank {rank} was ended by {name}{reason}"
    if said:
        _, rank, failed = min(said)
        return f"that the process of rank {rank} failed: {failed}"
    return "that they could not start, or broke off; above is why"
