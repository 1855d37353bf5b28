"""Kedro's side of tracking: one MLflow run per `kedro run`, whichever runner runs it.

With `ParallelRunner` nodes run in processes of their own. So what a run has saved is looked up at
its end, in the files that the catalog names, and not caught on the way.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from pydantic import TypeAdapter

from mmer import provenance
from mmer.errors import InputError
from mmer.hooks.saved import Saved
from mmer.registry import tracking
from mmer.registry.cell_runs import CellRuns

if TYPE_CHECKING:
    from mmer.pipelines.cells.nodes import TrainedCell

_NOT_NOTED = ("project_path", "pipeline_names", "runner")
_PARAMS = "params:"
_EVERY_EPOCH = "train/total"  # a metric that every epoch has

logger = logging.getLogger(__name__)
progress = logging.getLogger("mmer.training.progress")


class MlflowTracking:
    """Opens an MLflow run before the pipeline; fills it, closes it and tells of it at the end.

    A catalog entry says by its metadata what of it goes to MLflow: `mlflow: artifact` for its file;
    `mlflow: metrics` for the file of an `Assessment` and the numbers in it; `mlflow: history` for
    the file of a `History` and the numbers of every epoch; `mlflow: compared` for the file of a
    comparison and the figures of its cells. Epochs come while the training is under
    way if it runs in this process, as log records of `mmer.training.progress` that carry `metrics`
    and `step`, and else at the end. Names are the entry's, without the corpus: the assessment of
    `corpus.system.assessment` on test is `system/test/<metric>`, the history of
    `corpus.system.history` is `system/train/<term>`. A cell of a comparison, whose receipt the
    catalog marks by `mlflow: cell`, has a run of its own inside this one.
    """

    def __init__(self) -> None:
        self._sessions: list[_Session] = []

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Open the run, with the parameters that this pipeline's nodes take.

        Raises:
            InputError: MLflow does not answer, or the catalog asks it for what is not known.
        """
        saved = Saved(pipeline, catalog)
        pipelines = _joined(run_params["pipeline_names"] or ["__default__"])
        noted = {key: value for key, value in run_params.items() if value and key not in _NOT_NOTED}
        called = {"pipelines": pipelines, "env": "base", **noted}
        # A parameter that is missing is the runner's to report.
        names = sorted(n for n in pipeline.inputs() if n.startswith(_PARAMS) and n in catalog)
        params = {name.removeprefix(_PARAMS): catalog[name].load() for name in names}
        project = Path(run_params["project_path"])
        tags = {f"kedro.{key}": _joined(value) for key, value in called.items() if key != "run_id"}
        run = tracking.open_run(
            project,
            f"{pipelines} {run_params['run_id']}",
            {**tags, "kedro.run_id": run_params["run_id"]},
            command=_command(project, tags, params),
        )
        if run.goes_on:
            logger.info("MLflow run '%s' was killed before, and goes on", run.name)
        self._sessions.append(_Session(run, saved, CellRuns(project)))
        run.log_params(params)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Note whose training the next metrics in this thread are of."""
        if self._sessions:
            self._sessions[-1].enter(node)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Log a cell that is finished."""
        if self._sessions:
            self._sessions[-1].log_cells(node.outputs)

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline) -> None:
        """Log what was saved, close the run and say what came out and where to look."""
        session = self._sessions.pop()
        session.end("FINISHED", pipeline.datasets())
        session.saved.tell()
        session.saved.close()

    @hook_impl
    def on_pipeline_error(self, error: Exception, pipeline: Pipeline) -> None:
        """Log what was saved nevertheless, and close the run as failed, with the error as a tag."""
        session = self._sessions.pop()
        session.run.set_tags({"error": error})
        session.end("FAILED", pipeline.inputs())
        session.saved.close()


class _Session(logging.Handler):
    """What the hook knows of one `kedro run`; it forwards what trainings in it log."""

    def __init__(self, run: tracking.TrackedRun, saved: Saved, cells: CellRuns) -> None:
        super().__init__()
        self.run, self.saved, self.cells = run, saved, cells
        self._owners = {_owned(name) for name, kind in saved.kinds.items() if kind == "cell"}
        self._node = threading.local()  # a thread runs one node at a time
        self._told: set[tuple[str, int]] = set()  # histories and epochs
        self._logged: set[str] = set()  # receipts of cells
        for name in (name for name, kind in saved.kinds.items() if kind == "history"):
            if run.goes_on:
                self._told |= {(name, n) for n in run.steps_of(f"{_owner(name)}/{_EVERY_EPOCH}")}
        # Metrics must arrive however quiet the console is told to be.
        progress.setLevel(logging.INFO)
        progress.addHandler(self)
        atexit.register(self._log_outputs)

    def enter(self, node: Node) -> None:
        """Note whose training the next metrics in this thread are of."""
        histories = (name for name in node.outputs if self.saved.kinds.get(name) == "history")
        name = next(histories, None)
        self._node.history = None if name and _owned(name) in self._owners else name

    def emit(self, record: logging.LogRecord) -> None:
        metrics, step = getattr(record, "metrics", None), getattr(record, "step", 0)
        name = getattr(self._node, "history", None)
        if metrics and name and tracking.current_run() is self.run:
            if (name, step) in self._told:
                return  # before the run was killed
            self._told.add((name, step))
            self.run.log_metrics({_owner(name): metrics}, step)

    def end(self, status: str, data: set[str]) -> None:
        """Log what was saved, name the data, and close the run."""
        atexit.unregister(self._log_outputs)
        progress.removeHandler(self)
        self._log_outputs()
        with _reading_back():
            self.run.set_tags(self.saved.provenance(data | set(self.saved.now())))
        self.cells.close()
        if self.run.close(status):
            where = self.run.uri if self.run.is_remote else "`make ui`"
            logger.info("MLflow run '%s': %s. Look at it: %s", self.run.name, status, where)

    def log_cells(self, names: Iterable[str]) -> None:
        """Log the cells whose receipts are among these and have been saved, each receipt once."""
        for name in names:
            kind, owner = self.saved.kinds[name], _owned(name)
            if kind not in ("cell", "cell_cost") or name in self._logged:
                continue
            with _reading_back():
                if not self.saved.has(name):
                    continue
                self._logged.add(name)
                if kind == "cell":
                    self._log_cell(owner, self.saved.read(name))
                elif kind == "cell_cost":
                    cost = self.saved.read(name).cost.model_dump()
                    shown = {key: cost[key] for key in ("parameters", "training", "scoring")}
                    self.cells.log_metrics(owner, {"cost": shown})

    def _log_cell(self, owner: str, receipt: TrainedCell) -> None:
        parts = {kind: f"{owner}.{kind}" for kind in ("model", "history", "calibration", "trained")}
        info = self.saved.read(parts["model"]).info
        decisive = {key: getattr(info, key) for key in ("corpus", "system", "seed", "without")}
        self.cells.log(
            owner,
            {**decisive, **info.settings},
            self.saved.read(parts["history"]),
            [self.saved.file(name) for name in parts.values()],
            seconds=receipt.training.seconds,
            ended=receipt.ended,
        )

    def _log_figures(self, name: str) -> None:
        """Of every cell and, in this run, of every system, as the comparison found them."""
        from mmer.pipelines.cells.cells import Cell

        compared = self.saved.read(name)
        for of in getattr(compared, "corpora", None) or [compared]:
            for system in getattr(of, "compared", of).systems:
                info, named = system.info, {**system.metrics, **_under("f1", system.label_f1)}
                for row, seed in enumerate(system.seeds or (None,)):
                    cell = Cell(info.system, seed, info.without).name
                    figures = {key: one.values[row] for key, one in named.items()}
                    self.cells.log_metrics(f"{info.corpus}.{cell}", {info.split: figures})
                means = {key: one.mean.value for key, one in system.metrics.items()}
                owner = f"{info.corpus}/{Cell(info.system, None, info.without).name}"
                self.run.log_metrics({owner: {info.split: means}})

    def _log_outputs(self) -> None:
        now: list[str] = []
        with _reading_back():
            now = self.saved.now()
        self.log_cells(now)
        for name in now:
            kind = self.saved.kinds[name]
            if _owned(name) in self._owners:
                continue  # it is in the run of its cell
            with _reading_back():
                if kind is not None:
                    self.run.log_artifact(self.saved.file(name), name)
                if kind == "metrics":
                    assessment = self.saved.read(name)
                    f1 = {label.label: label.f1 for label in assessment.metrics.per_label}
                    judged = {k: one.value for k, one in assessment.intervals.metrics.items()}
                    numbers = {**assessment.metrics.model_dump(), **judged, "f1": f1}
                    self.run.log_metrics({_owner(name): {assessment.info.split: numbers}})
                elif kind == "compared":
                    self._log_figures(name)
                elif kind == "history":
                    for epoch in self.saved.read(name).epochs:
                        if (name, epoch.epoch) not in self._told:
                            self.run.log_metrics({_owner(name): epoch.metrics}, epoch.epoch)


def _command(project: Path, tags: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """Digest of what was asked for, and of whom; "" if earlier runs are not to be gone on with."""
    plain = TypeAdapter(Any).dump_python(dict(params), mode="json")
    if any(one.get("resume") == "never" for name, one in plain.items() if isinstance(one, dict)):
        return ""
    asked = [str(project.resolve()), dict(tags), plain]
    return provenance.digest([*asked, provenance.package_digest()])


def _owner(name: str) -> str:
    """Whose numbers an entry holds: "system" of "corpus.system.assessment"."""
    return "/".join(name.split(".")[1:-1])


def _owned(name: str) -> str:
    """What an entry is of: "corpus.cell" of "corpus.cell.history"."""
    return name.rpartition(".")[0]


def _under(name: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}/{key}": figure for key, figure in figures.items()}


@contextmanager
def _reading_back() -> Iterator[None]:
    """What cannot be read back is said; the work that is done does not hang on it."""
    try:
        yield
    except (DatasetError, InputError, OSError) as error:
        logger.warning("MLflow lacks what cannot be read back: %s", error)


def _joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
