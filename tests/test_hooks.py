"""One MLflow run per pipeline run, holding what the catalog and the data say."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kedro.framework import project as kedro_project
from kedro.framework.hooks.manager import _create_hook_manager, _register_hooks
from kedro.io import AbstractDataset, DataCatalog, MemoryDataset, SharedMemoryDataCatalog
from kedro.pipeline import Pipeline, node
from kedro.runner import AbstractRunner, ParallelRunner, SequentialRunner, ThreadRunner
from mlflow.entities import Run
from pydantic import BaseModel

from mmer.calibration.calibration import calibrate
from mmer.calibration.settings import CalibrationSettings
from mmer.corpora import CORPORA
from mmer.corpora.corpus import Manifest, RawCorpus
from mmer.errors import InputError
from mmer.evaluation.assessment import (
    Assessment,
    Comparison,
    EvaluationSettings,
    assess,
    compare_systems,
)
from mmer.hooks import DefaultParameters, MlflowTracking
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.scores import Scores
from mmer.provenance import SourceFile
from mmer.registry import tracking
from mmer.systems import SYSTEMS
from mmer.training.history import Epoch, History

RUN_ID = "2026-01-01T00.00.00.000Z"


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an MLflow database, shared by the session because making one takes seconds."""
    folder = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    return folder


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Run a pipeline as a Kedro session does; return what MLflow holds of it afterwards."""
    hooks = (MlflowTracking(),)
    # Where a `ParallelRunner`'s processes find them.
    monkeypatch.setattr(kedro_project.settings, "HOOKS", hooks, raising=False)

    def run(
        nodes: list[Any],
        catalog: DataCatalog,
        runner: AbstractRunner | None = None,
        **params: object,
    ) -> Run:
        manager = _create_hook_manager()
        _register_hooks(manager, hooks)
        keys = "env tags from_nodes to_nodes node_names from_inputs to_outputs load_versions"
        keys += " pipeline_names namespaces runtime_params"
        run_params = {"run_id": RUN_ID, "project_path": str(project), **dict.fromkeys(keys.split())}
        arguments = {
            "run_params": run_params | params,
            "pipeline": Pipeline(nodes),
            "catalog": catalog,
        }
        manager.hook.before_pipeline_run(**arguments)
        opened = tracking.current_run()
        assert opened is not None
        try:
            (runner or SequentialRunner()).run(Pipeline(nodes), catalog, manager, RUN_ID)
        except ValueError as error:
            manager.hook.on_pipeline_error(error=error, **arguments)
        else:
            manager.hook.after_pipeline_run(run_result={}, **arguments)
        return opened.client.get_run(opened.run_id)

    return run


class Settings(BaseModel):
    epochs: int = 3
    layers: dict[str, int] = {"text": 6}


def test_parameters_of_this_pipeline_and_how_it_was_called(run):
    catalog = DataCatalog(
        {
            "params:mosei.training": MemoryDataset(Settings()),
            "params:seed": MemoryDataset(7),
            "params:of_another_pipeline": MemoryDataset(1),
        }
    )
    nodes = [node(lambda settings, seed: seed, ["params:mosei.training", "params:seed"], "out")]
    seen = run(nodes, catalog, pipeline_names=["train_mosei"], env="paper", from_nodes=["a", "b"])
    assert seen.info.status == "FINISHED"
    assert seen.info.run_name == "01-01 00:00:00 part of train_mosei (from_nodes=a, b)"
    assert experiment_of(seen) == "mmer-paper-parts"
    assert seen.data.params == {
        "mosei.training.epochs": "3",
        "mosei.training.layers.text": "6",
        "seed": "7",
    }
    kedro = {k: v for k, v in seen.data.tags.items() if k.startswith("kedro.")}
    assert kedro == {
        "kedro.pipelines": "train_mosei",
        "kedro.run_id": RUN_ID,
        "kedro.env": "paper",
        "kedro.from_nodes": "a, b",
    }


def test_the_environment_is_base_unless_another_is_named(run):
    seen = run([node(lambda: 1, None, "out")], DataCatalog())
    assert seen.data.tags["kedro.env"] == "base"
    assert seen.data.tags["kedro.pipelines"] == "__default__"


def experiment_of(run: Run) -> str:
    client = tracking.connect(os.environ["MLFLOW_TRACKING_URI"])
    return client.get_experiment(run.info.experiment_id).name


def entry(folder: Path, name: str, record: type | None = None, **more: Any) -> dict[str, Any]:
    """Catalog entry of a JSON file, or of one that holds a record."""
    kind = {"type": "json.JSONDataset"}
    if record:
        kind = {
            "type": "mmer.datasets.files.RecordFile",
            "record": f"{record.__module__}.{record.__qualname__}",
        }
    return {**kind, "filepath": str(folder / f"{name}.json"), **more}


def catalog_of(entries: dict[str, dict[str, Any]], parallel: bool = False) -> DataCatalog:
    """The catalog of a session."""
    kind = SharedMemoryDataCatalog if parallel else DataCatalog
    return kind.from_config(entries, save_version=RUN_ID)


ARTIFACT, METRICS, HISTORY = ({"mlflow": kind} for kind in ("artifact", "metrics", "history"))


def files_of(run: Run) -> set[str]:
    """Paths of a run's artefacts."""
    client = tracking.connect(os.environ["MLFLOW_TRACKING_URI"])
    return {
        file.path
        for folder in client.list_artifacts(run.info.run_id)
        if folder.is_dir
        for file in client.list_artifacts(run.info.run_id, folder.path)
    }


def test_files_that_the_catalog_marks_are_logged_by_version(run, tmp_path):
    catalog = catalog_of(
        {
            "toy.thresholds": entry(tmp_path, "a", versioned=True, metadata=ARTIFACT),
            "toy.curves": entry(tmp_path, "b", metadata=ARTIFACT),
            "toy.unmarked": entry(tmp_path, "c", metadata={"kedro-viz": {"layer": "reporting"}}),
        }
    )
    (tmp_path / "b.json").write_text("[]")  # of another run
    values = {"toy.thresholds": {"happy": 0.3}, "toy.curves": [1, 2], "toy.unmarked": {"a": 1.0}}
    seen = run([node(lambda: tuple(values.values()), None, list(values))], catalog)
    assert seen.data.metrics == {}
    assert files_of(seen) == {"toy/a.json", "toy/b.json"}
    client = tracking.connect(tracking.tracking_uri(tmp_path))
    copied = client.download_artifacts(seen.info.run_id, "toy/a.json")
    original = tmp_path / "a.json" / RUN_ID / "a.json"
    assert Path(copied).read_bytes() == original.read_bytes()


def test_what_another_run_has_saved_is_not_logged(run, tmp_path):
    entries = {
        "toy.first": entry(tmp_path, "a", metadata=ARTIFACT),
        "toy.second": entry(tmp_path, "b", metadata=ARTIFACT),
    }
    (tmp_path / "b.json").write_text("[]")

    def fail(first: int) -> int:
        raise ValueError("no second")

    nodes = [node(lambda: 1, None, "toy.first"), node(fail, "toy.first", "toy.second")]
    seen = run(nodes, catalog_of(entries))
    assert seen.info.status == "FAILED"
    assert files_of(seen) == {"toy/a.json"}


@pytest.fixture
def assessment(toy_scores: Callable[..., Scores]) -> Assessment:
    return _assessed(toy_scores)[2]


def _assessed(toy_scores: Callable[..., Scores]) -> tuple[Scores, Any, Assessment]:
    rng = np.random.default_rng(0)
    truth = rng.random((60, 2)) < 0.5
    scores = (truth + rng.random((60, 2))) / 2
    settings = EvaluationSettings(resamples=50)
    calibration = calibrate(toy_scores(scores, truth), CalibrationSettings())
    test = toy_scores(scores, truth, "test")
    return test, calibration, assess(test, calibration, settings)


def test_the_few_numbers_that_systems_are_compared_by_are_grouped_by_split(
    run, tmp_path, assessment
):
    marked = entry(tmp_path, "a", Assessment, versioned=True, metadata=METRICS)
    seen = run(
        [node(lambda: assessment, None, "toy.best.assessment")],
        catalog_of({"toy.best.assessment": marked}),
    )
    judged = assessment.intervals.metrics
    shown = {*HEADLINE, "macro_average_precision"}
    assert seen.data.metrics == {f"test/{name}": judged[name].value for name in shown}
    assert files_of(seen) == {"toy.best/a.json"}


def test_metadata_that_means_nothing_stops_the_run_before_its_nodes(run):
    catalog = DataCatalog({"out": MemoryDataset(metadata={"mlflow": "artefact"})})
    with pytest.raises(InputError, match=r"catalog entry out \[metadata.mlflow\].*'artefact'"):
        run([node(lambda: 1, None, "out")], catalog)
    catalog = DataCatalog({"out": MemoryDataset(metadata=METRICS)})
    with pytest.raises(InputError, match=r"keeps a file, found MemoryDataset"):
        run([node(lambda: 1, None, "out")], catalog)
    assert tracking.current_run() is None


PROGRESS = logging.getLogger("mmer.training.progress")


def train(epochs: int, told: int) -> History:
    """A training that logs the first `told` epochs as they pass."""
    passed = [
        Epoch(
            epoch=i,
            losses={"total": 1 / i},
            validation={"micro_f1": i / 10},
            selection=i / 10,
            seconds=1.0,
        )
        for i in range(1, epochs + 1)
    ]
    for epoch in passed[:told]:
        PROGRESS.info("epoch", extra={"metrics": epoch.metrics, "step": epoch.epoch})
    return History(epochs=tuple(passed), kept=epochs)


def train_all() -> History:
    return train(3, 3)


def history_of(run: Run, name: str) -> list[tuple[int, float]]:
    client = tracking.connect(os.environ["MLFLOW_TRACKING_URI"])
    return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]


def test_metrics_arrive_while_the_node_still_runs(run, tmp_path):
    so_far = []

    def watched() -> History:
        history = train(2, 2)
        opened = tracking.current_run()
        so_far.extend(opened.client.get_metric_history(opened.run_id, "train/total"))
        PROGRESS.info("a line without metrics")
        return history

    PROGRESS.setLevel(logging.ERROR)
    entries = {"toy.best.history": entry(tmp_path, "a", History, metadata=HISTORY)}
    run([node(watched, None, ["toy.best.history"])], catalog_of(entries))
    assert [(m.step, m.value) for m in so_far] == [(1, 1.0), (2, 0.5)]
    assert PROGRESS.handlers == []


@pytest.mark.parametrize("told", [0, 2, 3])
def test_every_epoch_is_logged_once_whether_it_was_told_or_only_saved(run, tmp_path, told):
    entries = {"toy.best.history": entry(tmp_path, "a", History, metadata=HISTORY)}
    seen = run([node(lambda: train(3, told), None, "toy.best.history")], catalog_of(entries))
    assert history_of(seen, "train/total") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert history_of(seen, "valid/micro_f1") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert set(seen.data.metrics) == {
        "train/total",
        "train/epoch_seconds",
        "valid/micro_f1",
    }


class NotedRun(AbstractDataset):
    """Saving sets a tag of the open run, as registering does."""

    def load(self) -> None:
        """Nothing is kept."""

    def save(self, data: History) -> None:
        run = tracking.current_run()
        assert run is not None
        run.set_tags({"saved by": os.getpid(), "epochs": len(data.epochs)})

    def _describe(self) -> dict[str, Any]:
        return {}


def take(history: History) -> History:
    return history


@pytest.mark.parametrize("runner", [SequentialRunner, ThreadRunner, ParallelRunner])
def test_all_runners_log_the_same(run, tmp_path, runner):
    is_parallel = runner is ParallelRunner
    entries = {
        f"toy.{name}.history": entry(tmp_path, name, History, versioned=True, metadata=HISTORY)
        for name in ("first", "second")
    }
    catalog = catalog_of(entries, is_parallel)
    catalog["toy.noted"] = NotedRun()
    nodes = [node(train_all, None, name, name=f"train_{i}") for i, name in enumerate(entries)]
    nodes.append(node(take, "toy.first.history", "toy.noted", name="note"))
    seen = run(nodes, catalog, runner(max_workers=2) if runner is not SequentialRunner else None)
    assert seen.info.status == "FINISHED"
    assert seen.data.tags["epochs"] == "3"
    assert (seen.data.tags["saved by"] != str(os.getpid())) == is_parallel
    for name in ("first", "second"):
        assert history_of(seen, f"train/{name}/total") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert len(seen.data.metrics) == 6
    assert files_of(seen) == {f"toy.{name}/{name}.json" for name in ("first", "second")}
    assert tracking.current_run() is None


def test_data_are_named_by_fingerprint_and_synthetic_is_called_synthetic(run, tmp_path, toy_table):
    files = tuple(SourceFile(name=f"{i}", state=(1,) * 5, sha256="0") for i in range(300))
    manifest = Manifest(
        corpus="toy",
        raw=RawCorpus(path=tmp_path, synthetic=True),
        settings={},
        files=files,
        splits={},
        fingerprint="made-for-tests",
    )
    table = {
        "type": "mmer.datasets.sample_tables.SampleTableFile",
        "filepath": str(toy_table(4).path),
    }
    entries = {"toy.train_samples": table, "toy.manifest": entry(tmp_path, "m", Manifest)}

    def count(table: Any) -> int:
        return len(table)

    nodes = [
        node(lambda: manifest, None, "toy.manifest"),
        node(count, "toy.train_samples", "out"),
    ]
    seen = run(nodes, catalog_of(entries))
    data = {k: v for k, v in seen.data.tags.items() if k.startswith(("data.", "synth"))}
    assert data == {
        "data.toy.train_samples.fingerprint": "made-for-tests",
        "data.toy.manifest.sha256": data["data.toy.manifest.sha256"],
        "synthetic": "true",
    }
    (used,) = seen.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("toy.train_samples", "made-for-tests")
    assert str(tmp_path.name) in used.dataset.source
    assert [tag.value for tag in used.tags] == [toy_table(4).info.split]
    assert experiment_of(seen) == "toy"
    manifest = manifest.model_copy(update={"files": files[1:]})
    other = run(nodes, catalog_of(entries))
    assert other.data.tags["data.toy.manifest.sha256"] != data["data.toy.manifest.sha256"]


def test_what_cannot_be_read_back_is_said_and_stops_nothing(run, tmp_path, caplog):
    entries = {"toy.best.history": entry(tmp_path, "a", History, metadata=HISTORY)}

    def spoil(history: History) -> int:
        (tmp_path / "a.json").write_text("{")
        return 1

    nodes = [
        node(train_all, None, "toy.best.history"),
        node(spoil, "toy.best.history", "spoilt"),
    ]
    seen = run(nodes, catalog_of(entries))
    assert seen.info.status == "FINISHED"
    assert sum("cannot be read back" in message for message in caplog.messages) == 1


def test_failed_run_ends_failed_with_its_error(run):
    def fail() -> int:
        raise ValueError("loss is NaN")

    seen = run([node(fail, None, "out")], DataCatalog())
    assert (seen.info.status, seen.data.tags["error"]) == ("FAILED", "loss is NaN")
    assert logging.getLogger("mmer.training.progress").handlers == []


def test_pipeline_run_within_a_node_has_a_run_of_its_own(run, tmp_path):
    entries = {
        f"toy.{name}.history": entry(tmp_path, name, History, metadata=HISTORY)
        for name in ("inner", "outer")
    }
    inner = []

    def outer() -> History:
        inner.append(run([node(train_all, None, "toy.inner.history")], catalog_of(entries)))
        return train(1, 1)

    seen = run([node(outer, None, "toy.outer.history")], catalog_of(entries))
    assert inner[0].data.tags["mlflow.parentRunId"] == seen.info.run_id
    assert history_of(inner[0], "train/total") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert history_of(seen, "train/total") == [(1, 1.0)]
    assert len(seen.data.metrics) == len(inner[0].data.metrics) == 3


def test_the_summary_and_the_report_of_this_run_are_told(run, tmp_path, toy_scores, capsys):
    comparison = compare_systems([_assessed(toy_scores)] * 2, EvaluationSettings(resamples=50))
    entries = {
        "toy.best.comparison": entry(tmp_path, "a", Comparison, versioned=True),
        "toy.best.report": entry(tmp_path, "report"),
    }
    nodes = [node(lambda: (comparison, "a page"), None, list(entries))]
    run(nodes, catalog_of(entries))
    said = capsys.readouterr().out
    assert "Toy" in said
    assert f"The report:            {os.path.relpath(tmp_path / 'report.json')}" in said
    run([node(lambda: 1, None, "out")], catalog_of(entries))
    assert "The report" not in capsys.readouterr().out


def test_parameters_that_no_file_sets_have_their_defaults():
    corpus, system = next(iter(CORPORA)), next(iter(SYSTEMS))
    catalog = DataCatalog()
    catalog[f"params:{corpus}.{system}"] = {"set": "by a user"}
    DefaultParameters().after_catalog_created(catalog)
    assert catalog.load(f"params:{corpus}.{system}") == {"set": "by a user"}
    assert catalog.load(f"params:{corpus}.ingestion") == CORPORA[corpus].ingestion()
    for name in CORPORA:
        assert catalog.load(f"params:{name}.calibration") == CalibrationSettings()
        assert catalog.load(f"params:{name}.evaluation") == EvaluationSettings()
        for other in set(SYSTEMS) - {system}:
            assert catalog.load(f"params:{name}.{other}") == SYSTEMS[other].settings()
