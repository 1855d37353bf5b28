"""Who aligns makes no difference: one process, several, or the workers of a Dask scheduler."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mmer.corpora.corpus import Manifest
from mmer.corpora.ingestion import aligned_table
from mmer.errors import InputError

OpenToy = Callable[..., Manifest]


@pytest.fixture(scope="module")
def scheduler(toy: ModuleType) -> Iterator[str]:
    """Address of a scheduler with two workers, each a process of its own."""
    distributed = pytest.importorskip("distributed", reason="Dask is an extra")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


def table(manifest: Manifest, folder: Path) -> bytes:
    return aligned_table(manifest, "train", folder).path.read_bytes()


@pytest.fixture(scope="module")
def alone(open_toy: OpenToy, write_toy, tmp_path_factory) -> bytes:
    """The table as one process makes it."""
    place = tmp_path_factory.mktemp("alone")
    return table(open_toy(write_toy(place / "raw")), place)


def test_several_processes_make_the_same_table(open_toy, folder, alone, tmp_path):
    assert table(open_toy(folder, processes=2), tmp_path) == alone


@pytest.mark.slow
def test_dasks_workers_make_the_same_table(open_toy, folder, alone, tmp_path, scheduler):
    assert table(open_toy(folder, dask=scheduler), tmp_path) == alone


@pytest.mark.slow
def test_what_a_lost_worker_had_to_do_another_does(open_toy, folder, alone, tmp_path, scheduler):
    from distributed import Client

    manifest = open_toy(folder, dask=scheduler)
    with Client(scheduler, set_as_default=False) as client:
        lost, _ = client.run(os.getpid).values()
        (folder / "kill this worker").write_text(str(lost))
        assert table(manifest, tmp_path) == alone
        client.wait_for_workers(2, timeout=60)
        assert lost not in client.run(os.getpid).values()


@pytest.mark.slow
def test_bad_input_is_told_as_without_dask(open_toy, folder, tmp_path, scheduler):
    manifest = open_toy(folder, dask=scheduler)
    (folder / "cut what is mapped").touch()
    with pytest.raises(InputError, match="expected a file that stays as it is"):
        table(manifest, tmp_path)


def test_no_scheduler_no_workers_and_no_dask_are_named(open_toy, folder, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="Dask is an extra")
    monkeypatch.setattr("mmer.corpora.workers._SECONDS_TO_CONNECT", 1)
    manifest = open_toy(folder)

    def refusal(address: str) -> str:
        asked = manifest.model_copy(update={"settings": manifest.settings | {"dask": address}})
        with pytest.raises(InputError) as caught:
            table(asked, tmp_path)
        return str(caught.value)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    for address in (nobody, "nonsense"):
        assert f"ingestion.dask [{address}]: expected the address of a" in refusal(address)
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as idle:
        assert "expected workers, found none" in refusal(idle.scheduler_address)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install 'mmer[dask]'" in refusal(nobody)
