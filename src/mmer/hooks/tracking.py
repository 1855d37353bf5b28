"""Kedro's side of tracking: one MLflow run per `kedro run`, whichever runner runs it.

With `ParallelRunner` nodes run in processes of their own. So what a run has saved is looked up at
its end, in the files that the catalog names, and not caught on the way.
"""

from __future__ import annotations

import atexit
import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from pydantic import TypeAdapter

from mmer import provenance
from mmer.errors import InputError
from mmer.hooks.saved import Saved
from mmer.metrics.metrics import HEADLINE
from mmer.registry import tracking
from mmer.registry.cell_runs import EVERY_EPOCH, CellRuns, grouped

if TYPE_CHECKING:
    from mmer.pipelines.cells.nodes import TrainedCell

_NOT_NOTED = ("project_path", "pipeline_names", "runner")
_PARAMS = "params:"
_SHOWN = (*HEADLINE, "macro_average_precision")
_PARTS = (
    "tags",
    "node_names",
    "from_nodes",
    "to_nodes",
    "from_inputs",
    "to_outputs",
    "namespaces",
    "only_missing_outputs",
)
_MOMENT = re.compile(r"\d{4}-(\d\d-\d\d)T(\d\d)\.(\d\d)\.(\d\d)")  # as Kedro names a run

Figure = TypeVar("Figure")

logger = logging.getLogger(__name__)
progress = logging.getLogger("mmer.training.progress")


class MlflowTracking:
    """Opens an MLflow run before the pipeline; fills it, closes it and tells of it at the end.

    A catalog entry says by its metadata what of it goes to MLflow: `mlflow: artifact` for its file;
    `mlflow: metrics` for the file of an `Assessment` and the numbers in it; `mlflow: history` for
    the file of a `History` and the numbers of every epoch; `mlflow: compared` for the file of a
    comparison and the figures of its cells. Files are in folders by what they are of, figures in
    one of their own, the report before all. Epochs come while the training is under way if it runs
    in this process, as log records of `mmer.training.progress` that carry `metrics` and `step`, and
    else at the end.

    Metrics are in groups, `train/<term>`, `valid/<metric>` and `test/<metric>`: those of the system
    that the run is about; others' have its name between, `test/<system>/<metric>`. They are the few
    that systems are compared by; all others are in the files. A cell of a comparison, whose receipt
    the catalog marks by `mlflow: cell`, has a run of its own inside this one.

    There is an experiment for each corpus and environment, and one beside it for runs of parts of
    a pipeline.
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
        told = {key: value for key, value in called.items() if key != "run_id"}
        tags = {f"kedro.{k}": tracking.without_password(_joined(v)) for k, v in told.items()}
        part = ", ".join(f"{key}={_joined(called[key])}" for key in _PARTS if key in called)
        title = f"part of {pipelines} ({part})" if part else pipelines
        experiment = _experiment(pipeline, str(called["env"])) + ("-parts" if part else "")
        run = tracking.open_run(
            project,
            f"{_moment(run_params['run_id'])} {title}",
            {
                **tags,
                "kedro.run_id": run_params["run_id"],
                **({"mmer.part": part} if part else {}),
                **({"mmer.report": report} if (report := saved.report_address()) else {}),
            },
            command=_command(project, tags, params),
            experiment=experiment,
        )
        if run.goes_on:
            logger.info("MLflow run '%s' was killed before, and goes on", run.name)
        self._sessions.append(_Session(run, saved, CellRuns(project)))
        run.log_params(params)
        run.log_settings(params, "parameters.yaml")

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
        session.run.set_tags({tracking.NOTE: session.saved.note()})
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
                (of_every_epoch,) = self._grouped(name, {EVERY_EPOCH: 0.0})
                self._told |= {(name, n) for n in run.steps_of(of_every_epoch)}
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
            self.run.log_metrics(self._grouped(name, metrics), step)

    def _grouped(self, name: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Metrics that belong to an entry, by their names in MLflow."""
        return grouped(metrics, "" if _owned(name) == self.saved.subject else _owner(name))

    def end(self, status: str, data: set[str]) -> None:
        """Log what was saved, name the data, and close the run."""
        atexit.unregister(self._log_outputs)
        progress.removeHandler(self)
        self._log_outputs()
        with _reading_back():
            used = data | set(self.saved.now())
            self.run.set_tags(self.saved.provenance(used))
            self.run.log_data(self.saved.tables(used))
        self.cells.close()
        if self.run.close(status):
            remote, uri = self.run.is_remote, tracking.without_password(self.run.uri)
            where = uri if remote else "`make ui`"
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
                info = system.info
                for row, seed in enumerate(system.seeds or (None,)):
                    cell = Cell(info.system, seed, info.without).name
                    figures = {key: one.values[row] for key, one in _headline(system.metrics)}
                    self.cells.log_metrics(f"{info.corpus}.{cell}", {info.split: figures})
                means = {key: one.mean.value for key, one in _headline(system.metrics)}
                owner = f"{info.corpus}/{Cell(info.system, None, info.without).name}"
                self.run.log_metrics({info.split: {owner: means}})

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
                self._log_output(name, kind)

    def _log_output(self, name: str, kind: str | None) -> None:
        if kind == "figure":
            self.run.log_artifact(self.saved.file(name), f"figures/{_owned(name)}")
        elif kind is not None:
            self.run.log_artifact(self.saved.file(name), None if kind == "page" else _owned(name))
        if kind == "metrics":
            assessment = self.saved.read(name)
            figures = {key: one.value for key, one in _headline(assessment.intervals.metrics)}
            named = {f"{assessment.info.split}/{key}": one for key, one in figures.items()}
            self.run.log_metrics(self._grouped(name, named))
        elif kind == "compared":
            self._log_figures(name)
        elif kind == "history":
            for epoch in self.saved.read(name).epochs:
                if (name, epoch.epoch) not in self._told:
                    self.run.log_metrics(self._grouped(name, epoch.metrics), epoch.epoch)


def _experiment(pipeline: Pipeline, env: str) -> str:
    """The corpus or family of corpora that a pipeline is about, and the environment."""
    from mmer.pipelines.cells.cells import families

    names = {name.partition(".")[0] for name in pipeline.datasets() if "." in name}
    names = {name for name in names if not name.startswith(_PARAMS)}
    about = names & set(families()) or names
    name = about.pop() if len(about) == 1 else tracking.EXPERIMENT
    return name if env in ("base", "local") else f"{name}-{env}"


def _moment(run_id: str) -> str:
    """When a run began, first in its name, so that names differ where they are cut short."""
    found = _MOMENT.match(run_id)
    return "{} {}:{}:{}".format(*found.groups()) if found else run_id


def _headline(metrics: Mapping[str, Figure]) -> list[tuple[str, Figure]]:
    """Those metrics that systems are compared by, and one that needs no thresholds."""
    return [(key, one) for key, one in metrics.items() if key in _SHOWN]


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


@contextmanager
def _reading_back() -> Iterator[None]:
    """What cannot be read back is said; the work that is done does not hang on it."""
    try:
        yield
    except (DatasetError, InputError, OSError) as error:
        logger.warning("MLflow lacks what cannot be read back: %s", error)


def _joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
