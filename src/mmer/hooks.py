"""Kedro's side of tracking: one MLflow run per `kedro run`, whichever runner runs it.

With `ParallelRunner` nodes run in processes of their own. So what a run has saved is looked up at
its end, in the files that the catalog names, and not caught on the way.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from pydantic import ValidationError

from mmer import provenance
from mmer.errors import InputError
from mmer.registry import tracking
from mmer.registry.cell_runs import CellRuns
from mmer.schema import Settings

if TYPE_CHECKING:
    from mmer.corpora.corpus import Ingestion
    from mmer.pipelines.cells.nodes import TrainedCell

_NOT_NOTED = ("project_path", "pipeline_names", "runner")
_KINDS = ("artifact", "metrics", "history", "cell", "cell_cost", "compared")
_PARAMS = "params:"

logger = logging.getLogger(__name__)
progress = logging.getLogger("mmer.training.progress")


class DefaultParameters:
    """Gives parameters that no file sets: all settings have defaults."""

    @hook_impl
    def after_catalog_created(self, catalog: CatalogProtocol) -> None:
        """Add what is missing for every corpus, and for every system on it."""
        from mmer.calibration.settings import CalibrationSettings
        from mmer.corpora import CORPORA
        from mmer.evaluation.assessment import EvaluationSettings
        from mmer.evaluation.seeds import AblationSettings, ComparisonSettings
        from mmer.pipelines.cells.cells import families
        from mmer.systems import SYSTEMS

        together: dict[str, type[Settings]] = {
            "evaluation": EvaluationSettings,
            "comparison": ComparisonSettings,
            "ablation": AblationSettings,
        }
        kinds: dict[str, type[Settings]] = {
            **together,
            "calibration": CalibrationSettings,
            **{name: system.settings for name, system in SYSTEMS.items()},
        }
        needed = {(family, key): kind for family in families() for key, kind in together.items()}
        for corpus, known in CORPORA.items():
            every = {"ingestion": known.ingestion, **kinds}
            needed |= {(corpus, key): kind for key, kind in every.items()}
        for (owner, key), kind in needed.items():
            if (name := f"{_PARAMS}{owner}.{key}") not in catalog:
                catalog[name] = kind()


class AskedCells:
    """Notes which systems and seeds a comparison is asked for, before its pipeline is made."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read what the parameters say; what is wrong in them is Kedro's to report."""
        from mmer.evaluation.seeds import AblationSettings, ComparisonSettings
        from mmer.pipelines.cells.cells import ask

        try:
            parameters = context.config_loader["parameters"]
        except MissingConfigException:
            parameters = {}
        kinds: dict[str, type[Settings]] = {
            "comparison": ComparisonSettings,
            "ablation": AblationSettings,
        }
        asked: dict[str, list] = {}
        for owner, given in parameters.items():
            for key, kind in kinds.items() if isinstance(given, dict) else ():
                if key in given:
                    with suppress(ValidationError):
                        asked.setdefault(owner, []).append(kind.model_validate(given[key]))
        ask(asked)


class SameTables:
    """Stops a run that would work on tables other than those that its parameters ask for."""

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Look at the corpora whose tables or manifest are read and not made in this run.

        Raises:
            InputError: They were made from other files, or with other settings of ingestion.
        """
        from mmer.corpora import CORPORA

        for corpus in CORPORA:
            read = [name for name in pipeline.inputs() if name.startswith(f"{corpus}.")]
            manifest = f"{corpus}.manifest"
            if any(n == manifest or n.endswith("_samples") for n in read) and manifest in catalog:
                self._check(corpus, CORPORA[corpus].ingestion, catalog)

    def _check(self, corpus: str, kind: type[Ingestion], catalog: CatalogProtocol) -> None:
        if not catalog[f"{corpus}.manifest"].exists():
            return  # what is missing is the runner's to report
        manifest = catalog[f"{corpus}.manifest"].load()
        asked = kind.model_validate(catalog[f"{_PARAMS}{corpus}.ingestion"].load())
        made = kind.model_validate(manifest.settings)
        remedy = "Run without --tags, so that the tables are made anew, or without that parameter."
        where = f"tables of {corpus}"
        for name, value in {**asked.decisive, "validation": asked.validation}.items():
            found = {**made.decisive, "validation": made.validation}.get(name)
            if found != value:
                raise InputError(where, f"ingestion.{name}", f"made with {value}", found, remedy)
        place = catalog[f"{corpus}.raw"].place
        if place.resolve() != manifest.raw.path.resolve():
            raise InputError(where, "files", f"made from {place}", manifest.raw.path, remedy)


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
        saved = _Saved(pipeline, catalog)
        pipelines = _joined(run_params["pipeline_names"] or ["__default__"])
        noted = {key: value for key, value in run_params.items() if value and key not in _NOT_NOTED}
        called = {"pipelines": pipelines, "env": "base", **noted}
        run = tracking.open_run(
            Path(run_params["project_path"]),
            f"{pipelines} {run_params['run_id']}",
            {f"kedro.{key}": _joined(value) for key, value in called.items()},
        )
        cells = CellRuns(Path(run_params["project_path"]))
        self._sessions.append(_Session(run, saved, cells))
        # A parameter that is missing is the runner's to report.
        names = sorted(n for n in pipeline.inputs() if n.startswith(_PARAMS) and n in catalog)
        run.log_params({name.removeprefix(_PARAMS): catalog[name].load() for name in names})

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

    @hook_impl
    def on_pipeline_error(self, error: Exception, pipeline: Pipeline) -> None:
        """Log what was saved nevertheless, and close the run as failed, with the error as a tag."""
        session = self._sessions.pop()
        session.run.set_tags({"error": error})
        session.end("FAILED", pipeline.inputs())


class _Saved:
    """What a run saves of its pipeline's outputs, as the files tell: any process may write them.

    Attributes:
        kinds: Output -> what of it goes to MLflow.
    """

    def __init__(self, pipeline: Pipeline, catalog: Any) -> None:
        self._catalog = catalog
        outputs = [name for node in pipeline.nodes for name in node.outputs]
        self.kinds = {name: _kind(name, catalog) for name in outputs}
        files = [name for name in outputs if hasattr(catalog.get(name), "_filepath")]
        self._before = {name: _state(self.path(name)) for name in files}

    def now(self) -> list[str]:
        """The outputs that have been written since this object was made, in pipeline order."""
        return [name for name in self._before if self.has(name)]

    def has(self, name: str) -> bool:
        """Whether this output has been written since this object was made."""
        return name in self._before and _state(self.path(name)) not in (None, self._before[name])

    def path(self, name: str) -> Path:
        """The file that the run writes."""
        dataset = self._catalog.get(name)
        version = getattr(dataset, "resolve_save_version", lambda: None)()
        return Path(dataset._get_versioned_path(version) if version else dataset._filepath)

    def read(self, name: str) -> Any:
        """What the run has written, and not what another has written since."""
        return self._catalog.get(name).read(self.path(name))

    def tell(self) -> None:
        """Say how the system stands beside the others, and where the report is."""
        from mmer.reporting.ablations import ablations_text
        from mmer.reporting.corpora import corpora_text
        from mmer.reporting.costs import costs_text
        from mmer.reporting.seeds import seeds_text
        from mmer.reporting.summary import summary_text

        texts: dict[str, Callable[..., str]] = {
            "comparison": summary_text,
            "compared_systems": seeds_text,
            "compared_costs": costs_text,
            "compared_corpora": corpora_text,
            "ablated_systems": ablations_text,
        }
        names = {name: name.rpartition(".")[2] for name in self.now()}
        if "compared_corpora" in names.values():
            del texts["compared_systems"], texts["compared_costs"]  # those of single corpora
        for name, kind in names.items():
            if kind in texts:
                width = shutil.get_terminal_size().columns
                click.echo(f"\n{texts[kind](self.read(name), width)}")
            if kind in ("report", "compared_page", "ablated_page"):
                click.echo(f"\nThe report:            {os.path.relpath(self.path(name))}")
                click.echo("The run in MLflow:     make ui")
                click.echo("The pipelines:         make viz")

    def provenance(self, names: set[str]) -> dict[str, object]:
        """Tags that name the data: fingerprint of each sample table, digest of each manifest."""
        from mmer.datasets.sample_tables import SampleTableFile

        tags: dict[str, object] = {}
        synthetic = set()
        for name in sorted(names):
            dataset = self._catalog.get(name)
            if isinstance(dataset, SampleTableFile) and dataset.exists():
                info = dataset.load().info
                tags[f"data.{name}.fingerprint"] = info.fingerprint
                synthetic.add(info.synthetic)
            elif name.endswith(".manifest") and dataset is not None and dataset.exists():
                manifest = dataset.load()
                files = {file.name: file.sha256 for file in manifest.files}
                tags[f"data.{name}.sha256"] = provenance.digest(files)
                synthetic.add(manifest.raw.synthetic)
        return {**tags, "synthetic": str(any(synthetic)).lower()} if synthetic else tags


class _Session(logging.Handler):
    """What the hook knows of one `kedro run`; it forwards what trainings in it log."""

    def __init__(self, run: tracking.TrackedRun, saved: _Saved, cells: CellRuns) -> None:
        super().__init__()
        self.run, self.saved, self.cells = run, saved, cells
        self._owners = {_owned(name) for name, kind in saved.kinds.items() if kind == "cell"}
        self._node = threading.local()  # a thread runs one node at a time
        self._told: set[tuple[str, int]] = set()  # histories and epochs
        self._logged: set[str] = set()  # receipts of cells
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
            if not self.saved.has(name):
                continue
            self._logged.add(name)
            with _reading_back():
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
            [self.saved.path(name) for name in parts.values()],
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
        now = self.saved.now()
        self.log_cells(now)
        for name in now:
            kind = self.saved.kinds[name]
            if _owned(name) in self._owners:
                continue  # it is in the run of its cell
            if kind is not None:
                self.run.log_artifact(self.saved.path(name), name)
            with _reading_back():
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


def _kind(name: str, catalog: CatalogProtocol) -> str | None:
    """What of an entry goes to MLflow."""
    dataset = catalog.get(name)
    kind = (getattr(dataset, "metadata", None) or {}).get("mlflow")
    where = f"catalog entry {name}", "metadata.mlflow"
    if kind not in (None, *_KINDS):
        raise InputError(*where, f"one of {', '.join(_KINDS)}", repr(kind))
    if kind is not None and not hasattr(dataset, "_filepath"):
        raise InputError(*where, "an entry that keeps a file", type(dataset).__name__)
    return kind


def _owner(name: str) -> str:
    """Whose numbers an entry holds: "system" of "corpus.system.assessment"."""
    return "/".join(name.split(".")[1:-1])


def _owned(name: str) -> str:
    """What an entry is of: "corpus.cell" of "corpus.cell.history"."""
    return name.rpartition(".")[0]


def _under(name: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}/{key}": figure for key, figure in figures.items()}


def _state(path: Path) -> tuple[int, ...] | None:
    """What tells a file from the one that was there before; None if there is none."""
    stat = path.stat() if path.exists() else None
    return stat and (stat.st_ino, stat.st_mtime_ns, stat.st_size)


@contextmanager
def _reading_back() -> Iterator[None]:
    """What cannot be read back is said; the work that is done does not hang on it."""
    try:
        yield
    except (DatasetError, InputError, OSError) as error:
        logger.warning("MLflow lacks what cannot be read back: %s", error)


def _joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
