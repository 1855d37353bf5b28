"""How a training went, epoch by epoch."""

from __future__ import annotations

from mmer.schema import Record


class Epoch(Record):
    """One pass over the training samples.

    Attributes:
        epoch: Counted from 1.
        losses: Name of each term -> its mean over the steps; "total" among them.
        selection: The figure on validation by which an epoch is kept: larger is better.
        seconds: Wall time.
    """

    epoch: int
    losses: dict[str, float]
    selection: float
    seconds: float

    @property
    def metrics(self) -> dict[str, float]:
        """Its numbers, by the names under which they are tracked."""
        losses = {f"train/{term}": value for term, value in self.losses.items()}
        return {**losses, "valid/micro_f1": self.selection, "epoch_seconds": self.seconds}


class History(Record):
    """All epochs; none where a system is not trained in epochs.

    Attributes:
        epochs: In order.
        kept: The epoch whose parameters were kept; None without epochs.
        criterion: What `Epoch.selection` is, in words.
    """

    epochs: tuple[Epoch, ...] = ()
    kept: int | None = None
    criterion: str = ""
