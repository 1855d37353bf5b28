"""What a person sees of a training: the epoch at hand, and the best so far."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from mmer.training import progress
from mmer.training.history import Epoch, best_epoch
from mmer.training.progress import EpochProgress


def epoch(number: int, selection: float) -> Epoch:
    figures = {"mean_average_precision": selection, "micro_f1": 0.5}
    return Epoch(
        epoch=number, losses={"total": 1.0}, validation=figures, selection=selection, seconds=1
    )


class Shown:
    """A bar that keeps what it was told."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.steps = 0.0

    def advance(self, steps: float = 1) -> None:
        self.steps += steps

    def show(self, done: float | None = None, what: str | None = None) -> None:
        self.texts.append(str(what))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    shown = Shown()

    @contextmanager
    def bar(what, total, done=0):
        shown.show(what=what)
        shown.advance(done)
        yield shown

    monkeypatch.setattr(progress, "bar", bar)
    return shown


def test_the_bar_tells_the_epoch_and_the_best_so_far(shown):
    with EpochProgress(9, 3) as told:
        told.step()
        for number, selection in ((1, 0.2), (2, 0.2), (3, 0.6)):
            told.epoch(epoch(number, selection))
    assert shown.steps == 1
    assert shown.texts == [
        "epoch 1 of 3",
        "epoch 2 of 3, best 1 (0.200)",
        "epoch 3 of 3, best 1 (0.200)",
        "epoch 3 of 3, best 3 (0.600)",
    ]


def test_going_on_it_knows_the_epochs_before(shown):
    with EpochProgress(9, 3, 3, [epoch(1, 0.9)]) as told:
        told.epoch(epoch(2, 0.3))
    assert shown.steps == 3
    assert shown.texts == ["epoch 2 of 3, best 1 (0.900)", "epoch 3 of 3, best 1 (0.900)"]


def test_each_record_says_whether_it_is_the_best_so_far(caplog):
    with caplog.at_level("INFO"), EpochProgress(9, 3) as told:
        told.epoch(epoch(1, 0.2))
        told.epoch(epoch(2, 0.1))
    assert [message.endswith("the best so far") for message in caplog.messages] == [True, False]


def test_the_best_is_the_first_of_equals():
    assert best_epoch([epoch(1, 0.2), epoch(2, 0.3), epoch(3, 0.3)]).epoch == 2
    assert best_epoch([]) is None
