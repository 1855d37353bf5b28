"""One MLflow run for each cell of a comparison, inside the run of the comparison.

All have the same names of parameters and metrics, so that MLflow's pages can compare them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from mmer.registry.tracking import TrackedRun, open_run
from mmer.training.history import History


class CellRuns:
    """The runs of the cells that one `kedro run` has finished, or taken from an earlier one.

    They stay open until `close`, for figures on the test samples come from the comparison.
    """

    def __init__(self, project: Path) -> None:
        self._project, self._began = project, time.time()
        self._runs: dict[str, tuple[TrackedRun, float]] = {}  # and when the training ended

    def log(
        self,
        name: str,
        settings: Mapping[str, object],
        history: History,
        files: Iterable[Path],
        seconds: float,
        ended: float,
    ) -> None:
        """Open the run of a cell, unless it is there, with all that is known of its training.

        Args:
            name: Of the cell.
            settings: What decides it: system, seed, what was taken away, the system's settings.
            files: To be kept among its artefacts.
            seconds: That the training took.
            ended: When it ended, in seconds since 1970.
        """
        if name in self._runs:
            return
        tags = {"mmer.cell": name, "mmer.taken_from_earlier_run": ended < self._began}
        run = open_run(self._project, name, tags, began=ended - seconds)
        run.step_aside()
        self._runs[name] = run, ended
        run.log_params(settings)
        for epoch in history.epochs:
            run.log_metrics(epoch.metrics, epoch.epoch)
        for file in files:
            run.log_artifact(file, "cell")

    def log_metrics(self, name: str, metrics: Mapping[str, object]) -> None:
        """Log nested figures of a cell."""
        if name in self._runs:
            self._runs[name][0].log_metrics(metrics)

    def close(self) -> None:
        """End the runs: what has a receipt has ended well, however the comparison ends."""
        while self._runs:
            run, ended = self._runs.popitem()[1]
            run.close("FINISHED", ended)
