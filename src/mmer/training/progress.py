"""What a person sees of training, and what a tracker can listen to.

Every epoch is one record on the logger `mmer.training.progress`, with its numbers as the
attributes `metrics` (name -> float) and `step` (the epoch): a log handler can forward them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack

from mmer.terminal import bar, draws_bars
from mmer.training.history import Epoch, best_epoch

logger = logging.getLogger("mmer.training.progress")


class EpochProgress:
    """A bar with the time left and the best epoch on a terminal; everywhere a record per epoch.

    Args:
        steps, epochs: Of the whole training.
        done: Steps that were done earlier.
        before: Epochs that were.
    """

    def __init__(
        self, steps: int, epochs: int, done: int = 0, before: Sequence[Epoch] = ()
    ) -> None:
        self._steps, self._epochs, self._done = steps, epochs, done
        self._number, self._best = len(before), best_epoch(before)
        self._shown = ExitStack()

    def __enter__(self) -> EpochProgress:
        self._bar = self._shown.enter_context(bar(self._text(), self._steps, self._done))
        return self

    def __exit__(self, *error: object) -> None:
        self._shown.close()

    def step(self) -> None:
        """One optimiser step is done."""
        self._bar.advance()

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is done."""
        self._number = epoch.epoch
        self._best = best_epoch([*([self._best] if self._best else []), epoch])
        self._bar.show(what=self._text())
        logger.info(
            "epoch %d/%d: loss %.4f, validation mAP %.4f and micro-F1 %.4f, %.1f s%s",
            epoch.epoch,
            self._epochs,
            epoch.losses["total"],
            epoch.validation["mean_average_precision"],
            epoch.validation["micro_f1"],
            epoch.seconds,
            ", the best so far" if self._best == epoch else "",
            extra={"metrics": epoch.metrics, "step": epoch.epoch, "on_bar": draws_bars()},
        )

    def _text(self) -> str:
        """Such as "epoch 3 of 14, best 2 (0.641)"."""
        now = f"epoch {min(self._number + 1, self._epochs)} of {self._epochs}"
        return f"{now}, best {self._best.epoch} ({self._best.selection:.3f})" if self._best else now
