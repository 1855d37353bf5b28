"""A Kedro runner whose nodes are run by the workers of a running Dask scheduler."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from concurrent.futures import Executor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from kedro.io import DatasetError, MemoryDataset, Version
from kedro.io.core import generate_timestamp
from kedro.pipeline import Pipeline
from kedro.runner import AbstractRunner

from mmer.dask_cluster import configured_address, connected
from mmer.errors import InputError

from .at_worker import NodeError, Run
from .board import board
from .work import SETTING, Work

if TYPE_CHECKING:
    from pluggy import PluginManager

_SECONDS_TO_CONNECT = 10.0


class DaskRunner(AbstractRunner):
    """Runs every node on some worker of a Dask scheduler as soon as its inputs are there.

    The scheduler is the one that Dask's own configuration names (DASK_SCHEDULER_ADDRESS). Where
    workers come from is Dask's business: `dask worker ADDRESS --nthreads 1` on every machine, over
    SSH, Slurm (dask-jobqueue) or Kubernetes. They need this project installed, and must see the
    files that the catalog names under the same names.

    A worker that has a GPU says so: `CUDA_VISIBLE_DEVICES=0 dask worker ADDRESS --nthreads 1
    --resources GPU=1`, one worker for each. If there are such workers, nodes with the tag "gpu" run
    on them alone, one at a time. If there are none, but workers that offer CELL (`--resources
    CELL=1`), every node takes one CELL.

    Workers compute with as many threads as this process would, because another number gives other
    last bits. Where a machine has a worker for each of its processors, `OMP_NUM_THREADS=1 kedro
    run` is fastest: one thread here and there, and the bits of any other run with one.

    What a lost worker was at, another does again. A node that fails keeps back those that need what
    it makes, and no others.
    """

    def _get_executor(self, max_workers: int) -> Executor | None:
        return None  # nodes are submitted by `Work`

    def _run(
        self,
        pipeline: Pipeline,
        catalog: Any,
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        """Run all nodes; hooks of nodes and datasets are called on the workers.

        Raises:
            InputError: A dataset cannot be shared among processes; there is no scheduler, there are
                no workers, or they were lost on the way.
            FailedNodes: Some nodes failed; all that do not need them are done.
        """
        _refuse_what_stays_here(pipeline, catalog)
        if not pipeline.nodes:
            return
        address = configured_address()
        run, shared = Run.here(run_id, self._is_async), shared_catalog(pipeline, catalog, run_id)
        with connected(SETTING, address, _SECONDS_TO_CONNECT) as client:
            work = Work(client, address, run, pipeline, shared)
            with board(len(pipeline.nodes)) as shown:
                work.do(shown)
        for name in pipeline.all_outputs():
            catalog.release(name)
        if work.failed:
            there = ExceptionGroup("on the workers", list(work.failed.values()))
            raise FailedNodes(work.failed, len(work.done), len(pipeline.nodes)) from there


class FailedNodes(InputError):
    """Nodes that failed, each with the first line of why.

    Args:
        failed: Node's name -> what went wrong.
        done: How many nodes ended well.
        total: How many there were to run.
    """

    def __init__(self, failed: Mapping[str, NodeError], done: int, total: int) -> None:
        self.failed, self.done, self.total = dict(failed), done, total
        remedy = "What is done stays; the same command goes on from there."
        expected = f"{total} nodes to end well"
        super().__init__("run", "", expected, f"{len(failed)} that failed", remedy)

    def __str__(self) -> str:
        back = self.total - self.done - len(self.failed)
        head = f"{len(self.failed)} of {self.total} nodes failed, {self.done} are done"
        if back:
            head += f", {back} were not begun for want of what these make"
        why = [f"  {name}: {error.why}" for name, error in self.failed.items()]
        return "\n".join([f"{head}:", *why, self.remedy])


def shared_catalog(pipeline: Pipeline, catalog: Any, run_id: str | None) -> Any:
    """The catalog with versions fixed: what this run saves, and loads, on whatever machine.

    What nodes make is loaded as they saved it, not as another run has saved it since; of what this
    run does not make, all nodes load the version that is the latest now.
    """
    version, made = run_id or generate_timestamp(), pipeline.all_outputs()
    datasets = {}
    for name in pipeline.datasets():
        dataset = catalog.get(name)
        if asked := getattr(dataset, "_version", None):
            save, load = asked.save or version, asked.load
            if name in made:
                load = load or save
            else:
                with suppress(DatasetError):  # what is missing is the node's to report
                    load = dataset.resolve_load_version()
            dataset = copy.copy(dataset)
            dataset._version = Version(load, save)
        datasets[name] = dataset
    shared = copy.copy(catalog)
    shared._datasets = datasets
    return shared


def _refuse_what_stays_here(pipeline: Pipeline, catalog: Any) -> None:
    made = pipeline.all_outputs()
    for name in sorted(pipeline.datasets()):
        dataset = catalog.get(name)
        in_memory = name in made and isinstance(dataset, MemoryDataset)
        if in_memory or getattr(dataset, "_SINGLE_PROCESS", False):
            expected = "an entry that keeps a file, which every worker can open"
            remedy = "Give it such an entry in catalog.yml, or run without this runner."
            kind = type(dataset).__name__
            raise InputError(f"catalog entry {name}", "", expected, kind, remedy)
