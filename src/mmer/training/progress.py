"""What a person sees of training, and what a tracker can listen to.

Every epoch is one record on the logger `mmer.training.progress`, with its numbers as the
attributes `metrics` (name -> float) and `step` (the epoch): a log handler can forward them.
"""

from __future__ import annotations

import logging
import sys

from mmer.training.history import Epoch

logger = logging.getLogger("mmer.training.progress")


class EpochProgress:
    """A progress bar with the time left on a terminal, and everywhere one log line per epoch."""

    def __init__(self, steps: int, epochs: int, done: int = 0) -> None:
        self._epochs, self._bar = epochs, None
        if sys.stdout.isatty():
            from rich.progress import Progress  # rich is not on every GPU machine

            self._bar = Progress()
            self._task = self._bar.add_task("training", total=steps, completed=done)

    def __enter__(self) -> EpochProgress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    def step(self) -> None:
        """One optimiser step is done."""
        if self._bar:
            self._bar.advance(self._task)

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is done."""
        logger.info(
            "epoch %d/%d: loss %.4f, validation mAP %.4f and micro-F1 %.4f, %.1f s",
            epoch.epoch,
            self._epochs,
            epoch.losses["total"],
            epoch.validation["mean_average_precision"],
            epoch.validation["micro_f1"],
            epoch.seconds,
            extra={"metrics": epoch.metrics, "step": epoch.epoch},
        )
