"""How a training went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from mmer.schema import Record

Selection = Literal["mean_average_precision", "micro_f1"]
"""A figure on the validation split by which an epoch can be kept."""


class Epoch(Record):
    """One pass over the training samples.

    Attributes:
        epoch: Counted from 1.
        losses: Name of each term -> its mean over the steps; "total" among them.
        validation: Figures on the validation split: larger is better.
        selection: The one of them by which an epoch is kept.
        seconds: Wall time.
    """

    epoch: int
    losses: dict[str, float]
    validation: dict[Selection, float]
    selection: float
    seconds: float

    @property
    def metrics(self) -> dict[str, float]:
        """Its numbers, by the names under which they are tracked."""
        losses = {f"train/{term}": value for term, value in self.losses.items()}
        valid = {f"valid/{name}": value for name, value in self.validation.items()}
        return {**losses, **valid, "epoch_seconds": self.seconds}


class History(Record):
    """All epochs; none where a system is not trained in epochs.

    Attributes:
        epochs: In order.
        kept: The epoch whose parameters were kept; None without epochs.
        criterion: What `Epoch.selection` is, in words.
        epoch_groups: Names of the validation groups on which alone the epochs were judged; none if
            it was on all of them.
        earlier_seconds: That it took in runs that were stopped before the one that ended it.
    """

    epochs: tuple[Epoch, ...] = ()
    kept: int | None = None
    criterion: str = ""
    epoch_groups: tuple[str, ...] = ()
    earlier_seconds: float = 0.0


def best_epoch(epochs: Iterable[Epoch]) -> Epoch | None:
    """The one to keep, the first of equals; None without epochs."""
    return max(epochs, key=lambda epoch: epoch.selection, default=None)
