"""One MLflow run for each cell of a comparison, inside the run of the comparison.

All have the same names of parameters and metrics, so that MLflow's pages can compare them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from mmer.registry.tracking import TrackedRun, open_run
from mmer.training.history import History


class CellRuns:
    """The runs of the cells that one `kedro run` has finished.

    They stay open until `close`, for figures on the test samples come from the comparison.
    """

    def __init__(self, project: Path) -> None:
        self._project = project
        self._runs: dict[str, TrackedRun] = {}

    def log(
        self,
        name: str,
        settings: Mapping[str, object],
        cost: Mapping[str, object],
        history: History,
        files: Iterable[Path],
        seconds: float,
    ) -> None:
        """Open the run of a cell, unless it is there, with all that is known of it.

        Args:
            name: Of the cell.
            settings: What decides it: system, seed, what was taken away, the system's settings.
            cost: Nested figures of what it took.
            files: To be kept among its artefacts.
            seconds: It has taken, so that the run's time says so.
        """
        if name in self._runs:
            return
        run = open_run(self._project, name, {"mmer.cell": name}, seconds=seconds)
        run.step_aside()
        self._runs[name] = run
        run.log_params(settings)
        run.log_metrics({"cost": cost})
        for epoch in history.epochs:
            run.log_metrics(epoch.metrics, epoch.epoch)
        for file in files:
            run.log_artifact(file, "cell")

    def figures(self, name: str, split: str, figures: Mapping[str, object]) -> None:
        """Log a cell's figures on a split."""
        if name in self._runs:
            self._runs[name].log_metrics({split: figures})

    def close(self, status: str) -> None:
        """End the runs."""
        while self._runs:
            self._runs.popitem()[1].close(status)
