"""What a person sees of training, and what a tracker can listen to.

Every epoch is one record on the logger `mmer.training.progress`, with its numbers as the
attributes `metrics` (name -> float) and `step` (the epoch): a log handler can forward them.
"""

from __future__ import annotations

import logging
import sys
from types import TracebackType

from mmer.training.history import Epoch

logger = logging.getLogger("mmer.training.progress")


class EpochProgress:
    """A progress bar with the time left on a terminal, and everywhere one log line per epoch."""

    def __init__(self, steps: int, epochs: int) -> None:
        self._bar = _bar() if sys.stdout.isatty() else None
        self._task = self._bar.add_task("training", total=steps) if self._bar else None
        self._epochs = epochs

    def __enter__(self) -> EpochProgress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def step(self) -> None:
        """One optimiser step is done."""
        if self._bar:
            self._bar.advance(self._task)

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is done."""
        logger.info(
            "epoch %d/%d: loss %.4f, validation micro-F1 %.4f, %.1f s",
            epoch.epoch,
            self._epochs,
            epoch.losses["total"],
            epoch.selection,
            epoch.seconds,
            extra={"metrics": epoch.metrics, "step": epoch.epoch},
        )


def _bar():
    # rich is not on every GPU machine; its shared console lets log lines pass above the bar
    from rich import get_console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    return Progress(*columns, TimeRemainingColumn(), console=get_console())
