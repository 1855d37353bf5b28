"""Kedro's side of tracking: one MLflow run per `kedro run`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractDataset, AbstractVersionedDataset, CatalogProtocol
from kedro.pipeline import Pipeline

from mmer.corpora.source import SampleStream
from mmer.errors import InputError
from mmer.evaluation.summary import summary_text
from mmer.registry import tracking
from mmer.samples.table import TableInfo, table_info

_NOTED = (
    "run_id",
    "env",
    "from_nodes",
    "to_nodes",
    "from_inputs",
    "to_outputs",
    "node_names",
    "tags",
    "namespaces",
    "load_versions",
    "runtime_params",
)

logger = logging.getLogger(__name__)
progress = logging.getLogger("mmer.training.progress")


class MlflowTracking:
    """Opens an MLflow run before the pipeline, fills it as datasets pass by, and closes it.

    A catalog entry says by its metadata what of it goes to MLflow: `mlflow: artifact` for the file
    that was saved, `mlflow: metrics` for the numbers in it, named after the entry. Metrics of a
    training that is under way come as log records of `mmer.training.progress` that carry `metrics`
    and `step`.
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
        logged = _logged_outputs(pipeline, catalog)
        pipelines = _joined(run_params["pipeline_names"] or ["__default__"])
        tags = {f"kedro.{key}": _joined(run_params[key]) for key in _NOTED if run_params[key]}
        run = tracking.open_run(
            Path(run_params["project_path"]),
            f"{pipelines} {run_params['run_id']}",
            {"kedro.pipelines": pipelines, "kedro.env": "base", **tags},
        )
        self._sessions.append(_Session(run, logged))
        run.log_params(_parameters(pipeline, catalog))

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: object) -> None:
        """Note which data the run stands on."""
        if self._sessions:
            self._sessions[-1].note_provenance(dataset_name, data)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: object) -> None:
        """Note which data came out, and log what its catalog entry says."""
        if self._sessions:
            self._sessions[-1].note_provenance(dataset_name, data)
            self._sessions[-1].log_output(dataset_name, data)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Close the run and say where to look."""
        self._close("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Close the run as failed, with the error among its tags."""
        self._sessions[-1].run.set_tags({"error": error})
        self._close("FAILED")

    def _close(self, status: str) -> None:
        session = self._sessions.pop()
        run = session.run
        if session.close(status):
            where = run.uri if run.is_remote else "`make ui`"
            logger.info("MLflow run '%s': %s. Look at it: %s", run.name, status, where)


class ClosingSummary:
    """At the end of a run, the scores beside the baselines and where to look next."""

    def __init__(self) -> None:
        self._catalog: CatalogProtocol | None = None
        self._tables: list[str] = []
        self._pages: list[Path] = []

    @hook_impl
    def before_pipeline_run(self, catalog: CatalogProtocol) -> None:
        """Start with nothing to tell."""
        self._catalog, self._tables, self._pages = catalog, [], []

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Keep what is to be told."""
        if self._catalog is None:
            return
        if dataset_name.endswith(".assessment"):
            self._tables.append(summary_text(data))
        elif dataset_name.endswith(".report"):
            self._pages.append(_saved_file(self._catalog.get(dataset_name)))

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Tell it."""
        for table in self._tables:
            click.echo(f"\n{table}")
        for page in self._pages:
            click.echo(f"\nThe report:            {os.path.relpath(page)}")
            click.echo("The run in MLflow:     make ui")
            click.echo("The pipelines:         make viz")


class _Session:
    """What the hook knows of one `kedro run`."""

    def __init__(
        self, run: tracking.TrackedRun, logged: dict[str, tuple[str, AbstractDataset]]
    ) -> None:
        self.run, self._logged = run, logged
        self._noted: set[tuple[str, object]] = set()
        self._live = _LiveMetrics(run)
        # Metrics must arrive however quiet the console is told to be.
        progress.setLevel(logging.INFO)
        progress.addHandler(self._live)

    def close(self, status: str) -> bool:
        progress.removeHandler(self._live)
        return self.run.close(status)

    def note_provenance(self, name: str, data: object) -> None:
        """Tag the run with the fingerprint of sample tables, and if anything in it is synthetic."""
        info = _info(data)
        tags: dict[str, object] = {}
        if info is not None:
            tags[f"data.{name}.fingerprint"] = info.fingerprint
            tags |= {f"data.{file}.sha256": digest for file, digest in info.sources.items()}
        if getattr(info or data, "synthetic", None) is True:
            tags["synthetic"] = "true"
        if new := dict(tags.items() - self._noted):
            self._noted |= new.items()
            self.run.set_tags(new)

    def log_output(self, name: str, data: object) -> None:
        """Log a saved dataset as its catalog entry says."""
        kind, dataset = self._logged.get(name, (None, None))
        if kind == "metrics":
            self.run.log_metrics({name.rpartition(".")[2]: data})
        elif kind == "artifact":
            self.run.log_artifact(_saved_file(dataset), name)


class _LiveMetrics(logging.Handler):
    """Forwards a training's metrics, epoch by epoch, to the run that it belongs to."""

    def __init__(self, run: tracking.TrackedRun) -> None:
        super().__init__()
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        metrics = getattr(record, "metrics", None)
        if metrics and tracking.current_run() is self._run:
            self._run.log_metrics(metrics, step=getattr(record, "step", 0))


def _parameters(pipeline: Pipeline, catalog: CatalogProtocol) -> dict[str, object]:
    """Parameters among the pipeline's inputs; one that is missing is the runner's to report."""
    prefix = "params:"
    names = sorted(n for n in pipeline.inputs() if n.startswith(prefix) and n in catalog)
    return {name.removeprefix(prefix): catalog[name].load() for name in names}


def _logged_outputs(
    pipeline: Pipeline, catalog: CatalogProtocol
) -> dict[str, tuple[str, AbstractDataset]]:
    """Name of each output that goes to MLflow -> what of it, and its dataset."""
    logged = {}
    for name in sorted(pipeline.all_outputs()):
        dataset = catalog.get(name)
        kind = (getattr(dataset, "metadata", None) or {}).get("mlflow")
        if kind not in (None, "artifact", "metrics"):
            raise InputError(
                f"catalog entry {name}", "metadata.mlflow", "'artifact' or 'metrics'", repr(kind)
            )
        if dataset is not None and kind is not None:
            logged[name] = kind, dataset
    return logged


def _info(data: object) -> TableInfo | None:
    if isinstance(data, SampleStream):
        return data.info
    if not isinstance(data, pa.Table):
        return None
    try:
        return table_info(data)
    except InputError:  # some other Arrow table
        return None


def _saved_file(dataset: Any) -> Path:
    """The file or folder that a dataset has just written."""
    if isinstance(dataset, AbstractVersionedDataset) and (
        version := dataset.resolve_save_version()
    ):
        return Path(dataset._get_versioned_path(version))
    return Path(dataset._filepath)


def _joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
