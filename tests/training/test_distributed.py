"""Several processes train as one: same losses and weights, nothing lost, errors and stops told."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from pydantic import ValidationError

from mmer.errors import InputError
from mmer.pipelines.fitting import fit
from mmer.pipelines.ranks import Outcome
from mmer.pipelines.together import why
from mmer.provenance import digest
from mmer.samples.table import SampleTable
from mmer.systems import SYSTEMS
from mmer.systems.contract import Fit
from mmer.systems.storage import load_fitted
from mmer.training import distributed
from mmer.training.checkpoints import CheckpointSettings
from mmer.training.interruption import Stopped
from mmer.training.settings import TrainingSettings

from .conftest import SMALL_CARAT

CPU = torch.device("cpu")
NO_DROPOUT = {"specific_dropout": 0.0, "common_dropout": 0.0, "discriminator_dropout": 0.0}
NETWORKS = {
    "carat": {**SMALL_CARAT, "dropout": 0.0},
    "ramer": {**SMALL_CARAT, "dropout": 0.0, **NO_DROPOUT},
    "pooled": {"step_width": 8, "dropout": 0.0},
}
# 61 samples: the last batch is of one, which there are not enough of for two processes.
TRAINING = {
    "epochs": 3,
    "batch_size": 20,
    "device": "cpu",
    "modality_dropout": 0.2,
    "optimiser": {"learning_rate": 5e-3},
}


@pytest.fixture
def fitting(toy_table, tmp_path) -> Callable[..., Fit]:
    """(processes, system, network, kept, **training) -> what came out."""
    train, valid = toy_table(61), toy_table(31, seed=1, split="valid")

    def run(
        processes: int,
        system: str = "pooled",
        network: dict | None = None,
        name: str = "",
        kept: CheckpointSettings | None = None,
        tables: tuple[SampleTable, SampleTable] = (train, valid),
        **training: object,
    ) -> Fit:
        settings = SYSTEMS[system].settings.model_validate(
            {
                "network": {**NETWORKS[system], **(network or {})},
                "training": {**TRAINING, "processes": processes, **training},
            }
        )
        folder = tmp_path / (name or f"of {processes}")
        kept = kept or CheckpointSettings(seconds=3600)
        return fit(SYSTEMS[system], None, *tables, settings, folder, kept)

    return run


def check_same(one: Fit, other: Fit) -> None:
    assert one.fitted.info == other.fitted.info
    for name, expected in one.fitted.arrays.items():
        torch.testing.assert_close(other.fitted.arrays[name], expected, rtol=0, atol=1e-5)
    assert one.history.kept == other.history.kept
    for a, b in zip(one.history.epochs, other.history.epochs, strict=True):
        assert b.losses == pytest.approx(a.losses, abs=1e-5)
        assert b.selection == pytest.approx(a.selection, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "processes", "network"),
    [
        ("carat", 2, {}),
        ("carat", 3, {}),
        # a level that nothing asks for: its parameters have no gradient
        ("carat", 2, {"parts": {"alpha": False, "beta": False}}),
        ("ramer", 2, {}),
        ("pooled", 2, {}),
    ],
)
def test_several_processes_train_as_one(fitting, system, processes, network, caplog):
    with caplog.at_level(logging.INFO, "mmer.training.progress"):
        one, several = (fitting(n, system, network) for n in (1, processes))
    check_same(one, several)
    told = [r for r in caplog.records if r.name == "mmer.training.progress"]
    assert [r.step for r in told] == [1, 2, 3, 1, 2, 3]
    assert told[-1].metrics == several.history.epochs[-1].metrics


@pytest.mark.slow
@pytest.mark.parametrize("system", ["carat", "ramer", "pooled"])
def test_several_fill_in_for_absent_modalities_as_one(fitting, system):
    absent = {"fill": "prototypes", "distillation": 0.5}
    one, several = (fitting(n, system, absent=absent) for n in (1, 2))
    check_same(one, several)
    assert any(name.startswith("fill.") for name in one.fitted.arrays)
    assert several.history.epochs[-1].losses["distillation"] > 0


@pytest.mark.slow
def test_what_is_drawn_repeats(fitting):
    dropped = {"network": {"dropout": 0.5}, "epochs": 1}
    first, again = (fitting(2, "pooled", name=name, **dropped) for name in "ab")
    assert first.fitted.digest == again.fitted.digest


# What each of some processes does; it prints, and fails by an assertion.
RANKS = """
import os, sys, torch, torch.distributed as dist
import numpy as np
from mmer.training import distributed
from mmer.training.distributed import gathered, own_share, sharing, team

CPU = torch.device("cpu")
with team(CPU):
    rank, count = dist.get_rank(), 7
    assert distributed.size() == 3
    x = torch.arange(14.0).view(2, 7).requires_grad_()
    own = torch.from_numpy(own_share(count))
    torch.manual_seed(0)
    with sharing(count, (1, 2, 3), CPU):
        before = torch.rand(3)
        whole = gathered(x[:, own], dim=1)
        after = torch.rand(3)
    assert torch.equal(whole, x)
    weights = torch.arange(14.0).view(2, 7) ** 2
    (whole * weights).sum().backward()
    dist.all_reduce(x.grad)
    # what DDP makes of it, a mean over processes, is the gradient of the whole
    torch.testing.assert_close(x.grad / 3, weights)
    for value, differ in ((before, True), (after, False)):
        everyone = [torch.empty(3) for _ in range(3)]
        dist.all_gather(everyone, value)
        assert torch.equal(everyone[0], everyone[1]) != differ
    assert [bool(x) for x in gathered(torch.tensor([True]))] == [True], "outside of a step"
    with sharing(4, (1,), CPU):
        share = own_share(4)
        assert gathered(torch.from_numpy(share)).tolist() == [0, 1, 2, 3]
    with sharing(1, (1,), CPU):
        assert gathered(torch.tensor([[True]])).tolist() == [[True]]
    assert distributed.agreed(15 if rank == 1 else None) == 15
    assert distributed.agreed(None) is None
    assert distributed.from_first(b"told" if rank == 0 else None) == b"told"
    assert distributed.from_first(None) is None
    rows = np.arange(10).reshape(5, 2)
    mine = rows[distributed.every_nth(5)]
    assert np.array_equal(distributed.interleaved(mine, 5), rows)
    assert distributed.interleaved(rows[:1][distributed.every_nth(1)], 1).tolist() == [[0, 1]]
    try:
        with sharing(4, (1,), CPU):
            pass
    except distributed.InputError as error:
        assert "gathered" in str(error)
    else:
        raise AssertionError("a network that joins nothing was taken")
"""


@pytest.mark.slow
def test_what_the_processes_say_to_each_other(tmp_path):
    program = tmp_path / "ranks.py"
    program.write_text(RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=3", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def ranks(monkeypatch) -> Callable[[int, int], None]:
    """(rank, of how many): be that."""

    def be(rank: int, of: int) -> None:
        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist, "get_world_size", lambda: of)
        monkeypatch.setattr(dist, "get_rank", lambda: rank)

    return be


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 64])
def test_shares_are_of_one_size_and_lose_nothing(ranks, processes, count):
    shares, scored = [], []
    for rank in range(processes):
        ranks(rank, processes)
        shares.append(distributed.own_share(count))
        scored.extend(distributed.every_nth(count))
    assert len({len(share) for share in shares}) == 1
    assert np.concatenate(shares)[:count].tolist() == list(range(count))
    assert set(np.concatenate(shares)[count:]) <= {count - 1}
    assert sorted(scored) == list(range(count))


def test_alone_there_is_nothing_to_share():
    x = torch.rand(3, requires_grad=True)
    with distributed.sharing(3, (1,), CPU):
        assert distributed.gathered(x) is x
    assert distributed.size() == 1
    assert distributed.is_first()
    assert distributed.from_first(b"x") == b"x"
    assert (distributed.agreed(15), distributed.agreed(None)) == (15, None)
    rows = np.ones((3, 2))
    assert distributed.interleaved(rows, 3) is rows


def test_how_many_processes_is_no_part_of_the_recipe():
    system = SYSTEMS["pooled"]
    one, two = (
        system.settings.model_validate({"training": {"processes": n, "rendezvous": given}})
        for n, given in ((1, {}), (2, {"nnodes": 2}))
    )
    assert system.recipe(one) == system.recipe(two)
    assert digest(one.model_dump(mode="json")) == digest(two.model_dump(mode="json"))
    assert system.with_seed(two, 3).training.processes == 2
    assert (one.training.together, two.training.together) == (False, True)


def test_options_that_torchrun_does_not_have_are_refused():
    with pytest.raises(ValidationError, match="rdzv_endpoind"):
        TrainingSettings(rendezvous={"rdzv_endpoind": "host:1"})


class Children:
    """The processes that this one has started, as they come and go."""

    def __init__(self) -> None:
        self.me = os.getpid()

    def ranks(self) -> dict[int, int]:
        """Rank -> process id."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            named = dict(v.split(b"=", 1) for v in variables if b"=" in v)
            if b"mmer.pipelines.ranks" in command and b"RANK" in named and self.owns(folder):
                found[int(named[b"RANK"])] = int(folder.name)
        return found

    def owns(self, folder: Path) -> bool:
        """Whether it is a grandchild of this process."""
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            above = Path(f"/proc/{parent}/stat").read_text()
        except OSError:
            return False
        return int(above.rpartition(")")[2].split()[1]) == self.me


class AfterEpoch(logging.Handler):
    """Does something once, when an epoch is told."""

    def __init__(self, number: int, act: Callable[[], None]) -> None:
        super().__init__()
        self.number, self.act = number, act

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "step", 0) == self.number:
            self.number = -1
            threading.Thread(target=self.act).start()


@pytest.fixture
def after_epoch() -> Iterator[Callable[[int, Callable[[], None]], None]]:
    logger, added = logging.getLogger("mmer.training.progress"), []

    def add(number: int, act: Callable[[], None]) -> None:
        added.append(AfterEpoch(number, act))
        logger.addHandler(added[-1])

    level = logger.level
    logger.setLevel(logging.INFO)
    yield add
    logger.setLevel(level)
    for handler in added:
        logger.removeHandler(handler)


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_whole_and_another_number_goes_on(fitting, after_epoch):
    children, ended = Children(), []

    def kill() -> None:
        ranks = children.ranks()
        ended.extend([time.monotonic(), *ranks.values()])
        os.kill(ranks[1], signal.SIGKILL)

    after_epoch(2, kill)
    kept = CheckpointSettings(seconds=0)
    long = {"epochs": 3000, "name": "same"}
    with pytest.raises(InputError, match=r"rank 1 was ended by SIGKILL, as where memory runs out"):
        fitting(2, kept=kept, **long)
    assert time.monotonic() - ended[0] < 30
    assert not any(Path(f"/proc/{pid}").exists() for pid in ended[1:])


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.3, 4.0])
def test_a_signal_in_the_first_seconds_waits_until_the_training_listens(fitting, seconds):
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    with pytest.raises(Stopped) as stopped:
        fitting(2, epochs=3000)
    timer.join()
    assert stopped.value.signal == signal.SIGTERM


@pytest.mark.slow
@pytest.mark.parametrize("other", [1, 3])
def test_stopped_by_a_signal_it_goes_on_with_another_number(fitting, after_epoch, other, caplog):
    after_epoch(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    many = {"epochs": 40, "system": "carat"}
    with pytest.raises(Stopped, match=r"of epoch \d+|epoch \d+ of 40") as stopped:
        fitting(2, name="same", **many)
    assert stopped.value.signal == signal.SIGTERM
    assert stopped.value.checkpoint.exists()
    with caplog.at_level(logging.INFO):
        gone_on = fitting(other, name="same", **many)
    assert "It goes on after" in caplog.text
    assert f"processes 2 -> {other}" in caplog.text
    assert gone_on.history.earlier_seconds > 0
    undisturbed = fitting(1, name="undisturbed", **many)
    assert len(gone_on.history.epochs) == 40
    for a, b in zip(undisturbed.history.epochs[:6], gone_on.history.epochs[:6], strict=True):
        assert b.losses == pytest.approx(a.losses, abs=1e-4)


@pytest.mark.slow
def test_what_a_process_refuses_is_refused(fitting):
    with pytest.raises(InputError, match=r"toy valid samples.*at least 50, one whole batch"):
        fitting(2, drop_last_validation_batch=True, batch_size=50)
    with pytest.raises(InputError, match=r"checkpoints\.resume.*a checkpoint of this training"):
        fitting(2, kept=CheckpointSettings(resume="required"))


@pytest.mark.slow
def test_what_torchrun_does_not_take_is_said(fitting, capfd):
    with pytest.raises(InputError, match=r"could not start.*above is why"):
        fitting(2, rendezvous={"nnodes": "some"})
    assert "some" in capfd.readouterr().err


def test_of_several_that_failed_the_cause_is_told():
    lost = Outcome(failed="RuntimeError: connection closed", ended=2.0)
    first = Outcome(failed="ValueError: of its own", ended=1.0)
    assert why({0: 1, 1: 1}, {0: lost, 1: first}) == (
        "that the process of rank 1 failed: ValueError: of its own"
    )
    assert "rank 2 was ended by SIGKILL" in why({0: 1, 2: -9}, {0: lost})
    # ended by torchrun, for another had failed
    assert "rank 1 failed" in why({0: -15, 1: 1}, {1: first})
    assert "rank 0 was ended by SIGSEGV" in why({1: -15, 0: -11}, {})


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return listening.getsockname()[1]


MACHINE = """
import os, sys
from pathlib import Path
from mmer.pipelines.fitting import fit
from mmer.samples.table import SampleTable
from mmer.systems import SYSTEMS
from mmer.systems.storage import save_fitted
from mmer.training.checkpoints import CheckpointSettings
place, train, valid, settings = sys.argv[1:]
system = SYSTEMS["carat"]
tables = SampleTable(Path(train)), SampleTable(Path(valid))
settings = system.settings.model_validate_json(settings)
found = fit(system, None, *tables, settings, Path(place, "kept"), CheckpointSettings())
save_fitted(found.fitted, Path(place, "fitted"))
print(found.fitted.digest)
"""


@pytest.mark.slow
def test_two_machines_find_each_other(fitting, toy_table, tmp_path):
    """As two machines that share nothing, each with its own folder: here, on one."""
    tables = toy_table(61), toy_table(31, seed=1, split="valid")
    meeting = {"nnodes": 2, "rdzv_backend": "c10d", "rdzv_endpoint": f"localhost:{free_port()}"}
    settings = {"network": NETWORKS["carat"], "training": {**TRAINING, "rendezvous": meeting}}
    machines = []
    for number in range(2):
        place = tmp_path / f"machine{number}"
        place.mkdir()
        command = [sys.executable, "-c", MACHINE, str(place), *(str(t.path) for t in tables)]
        command.append(json.dumps(settings))
        machines.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    digests = [machine.communicate()[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0]
    assert digests[0] == digests[1] != ""
    one = fitting(1, "carat").fitted
    both = load_fitted(tmp_path / "machine1" / "fitted")
    for name, expected in one.arrays.items():
        torch.testing.assert_close(both.arrays[name], expected, rtol=0, atol=1e-5)
