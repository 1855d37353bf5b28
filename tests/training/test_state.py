"""Stopping and going on gives what an undisturbed run gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmer.samples.batches import Samples, pack
from mmer.training.loop import finish_epoch, repeatable, start, take_step
from mmer.training.progress import EpochProgress
from mmer.training.settings import OptimiserSettings, TrainingSettings
from mmer.training.state import TrainingState

SETTINGS = TrainingSettings(
    epochs=4,
    batch_size=16,
    device="cpu",
    optimiser=OptimiserSettings(learning_rate=5e-3),
    drop_last_validation_batch=True,
)
CPU = torch.device("cpu")


@pytest.fixture
def packed(toy_table) -> tuple[Samples, Samples]:
    return pack(toy_table(60)), pack(toy_table(30, seed=1, split="valid"))


def go_on(state: TrainingState, packed: tuple[Samples, Samples], epochs: int) -> None:
    with EpochProgress(state.total_steps, SETTINGS.epochs) as progress:
        for _ in range(epochs):
            finish_epoch(state, *packed, SETTINGS, progress)


def stored(state: TrainingState, path: Path) -> dict[str, Any]:
    """The state as it comes out of a file that holds nothing but tensors, numbers and strings."""
    torch.save(state.state_dict(), path)
    return torch.load(path, weights_only=True)


def flat(state: Any) -> list:
    """Everything in it but wall times, in order."""
    if isinstance(state, dict):
        return [x for key, value in state.items() if "seconds" not in str(key) for x in flat(value)]
    if isinstance(state, list | tuple):
        return [x for value in state for x in flat(value)]
    return [state.tolist() if isinstance(state, torch.Tensor) else state]


@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_stopped_and_gone_on_bit_for_bit(
    packed, building: Callable, tmp_path: Path, epochs: int
) -> None:
    build = building(packed[0])
    with repeatable(CPU):
        undisturbed = start(build, packed[0], SETTINGS)
        go_on(undisturbed, packed, SETTINGS.epochs)
        expected = flat(undisturbed.state_dict())
    with repeatable(CPU):
        first = start(build, packed[0], SETTINGS)
        go_on(first, packed, epochs)
        saved = stored(first, tmp_path / "state.pt")
    torch.rand(7)  # somebody else draws in between
    with repeatable(CPU):
        second = start(build, packed[0], SETTINGS.model_copy(update={"seed": 9}))
        second.load_state_dict(saved)
        go_on(second, packed, SETTINGS.epochs - epochs)
        assert flat(second.state_dict()) == expected


def test_stopped_within_an_epoch_and_gone_on_bit_for_bit(packed, building, tmp_path, monkeypatch):
    build = building(packed[0])
    with repeatable(CPU):
        undisturbed = start(build, packed[0], SETTINGS)
        go_on(undisturbed, packed, 2)
        expected = flat(undisturbed.state_dict())

    class PowerCutError(Exception):
        pass

    def take_two_steps(state: TrainingState, *arguments):
        if state.step == 2 and state.epochs:
            raise PowerCutError
        return take_step(state, *arguments)

    with repeatable(CPU):
        first = start(build, packed[0], SETTINGS)
        with monkeypatch.context() as patched:
            patched.setattr("mmer.training.loop.take_step", take_two_steps)
            with pytest.raises(PowerCutError):
                go_on(first, packed, 2)
        saved = stored(first, tmp_path / "state.pt")
    with repeatable(CPU):
        second = start(build, packed[0], SETTINGS)
        second.load_state_dict(saved)
        assert (len(second.epochs), second.step) == (1, 2)
        go_on(second, packed, 1)
        assert flat(second.state_dict()) == expected
