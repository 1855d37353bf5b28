"""On Dask's workers, nodes give what they give in sequence, whoever is lost on the way."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from kedro.io import DataCatalog, MemoryDataset, Version
from kedro.pipeline import Pipeline, node

from mmer.datasets.files import TextFile
from mmer.errors import InputError
from mmer.runners import DaskRunner, dask_runner, work
from mmer.runners.dask_runner import FailedNodes, shared_catalog

ROOT = Path(__file__).resolve().parents[1]
RUN_ID = "2026-01-01T00.00.00.000Z"
LATER = "2027-01-01T00.00.00.000Z"
PIPELINE = "compare_m3ed"
DASK = Path(sys.executable).with_name("dask")
WORKERS = 2


def until(found: Callable[[], Any], seconds: float = 120) -> Any:
    """What is found, once something is."""
    end = time.monotonic() + seconds
    while not (there := found()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return there


class Cluster(NamedTuple):
    """A scheduler and its workers, as processes that a user has started."""

    address: str
    processes: list[subprocess.Popen]

    def run(self, function: Callable) -> dict[str, Any]:
        """Address of each worker -> what the function gives there."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            return client.run(function)

    def pids(self) -> list[int]:
        return list(self.run(os.getpid).values())

    def pid_at(self, key: str) -> int:
        """The process of a worker that has a task whose key begins so, once there is one."""
        from distributed import Client

        def at(dask_scheduler: Any) -> str:
            having = (w for w in dask_scheduler.workers.values() for t in w.processing if has(t))
            return next((worker.address for worker in having), "")

        def has(task: Any) -> bool:
            return task.key.startswith(key)

        with Client(self.address, set_as_default=False) as client:
            pids = client.run(os.getpid)
            return pids[until(lambda: client.run_on_scheduler(at))]


@pytest.fixture(scope="session")
def start(tmp_path_factory) -> Iterator[Callable[..., Cluster]]:
    """Starts `dask scheduler` and, for each of the options given, `dask worker`."""
    distributed = pytest.importorskip("distributed", reason="Dask is an extra")
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    started: list[subprocess.Popen] = []

    def begin(folder: Path, *command: str) -> subprocess.Popen:
        log = (folder / "log").open("ab")
        options = {"cwd": folder, "stdout": log, "stderr": log, "start_new_session": True}
        started.append(subprocess.Popen([DASK, *command, "--no-dashboard"], **options))
        return started[-1]

    def cluster(*workers: str) -> Cluster:
        folder = tmp_path_factory.mktemp("cluster")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        processes = [begin(folder, "scheduler", "--host", address)]
        for options in workers:
            own = ("worker", address, "--nthreads", "1", *options.split())
            processes.append(begin(folder, *own))
        with distributed.Client(address, timeout=60, set_as_default=False) as client:
            until(lambda: len(client.nthreads()) == len(workers))
        return Cluster(address, processes)

    yield cluster
    for process in started:
        kill_all(process)


def kill_all(process: subprocess.Popen) -> None:
    """A process and those that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


@pytest.fixture(scope="session")
def cluster(start) -> Cluster:
    """Two workers, the first of which says that it has a GPU."""
    return start("--resources GPU=1", "")


@pytest.fixture
def dask_run(cluster, monkeypatch) -> Callable[..., None]:
    """Run nodes on the cluster."""
    import dask

    monkeypatch.chdir(ROOT)

    def run(nodes: list, catalog: DataCatalog, run_id: str = RUN_ID) -> None:
        with dask.config.set({"scheduler-address": cluster.address}):
            DaskRunner().run(Pipeline(nodes), catalog, run_id=run_id)

    return run


@pytest.fixture
def texts(tmp_path) -> Callable[..., DataCatalog]:
    """A catalog of versioned texts."""

    def catalog(*names: str, kind: type[TextFile] = TextFile, version: str = RUN_ID) -> DataCatalog:
        files = {n: kind(filepath=str(tmp_path / n), version=Version(None, version)) for n in names}
        return DataCatalog({**files, "params:word": MemoryDataset("word")})

    return catalog


def joined(*texts: str) -> str:
    return "+".join(texts)


def refuse(_: str) -> str:
    raise InputError("settings", "rate", "a number above 0", 0)


def divide(_: str) -> str:
    return str(1 / 0)


def count_threads(_: str) -> str:
    return str(torch.get_num_threads())


def say_where(_: str) -> str:
    from distributed import get_worker

    return get_worker().address


def test_nodes_give_each_other_files(dask_run, texts):
    catalog = texts(*"abcd")
    nodes = [
        node(joined, ["b", "c"], "d"),
        node(joined, ["a", "params:word"], "b"),
        node(joined, ["a", "a"], "c"),
        node(joined, "params:word", "a"),
    ]
    dask_run(nodes, catalog)
    assert catalog.load("d") == "word+word+word+word"


def test_a_failed_node_keeps_back_only_those_that_need_it(dask_run, texts, caplog):
    catalog = texts(*"abcdef")
    nodes = [
        node(joined, "params:word", "a", name="first"),
        node(refuse, "a", "b", name="refuses"),
        node(divide, "a", "c", name="divides"),
        node(joined, "b", "d", name="waits"),
        node(joined, "a", "e", name="goes_on"),
    ]
    with pytest.raises(FailedNodes) as caught:
        dask_run(nodes, catalog)
    assert str(caught.value).splitlines() == [
        "2 of 5 nodes failed, 2 are done, 1 were not begun for want of what these make:",
        *sorted(
            [
                "  divides: ZeroDivisionError: division by zero",
                "  refuses: settings [rate]: expected a number above 0, found 0.",
            ],
            key=lambda line: list(caught.value.failed).index(line.split(":")[0].strip()),
        ),
        "What is done stays; the same command goes on from there.",
    ]
    assert [name for name in "abcde" if catalog.exists(name)] == ["a", "e"]
    stacks = [record.getMessage() for record in caplog.records if "1 / 0" in record.getMessage()]
    assert len(stacks) == 1


def test_workers_compute_with_as_many_threads_as_here(dask_run, texts):
    before, catalog = torch.get_num_threads(), texts("a")
    try:
        torch.set_num_threads(3)
        dask_run([node(count_threads, "params:word", "a")], catalog)
    finally:
        torch.set_num_threads(before)
    assert catalog.load("a") == "3"


def test_nodes_for_a_gpu_run_where_one_is_offered(dask_run, texts, cluster):
    from distributed import Client

    catalog = texts(*"abcd")
    dask_run([node(say_where, "params:word", name, tags="gpu") for name in "abcd"], catalog)
    with Client(cluster.address, set_as_default=False) as client:
        there = client.scheduler_info()["workers"]
    (offering,) = (address for address, one in there.items() if "GPU" in one["resources"])
    assert {catalog.load(name) for name in "abcd"} == {offering}


@pytest.mark.parametrize(
    ("offered", "asked"),
    [(set(), ["", ""]), ({"CELL"}, ["CELL", "CELL"]), ({"CELL", "GPU"}, ["GPU", ""])],
)
def test_what_a_node_asks_for(offered, asked):
    nodes = [node(joined, "a", "b", tags="gpu"), node(joined, "a", "c")]
    assert [work._resource(one, offered) for one in nodes] == asked


class DeadlyOnce(TextFile):
    """Kills the first process that saves "b"."""

    def write(self, path: Path, data: str) -> None:
        mark = Path(f"{self._filepath}.mark")
        if self._filepath.name == "b" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        super().write(path, data)


def both(word: str) -> tuple[str, str]:
    return word, word


@pytest.mark.slow
def test_what_a_lost_worker_left_is_removed_and_made_again(dask_run, texts, cluster, tmp_path):
    catalog, before = texts("a", "b", kind=DeadlyOnce), set(cluster.pids())
    earlier = texts("a", version="2025-01-01T00.00.00.000Z")
    earlier.save("a", "of another run")
    dask_run([node(both, "params:word", ["a", "b"])], catalog)
    assert (tmp_path / "b.mark").exists()
    assert catalog.load("a") == catalog.load("b") == "word"
    assert (tmp_path / "a" / "2025-01-01T00.00.00.000Z" / "a").read_text() == "of another run"
    assert until(lambda: len(pids := set(cluster.pids())) == WORKERS and pids != before)


def test_what_this_run_has_made_is_loaded_and_no_later_version(texts):
    pipeline = Pipeline([node(joined, "b", "c"), node(joined, "a", "b")])
    mine, others = texts(*"abc"), texts(*"abc", version=LATER)
    others.save("a", "there before")
    mine.save("b", "mine")
    shared = shared_catalog(pipeline, mine, RUN_ID)
    others.save("b", "another's")
    assert shared.load("b") == "mine"
    assert shared.load("a") == "there before"
    texts("a", version="2028-01-01T00.00.00.000Z").save("a", "since")
    assert shared.load("a") == "there before"


@pytest.mark.parametrize("name", ["b", "c"])
def test_what_would_stay_in_memory_is_named(texts, name):
    pipeline = Pipeline([node(joined, "a", "b"), node(joined, "b", "c")])
    catalog = texts(*{"a", "b", "c"} - {name})
    catalog.save("a", "word")
    with pytest.raises(InputError, match=f"catalog entry {name}: .*found MemoryDataset"):
        DaskRunner().run(pipeline, catalog)


def test_no_scheduler_no_workers_and_no_dask_are_named(texts, monkeypatch, start):
    import dask

    monkeypatch.setattr(dask_runner, "_SECONDS_TO_CONNECT", 1)

    def refusal(address: str | None) -> str:
        with (
            dask.config.set({"scheduler-address": address}),
            pytest.raises(InputError) as caught,
        ):
            DaskRunner().run(Pipeline([node(joined, "params:word", "a")]), texts("a"))
        return str(caught.value)

    assert "DASK_SCHEDULER_ADDRESS: expected the address" in refusal(None)
    assert "`dask worker ADDRESS --nthreads 1`" in refusal(None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert f"[{nobody}]: expected the address of a running Dask scheduler" in refusal(nobody)
    assert "expected workers, found none" in refusal(start().address)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install 'mmer[dask]'" in refusal(nobody)


def sleep(_: str) -> str:
    time.sleep(600)
    return ""


@pytest.mark.slow
def test_a_run_ends_if_all_workers_are_lost(start, texts, monkeypatch):
    import dask

    monkeypatch.setattr(work, "_SECONDS_WITHOUT_WORKERS", 2)
    alone = start("")

    def kill(*_: object) -> None:
        kill_all(alone.processes[1])

    monkeypatch.setattr(work.Work, "_standing", _then(work.Work._standing, kill))
    with dask.config.set({"scheduler-address": alone.address}):
        pipeline = Pipeline([node(sleep, "params:word", "a")])
        with pytest.raises(InputError, match=r"none left .*0 of 1 are done"):
            DaskRunner().run(pipeline, texts("a"))


def _then(function: Callable, more: Callable) -> Callable:
    def both(*arguments: Any) -> Any:
        more()
        return function(*arguments)

    return both


class Project(NamedTuple):
    """A copy of this project's configuration, in which nothing has run."""

    folder: Path
    address: str

    def start(self, *options: str, runner: str = "mmer.runners.DaskRunner") -> subprocess.Popen:
        """Begin `kedro run`; as the workers' default is one thread, with two."""
        known = {"DASK_SCHEDULER_ADDRESS": self.address, "OMP_NUM_THREADS": "2", "COLUMNS": "300"}
        command = ["run", f"--pipelines={PIPELINE}", "--env=test", f"--runner={runner}", *options]
        return subprocess.Popen(
            [sys.executable, "-m", "kedro", *command],
            cwd=self.folder,
            env={**os.environ, **known, "DO_NOT_TRACK": "1", "OMP_WAIT_POLICY": "PASSIVE"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *options: str, **more: str) -> tuple[int, str]:
        process = self.start(*options, **more)
        told, _ = process.communicate()
        return process.returncode, told

    def made(self) -> dict[str, bytes]:
        """What matters, by name without version -> its bytes."""
        kinds = "model.safetensors", "test_scores.parquet", "calibration.json"
        files = [*self.folder.glob("data/08_*/test/m3ed/compared_systems.json/*/*")]
        for kind in kinds:
            files += self.folder.glob(f"data/0[67]_*/test/m3ed/*/{kind}/*/*")
        return {
            str(path.parent.parent.relative_to(self.folder)): path.read_bytes() for path in files
        }


@pytest.fixture
def new_project(cluster, tmp_path) -> Callable[[], Project]:
    return lambda: _project(tmp_path / "project", cluster.address)


def _project(folder: Path, address: str) -> Project:
    for part in ("src", "conf/local"):
        (folder / part).mkdir(parents=True)
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    ignored = shutil.ignore_patterns("local")
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=ignored, dirs_exist_ok=True)
    return Project(folder, address)


@pytest.fixture(scope="module")
def in_sequence(cluster, tmp_path_factory) -> dict[str, bytes]:
    """What a run without Dask makes."""
    project = _project(tmp_path_factory.mktemp("sequence") / "project", cluster.address)
    code, told = project.run(runner="SequentialRunner")
    assert code == 0, told
    made = project.made()
    assert len([name for name in made if name.endswith("model.safetensors")]) == 3
    return made


@pytest.mark.slow
def test_two_workers_make_the_bits_of_the_sequential_run(new_project, in_sequence):
    project = new_project()
    code, told = project.run()
    assert code == 0, told
    assert project.made() == in_sequence
    assert re.search(r"done\. (\d+) done, 0 running, 0 left", told)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["alignment", "training"])
def test_a_killed_worker_changes_nothing(new_project, in_sequence, cluster, stage):
    project = new_project()
    process = project.start()
    os.kill(cluster.pid_at(f"{stage}."), signal.SIGKILL)
    told, _ = process.communicate()
    assert process.returncode == 0, told
    assert "Lost the worker" in told
    assert project.made() == in_sequence


@pytest.mark.slow
def test_a_killed_run_goes_on_when_it_is_started_again(new_project, in_sequence, cluster):
    project = new_project()
    process = project.start()
    os.kill(cluster.pid_at("training."), signal.SIGKILL)
    until(lambda: [*project.folder.glob("data/06_models/test/m3ed/*/model.safetensors/*/*")])
    process.kill()
    process.communicate()
    code, told = project.run()
    assert code == 0, told
    assert project.made() == in_sequence


@pytest.mark.slow
def test_one_system_that_fails_does_not_lose_the_other(new_project, in_sequence):
    project = new_project()
    code, told = project.run("--params=m3ed.pooled.training.selection_share=0.001")
    assert code == 1
    failed = re.findall(r"^  \S+\.pooled_seed_([12])\.\S+: .*\[selection_share\]", told, re.M)
    assert sorted(failed) == ["1", "2"]
    assert re.search(r"^Error: 2 of \d+ nodes failed, \d+ are done", told, re.M)
    assert "the same command goes on from there" in told
    assert "Traceback" not in told
    others = {name: content for name, content in in_sequence.items() if "label_prior" in name}
    assert others
    assert project.made() == others


@pytest.mark.slow
def test_an_interrupted_run_says_how_far_it_is(new_project, cluster):
    project = new_project()
    process = project.start()
    cluster.pid_at("alignment.")
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(r"Stopped: \d+ of \d+ are done\. The same command goes on", told)
    assert "Traceback" not in told
