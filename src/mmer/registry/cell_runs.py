"""One MLflow run for each cell of a comparison, inside the run of the comparison.

All have the same names of parameters and metrics, so that MLflow's pages can compare them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from mmer.registry.tracking import TrackedRun, current_run, open_run
from mmer.training.history import History

EVERY_EPOCH = "train/total"
"""A metric that every epoch has."""
_CELL = "mmer.cell"


class CellRuns:
    """The runs of the cells that one `kedro run` has finished, or taken from an earlier one.

    Each has ended well once it is here, for it has a receipt, whatever becomes of the comparison.
    Figures on the test samples come later, from the comparison. A comparison that was killed and
    goes on fills the runs that its cells have already.
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
        run, told = self._opened(name, began=ended - seconds, ended=ended)
        self._runs[name] = run, ended
        run.log_params(settings)
        for epoch in history.epochs:
            if epoch.epoch not in told:
                run.log_metrics(grouped(epoch.metrics), epoch.epoch)
        for file in files:
            run.log_artifact(file, "cell")
        run.close("FINISHED", ended)

    def _opened(self, name: str, began: float, ended: float) -> tuple[TrackedRun, set[int]]:
        """The run of a cell, and the epochs that it has already."""
        parent = current_run()
        if parent and parent.goes_on and (found := parent.inside(**{_CELL: name})):
            run = TrackedRun(parent.client, found, parent.uri, name)
            return run, run.steps_of(EVERY_EPOCH)
        tags = {_CELL: name, "mmer.taken_from_earlier_run": ended < self._began}
        run = open_run(self._project, name, tags, began=began)
        run.step_aside()
        return run, set()

    def log_metrics(self, name: str, metrics: Mapping[str, object]) -> None:
        """Log nested figures of a cell."""
        if name in self._runs:
            self._runs[name][0].log_metrics(metrics)

    def close(self) -> None:
        """Deliver what could not be delivered."""
        while self._runs:
            run, ended = self._runs.popitem()[1]
            run.close("FINISHED", ended)


def grouped(metrics: Mapping[str, float], owner: str = "") -> dict[str, float]:
    """Metrics by the names that MLflow has for them: group, then the owner if it is not the run's
    own system, then what it is. "test/micro_f1", "train/some_system/total".
    """
    found = {}
    for name, value in metrics.items():
        group, _, what = name.rpartition("/")
        found["/".join(part for part in (group or "train", owner, what) if part)] = value
    return found
