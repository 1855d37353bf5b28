"""Runs in MLflow whose process was killed: the same command goes on with them, any closes them."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PROCESS = "mmer.process"
COMMAND = "mmer.command"
_SHOWN_AT_ONCE = 100

logger = logging.getLogger(__name__)


def this_process() -> str:
    """Tells a process of this machine from every other, also from later ones of its number."""
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())}"


def is_dead(process: str) -> bool:
    """Whether a process, as `this_process` named it, is known to have ended."""
    host, _, rest = process.partition(" ")
    number, _, started = rest.partition(" ")
    if host != socket.gethostname() or not number.isdigit():
        return False
    if not started:
        return not _is_there(int(number))
    return _started(int(number)) != started


def close_dead(client: MlflowClient) -> None:
    """End, as killed, all runs of this machine that count as running though their process is gone.

    Those of every experiment: nobody knows which will be the next that a run is opened in.
    """
    query = f"attributes.status = 'RUNNING' and tags.`{PROCESS}` LIKE '{socket.gethostname()} %'"
    page = None
    dead: list[Run] = []
    experiments = [one.experiment_id for one in client.search_experiments()]
    while True:
        running = client.search_runs(
            experiments, query, max_results=_SHOWN_AT_ONCE, page_token=page
        )
        dead += [run for run in running if is_dead(run.data.tags.get(PROCESS, ""))]
        page = running.token
        if not page:
            break
    for run in dead:
        client.set_terminated(run.info.run_id, "KILLED")
        logger.info("MLflow run '%s' was killed earlier; it is closed", run.info.run_name)


def gone_on_with(client: MlflowClient, experiment: str, command: str) -> Run | None:
    """Take over the last run of this command if it was killed; None if it was not.

    Of two processes that try at once, one has it: on one machine they take turns.
    """
    query = f"tags.`{COMMAND}` = '{command}'"
    last = client.search_runs([experiment], query, max_results=1, order_by=["start_time DESC"])
    if not last or last[0].info.status != "KILLED":
        return None
    run_id, process = last[0].info.run_id, this_process()
    client.set_tag(run_id, PROCESS, process)
    client.update_run(run_id, status="RUNNING")
    found = client.get_run(run_id)
    return found if found.data.tags.get(PROCESS) == process else None


def _started(number: int) -> str:
    """When a process was started, in the machine's own ticks; "" where that is not told."""
    try:
        stat = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def _is_there(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
