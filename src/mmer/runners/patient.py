"""A Kedro runner that goes on after a node has failed, with the nodes that do not need it."""

from __future__ import annotations

import logging
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any

from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner, Task

from .at_worker import NodeError, told_in_one_line
from .dask_runner import FailedNodes

if TYPE_CHECKING:
    from pluggy import PluginManager

logger = logging.getLogger(__name__)


class PatientRunner(SequentialRunner):
    """Runs one node after the other. One that fails keeps back those that need what it makes, and
    no others: what comparisons are run with, unless another runner is asked for.
    """

    def _run(
        self,
        pipeline: Pipeline,
        catalog: Any,
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        """Run all nodes that can be run.

        Raises:
            FailedNodes: Some failed, and others were done nevertheless.
            Exception: That of a node, if nothing could be done after it failed.
        """
        loads = Counter(chain.from_iterable(node.inputs for node in pipeline.nodes))
        lost: set = set()
        failed: dict[str, Exception] = {}
        done, after = 0, 0
        for node in pipeline.nodes:
            if pipeline.node_dependencies[node] & lost:
                lost.add(node)
                continue
            try:
                Task(node, catalog, self._is_async, hook_manager, run_id).execute()
            except Exception as error:
                lost.add(node)
                failed[node.name] = error
                logger.error("%s failed, others go on: %s", node.name, told_in_one_line(error)[0])
                continue
            done, after = done + 1, after + bool(failed)
            logger.info("%s: done, %d of %d", node.name, done, len(pipeline.nodes))
            self._release_datasets(node, catalog, loads, pipeline)
        if failed and not after:
            raise next(iter(failed.values()))
        if failed:
            told = {name: NodeError(*told_in_one_line(error)) for name, error in failed.items()}
            there = ExceptionGroup("in nodes", list(failed.values()))
            raise FailedNodes(told, done, len(pipeline.nodes)) from there
