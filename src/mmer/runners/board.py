"""How far a run on many machines is: a bar on a terminal, and a line in the log without one."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from .at_worker import NodeError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

logger = logging.getLogger(__name__)


class Standing(NamedTuple):
    """Nodes that are done, that run now (by name), that are left, and that failed."""

    done: int
    running: tuple[str, ...]
    left: int
    failed: int

    def __str__(self) -> str:
        running = f" ({', '.join(self.running)})" if self.running else ""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done} done, {len(self.running)} running{running}, {self.left} left{failed}"


class Board(Protocol):
    """Where a run says how far it is."""

    def show(self, standing: Standing) -> None:
        """How it stands now; told often."""

    def ended(self, node: str, failed: NodeError | None, standing: Standing) -> None:
        """A node ended, well or with this error."""


@contextmanager
def board(total: int) -> Iterator[Board]:
    """A bar on a terminal; else a line of the log for every node."""
    if not sys.stdout.isatty():
        yield _Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    text = TextColumn("{task.description}", markup=False)
    with Progress(BarColumn(20), MofNCompleteColumn(), text) as bar:
        yield _Bar(bar, bar.add_task("", total=total))


class _Lines:
    def show(self, standing: Standing) -> None:
        pass

    def ended(self, node: str, failed: NodeError | None, standing: Standing) -> None:
        if failed:
            _log_failure(node, failed)
        logger.info("%s: %s. %s", node, "failed" if failed else "done", standing)


class _Bar:
    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def show(self, standing: Standing) -> None:
        ended = standing.done + standing.failed
        self._bar.update(self._task, completed=ended, description=str(standing))

    def ended(self, node: str, failed: NodeError | None, standing: Standing) -> None:
        if failed:
            _log_failure(node, failed)
        self.show(standing)


def _log_failure(node: str, failed: NodeError) -> None:
    """What is the program's mistake is told with the stack, as without Dask."""
    logger.error("%s failed: %s", node, failed if failed.is_mistake else failed.why)
