"""The nodes of one run on Dask: which can run, who has them, how they ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from mmer.dask_cluster import Patience, lost
from mmer.errors import InputError

from .at_worker import NodeError, Run, run_node
from .board import Board, Standing

if TYPE_CHECKING:
    from distributed import Client, Future

SETTING = "DASK_SCHEDULER_ADDRESS"
_GPU_TAG, _GPU, _CELL = "gpu", "GPU", "CELL"
_SECONDS_WITHOUT_WORKERS = 30.0
_SECONDS_BETWEEN_LOOKS = 0.2

logger = logging.getLogger(__name__)


class Work:
    """The nodes of a run, and Dask to run them.

    Args:
        client: A connection to the scheduler.
        address: The scheduler's, as the user gave it.
        run: What workers are told.
        pipeline: The nodes.
        catalog: Their datasets, with versions fixed.

    Attributes:
        done: Names of nodes that ended well.
        failed: Node's name -> what went wrong.
    """

    def __init__(
        self, client: Client, address: str, run: Run, pipeline: Pipeline, catalog: Any
    ) -> None:
        self.done: set[str] = set()
        self.failed: dict[str, NodeError] = {}
        self._client, self._address, self._run, self._catalog = client, address, run, catalog
        self._total = len(pipeline.nodes)
        self._needs = {
            node: {before.name for before in needed}
            for node, needed in pipeline.node_dependencies.items()
        }
        self._todo = list(pipeline.nodes)
        self._futures: dict[str, Future] = {}
        self._wanted: dict[str, str] = {}  # node's name -> the resource that it takes, or ""
        self._begun: dict[str, str] = {}  # node's name -> the worker that began it last
        self._workers: dict[str, Any] = {}
        self._offered: set[str] = set()

    def do(self, board: Board) -> None:
        """Submit nodes as soon as they can run, until none is left that can.

        Raises:
            InputError: Workers or scheduler were lost; what was queued is cancelled.
        """
        patience = Patience(_SECONDS_WITHOUT_WORKERS)
        try:
            with self._told_of_beginnings():
                while self._todo or self._futures:
                    self._look_at_workers()
                    self._collect(board)
                    self._submit_ready()
                    if not self._futures:
                        return
                    if patience.is_over(self._can_go_on()):
                        raise self._lost("none left that can do what is left")
                    board.show(self._standing())
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
        except KeyboardInterrupt:
            logger.warning("Stopped: %s", self._how_far())
            raise
        except OSError as error:
            raise self._lost(error) from error
        finally:
            with suppress(OSError, TimeoutError):
                self._client.cancel(list(self._futures.values()), force=True)

    def _submit_ready(self) -> None:
        for node in [node for node in self._todo if self._needs[node] <= self.done]:
            self._todo.remove(node)
            self._wanted[node.name] = wanted = _resource(node, self._offered)
            self._futures[node.name] = self._client.submit(
                run_node,
                node.name,
                _pickled(node, self._catalog),
                self._run.to_json(),
                key=f"{node.name}-{uuid4().hex}",
                resources={wanted: 1} if wanted else None,
                pure=False,
            )

    def _collect(self, board: Board) -> None:
        """Take note of the nodes that have ended."""
        for name, future in list(self._futures.items()):
            if future.status == "pending":
                continue
            if future.status in ("cancelled", "lost"):
                raise self._lost("a scheduler that forgot them")
            del self._futures[name]
            if future.status == "finished":
                self.done.add(name)
            else:
                self.failed[name] = _why(future)
            # Else it would be done again if the worker that did it is lost.
            future.release()
            board.ended(name, self.failed.get(name), self._standing())

    def _look_at_workers(self) -> None:
        there = self._client.scheduler_info(n_workers=-1)["workers"]
        for address in self._workers.keys() - there.keys():
            at = [name for name in self._futures if self._begun.get(name) == address]
            text = "Lost the worker %s%s; others go on"
            logger.warning(text, address, f" at {', '.join(at)}" if at else "")
        for address in there.keys() - self._workers.keys():
            if (threads := there[address]["nthreads"]) > 1:
                text = "Worker %s has %d threads and runs one node at a time: --nthreads 1"
                logger.warning(text, address, threads)
        self._workers = there
        self._offered |= {name for one in there.values() for name in one["resources"]}

    def _can_go_on(self) -> bool:
        """Whether for everything that is on its way there is a worker that may have it."""
        now = {name for one in self._workers.values() for name in one["resources"]}
        wanted = {self._wanted[name] for name in self._futures}
        return bool(self._workers) and wanted <= {"", *now}

    @contextmanager
    def _told_of_beginnings(self) -> Iterator[None]:
        def note(event: tuple[float, dict[str, str]]) -> None:
            self._begun[event[1]["node"]] = event[1]["worker"]

        self._client.subscribe_topic(self._run.topic, note)
        yield
        self._client.unsubscribe_topic(self._run.topic)

    def _standing(self) -> Standing:
        on_their_way = list(self._futures)
        running = [name for name in on_their_way if self._begun.get(name) in self._workers]
        left = len(on_their_way) - len(running) + len(self._todo)
        return Standing(len(self.done), tuple(running), left, len(self.failed))

    def _lost(self, found: object) -> InputError:
        return lost(SETTING, self._address, found, f"Of the nodes, {self._how_far()}")

    def _how_far(self) -> str:
        return f"{len(self.done)} of {self._total} are done. The same command goes on from there."


def _resource(node: Node, offered: set[str]) -> str:
    """What of a worker's a node takes; "" if nothing."""
    if _GPU in offered:
        return _GPU if _GPU_TAG in node.tags else ""
    return _CELL if _CELL in offered else ""


def _pickled(node: Node, catalog: Any) -> bytes:
    """A node and the datasets that it loads and saves."""
    import cloudpickle

    part = copy(catalog)
    part._datasets = {name: catalog.get(name) for name in (*node.inputs, *node.outputs)}
    try:
        return cloudpickle.dumps((node, part))
    except Exception as error:  # whatever a dataset's or a function's own pickling raises
        expected = "a function and datasets that can be pickled"
        raise InputError(f"node {node.name}", "", expected, error) from error


def _why(future: Future) -> NodeError:
    from distributed import KilledWorker

    error = future.exception()
    if isinstance(error, NodeError):
        return error
    if isinstance(error, KilledWorker):
        return NodeError("every worker that tried it was lost; is there too little memory?")
    return NodeError(f"{type(error).__name__}: {error}".partition("\n")[0], is_mistake=True)
