"""Checkpoints: nothing is lost, nothing half or strange is taken, and what went wrong is said."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from mmer.errors import InputError
from mmer.samples.batches import Samples, pack
from mmer.training import loop
from mmer.training.checkpoints import Checkpoints, CheckpointSettings
from mmer.training.interruption import Stopped
from mmer.training.loop import Trained, take_step, train
from mmer.training.settings import OptimiserSettings, TrainingSettings

SETTINGS = TrainingSettings(
    epochs=3, batch_size=16, device="cpu", optimiser=OptimiserSettings(learning_rate=5e-3)
)
EVERY_STEP = CheckpointSettings(seconds=0)


class PowerCutError(Exception):
    """What no `finally` of the training may hide."""


@pytest.fixture
def packed(toy_table) -> tuple[Samples, Samples]:
    return pack(toy_table(60)), pack(toy_table(30, seed=1, split="valid"))


@pytest.fixture
def training(packed, building_carat, tmp_path, monkeypatch) -> Callable[..., Trained]:
    """(steps until the power is cut, key, settings of checkpoints) -> what came out."""
    build = building_carat(packed[0])
    # However long a write takes here, the next step writes again.
    monkeypatch.setattr("mmer.training.checkpoints._TIMES_AS_LONG", 0)

    def run(steps: int | None = None, key: str = "key", **kept: object) -> Trained:
        settings = CheckpointSettings(**{"seconds": 0, **kept})
        checkpoints = Checkpoints(tmp_path / "kept", key, settings)
        taken = []

        def step(*arguments):
            if len(taken) == steps:
                raise PowerCutError
            taken.append(1)
            return take_step(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(loop, "take_step", step)
            try:
                return train(build, *packed, SETTINGS, checkpoints)
            finally:
                run.taken = len(taken)

    return run


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("kept/*/*.safetensors"))


def same(one: Trained, other: Trained) -> bool:
    first, second = one.network.state_dict(), other.network.state_dict()
    figures = [[epoch.metrics for epoch in each.history.epochs] for each in (one, other)]
    for epochs in figures:
        for metrics in epochs:
            del metrics["epoch_seconds"]
    return figures[0] == figures[1] and all(torch.equal(first[n], second[n]) for n in first)


SLOW = {"marks": pytest.mark.slow}


@pytest.mark.parametrize("steps", [pytest.param(1, **SLOW), pytest.param(4, **SLOW), 6])
def test_a_training_that_was_cut_off_goes_on_to_the_bits_of_one_that_was_not(training, steps):
    undisturbed = training(key="other")
    with pytest.raises(PowerCutError):
        training(steps)
    gone_on = training()
    assert training.taken == 12 - steps
    assert same(gone_on, undisturbed)
    assert gone_on.history.earlier_seconds > 0 == undisturbed.history.earlier_seconds


def test_a_finished_training_is_not_done_again_unless_asked(training, tmp_path):
    first = training()
    assert len(files(tmp_path)) == 1
    assert same(training(), first)
    assert training.taken == 0
    assert same(training(resume="never"), first)
    assert training.taken == 12


@pytest.mark.slow
def test_what_is_finished_is_done_again_where_it_might_be_other_bits(training, monkeypatch):
    training()
    now = {"device": "cpu", "threads": "77", "torch": "2"}
    monkeypatch.setattr("mmer.training.checkpoints._computed_with", lambda device: now)
    training()
    assert training.taken == 12


def test_going_on_with_other_means_is_said(training, monkeypatch, caplog):
    with pytest.raises(PowerCutError):
        training(5)
    now = {"device": "cpu", "threads": "77", "torch": "2"}
    monkeypatch.setattr("mmer.training.checkpoints._computed_with", lambda device: now)
    training()
    assert training.taken == 7
    assert "threads" in caplog.text
    assert "-> 77" in caplog.text


def test_another_key_is_another_training(training):
    with pytest.raises(PowerCutError):
        training(5)
    training(key="of other settings")
    assert training.taken == 12


def test_required_does_not_begin_anew(training, tmp_path):
    with pytest.raises(InputError, match=r"checkpoints\.resume.*same tables, settings and code"):
        training(resume="required")
    with pytest.raises(PowerCutError):
        training(5)
    training(resume="required")
    assert training.taken == 7


@pytest.mark.parametrize(
    "damage",
    [
        "truncated",
        *(pytest.param(d, **SLOW) for d in ("a bit", "empty", "not ours", "header", "list")),
    ],
)
def test_the_one_before_a_damaged_checkpoint_is_taken(training, tmp_path, damage, caplog):
    undisturbed = training(key="other")
    with pytest.raises(PowerCutError):
        training(7)
    newest = max((tmp_path / "kept" / "key").glob("*.safetensors"))
    content = bytearray(newest.read_bytes())
    if damage == "a bit":
        content[-100] ^= 1
    elif damage == "header":
        at = content.index(b"epoch_seconds")
        content[at : at + 5] = b"xxxxx"
    strange = {"truncated": content[:-50], "empty": b"", "not ours": b"\x80\x04]."}
    strange["list"] = save({}, {"mmer": "[]"})
    newest.write_bytes(strange.get(damage, content))
    gone_on = training()
    assert training.taken == 6, "the one before it is one step older"
    assert str(newest) in caplog.text
    assert same(gone_on, undisturbed)


def test_where_all_are_damaged_it_begins_anew_and_says_so(training, tmp_path, caplog):
    with pytest.raises(PowerCutError):
        training(7)
    for path in files(tmp_path):
        path.write_bytes(path.read_bytes()[:1000])
    training()
    assert training.taken == 12
    assert caplog.text.count("cannot be read") == 2


def test_the_last_ones_are_kept(training, tmp_path):
    with pytest.raises(PowerCutError):
        training(9, keep=3)
    names = [path.stem for path in files(tmp_path)]
    assert names == ["00001-0000004", "00002-0000000", "00002-0000001"]


def test_finished_trainings_do_not_pile_up_and_stopped_ones_are_not_lost(packed, tmp_path):
    """Whatever else is tried meanwhile; what is not a training's folder is nobody's business."""
    folder, day = tmp_path / "kept", 24 * 3600
    ages = {
        f"{number:016x}": (name, age * day)
        for number, (name, age) in enumerate(
            [
                (".finished", 1),
                (".finished", 2),
                (".finished", 3),
                (".finished", 4),
                ("", 20),
                ("", 40),
            ]
        )
    }
    for key, (name, age) in ages.items():
        (folder / key).mkdir(parents=True)
        path = folder / key / f"00001-0000000{name}.safetensors"
        path.write_bytes(b"")
        for one in (path, folder / key):
            os.utime(one, (time.time() - age, time.time() - age))
    (folder / "my_backup").mkdir()
    os.utime(folder / "my_backup", (0, 0))
    Checkpoints(folder, "f" * 16, CheckpointSettings()).restore(None)
    kept = [f"{number:016x}" for number in (0, 1, 2, 4)]
    assert sorted(f.name for f in folder.iterdir()) == [*kept, "my_backup"]


def test_a_checkpoint_that_cannot_be_read_now_is_not_removed(training, tmp_path, monkeypatch):
    with pytest.raises(PowerCutError):
        training(7)
    before = files(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", lambda path: Path("/nowhere/at/all").stat())
        with pytest.raises(InputError, match=r"can be read.*Nothing was removed"):
            training()
    assert files(tmp_path) == before
    training()
    assert training.taken == 5


def test_what_finished_with_other_means_does_not_push_out_what_is_under_way(
    training, tmp_path, monkeypatch, caplog
):
    training(keep=1)
    now = {"device": "cpu", "threads": "77", "torch": "2"}
    with monkeypatch.context() as patched:
        patched.setattr("mmer.training.checkpoints._computed_with", lambda device: now)
        with pytest.raises(PowerCutError):
            training(5, keep=1)
        assert "threads" in caplog.text
        assert len(files(tmp_path)) == 2
        training(keep=1)
        assert training.taken == 7


def test_the_bound_on_what_writing_may_cost(training, tmp_path, monkeypatch):
    monkeypatch.setattr("mmer.training.checkpoints._TIMES_AS_LONG", 1e9)
    with pytest.raises(PowerCutError):
        training(9)
    assert len(files(tmp_path)) == 1, "after the first the next would be due in years"


def test_a_loss_that_is_no_number_leaves_the_checkpoint_before(
    training, tmp_path, monkeypatch, caplog
):
    real = take_step

    def astray(state, *arguments):
        losses = real(state, *arguments)
        if state.step == 2 and state.epochs:
            losses.terms["total"] = losses.terms["total"] * torch.nan
        return losses

    monkeypatch.setattr(sys.modules[__name__], "take_step", astray)
    with pytest.raises(InputError, match=r"epoch 2, step 3.*finite loss.*video"):
        training()
    assert max(path.stem for path in files(tmp_path)) == "00001-0000002"
    assert "00001-0000002" in caplog.text


def test_a_batch_that_does_not_fit_names_one_that_does(packed, building_pooled, monkeypatch):
    def step(state, batch, bfloat16):
        if len(batch.labels) > 5:
            raise torch.OutOfMemoryError
        return take_step(state, batch, bfloat16)

    monkeypatch.setattr(loop, "take_step", step)
    losses = type(building_pooled(packed[0])()).losses

    def limited(self, batch):
        if len(batch.labels) > 5:
            raise torch.OutOfMemoryError
        return losses(self, batch)

    monkeypatch.setattr("mmer.systems.pooled.network.PooledNetwork.losses", limited)
    with pytest.raises(InputError, match=r"16 do not.*training\.batch_size=4"):
        train(building_pooled(packed[0]), *packed, SETTINGS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_a_checkpoint(packed, building_pooled, tmp_path, monkeypatch, number):
    build = building_pooled(packed[0])
    undisturbed = train(build, *packed, SETTINGS)
    checkpoints = Checkpoints(tmp_path / "kept", "key", CheckpointSettings(seconds=3600))

    def step(state, *arguments):
        if state.steps_done == 5:
            os.kill(os.getpid(), number)
        return take_step(state, *arguments)

    before = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    as_it_was = signal.signal(number, before)  # in the background of a script it is ignored
    with monkeypatch.context() as patched:
        patched.setattr(loop, "take_step", step)
        with pytest.raises(Stopped, match=r"step 2 of 4 of epoch 2.*goes on from") as stopped:
            train(build, *packed, SETTINGS, checkpoints)
        anew = Checkpoints(tmp_path / "anew", "key", CheckpointSettings(resume="never"))
        with pytest.raises(Stopped, match="begins anew"):
            train(build, *packed, SETTINGS, anew)
    assert stopped.value.signal == number
    assert signal.signal(number, as_it_was) == before
    assert [path.stem for path in files(tmp_path)] == ["00001-0000002"]
    assert same(train(build, *packed, SETTINGS, checkpoints), undisturbed)


FULL_DISK = """
import sys, logging
from pathlib import Path
import torch
from mmer.training.checkpoints import Checkpoints, CheckpointSettings, logger
from mmer.training.settings import TrainingSettings
from mmer.training.state import TrainingState
from mmer.systems.pooled.network import PooledNetwork
from mmer.systems.pooled.settings import PooledNetworkSettings
logging.basicConfig()
def state(width):
    network = PooledNetwork(PooledNetworkSettings(step_width=width), {"a": 20}, 3)
    return TrainingState(network, TrainingSettings(device="cpu"), 64)
kept = Checkpoints(Path(sys.argv[1]), "key", CheckpointSettings(seconds=0))
small = state(8)
kept.save(small)
small.step = 1
large = state(30_000)
large.step = 2
kept.save(large)
print(sorted(str(p.name) for p in Path(sys.argv[1]).rglob("*") if p.is_file()))
print(kept.restore(state(8)))
"""


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_whole_one(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    inside = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inside, "sh"]
    command += [str(disk), sys.executable, FULL_DISK]
    done = subprocess.run(command, capture_output=True, text=True)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no file system of one's own can be made here")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['00000-0000000.safetensors']", "True"]
    assert "No space left" in done.stderr
    assert "00000-0000000" in done.stderr


def test_nothing_in_a_checkpoint_can_run(training, tmp_path):
    with pytest.raises(PowerCutError):
        training(5)
    content = files(tmp_path)[-1].read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["mmer"])
    assert set(header) == {"state", "computed_with", "digest"}


def test_a_folder_that_cannot_be_written_is_said_and_the_training_goes_on(
    packed, building_pooled, tmp_path, caplog
):
    (tmp_path / "key").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        train(
            building_pooled(packed[0]), *packed, SETTINGS, Checkpoints(tmp_path, "key", EVERY_STEP)
        )
    assert "No checkpoint" in caplog.text
