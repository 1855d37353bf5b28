"""One MLflow run per pipeline run, holding what the catalog and the data say."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from kedro.framework.hooks.manager import _create_hook_manager, _register_hooks
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node
from kedro.runner import AbstractRunner, SequentialRunner, ThreadRunner
from mlflow.entities import Run
from pydantic import BaseModel

from mmer.corpora.source import SampleStream
from mmer.errors import InputError
from mmer.hooks import MlflowTracking
from mmer.registry import tracking

RUN_ID = "2026-01-01T00.00.00.000Z"


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an MLflow database, shared by the session because making one takes seconds."""
    folder = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    return folder


@pytest.fixture
def run(project: Path) -> Callable[..., Run]:
    """Run a pipeline as a Kedro session does; return what MLflow holds of it afterwards."""
    hook = MlflowTracking()

    def run(
        nodes: list[Any],
        catalog: DataCatalog,
        runner: AbstractRunner | None = None,
        **params: object,
    ) -> Run:
        manager = _create_hook_manager()
        _register_hooks(manager, [hook])
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


def test_outputs_that_the_catalog_marks_are_logged_by_version(run, tmp_path):
    def entry(name: str, **more: object) -> dict[str, object]:
        return {"type": "json.JSONDataset", "filepath": str(tmp_path / f"{name}.json"), **more}

    catalog = DataCatalog.from_config(
        {
            "mosei.thresholds": entry("a", versioned=True, metadata={"mlflow": "artifact"}),
            "mosei.curves": entry("b", metadata={"mlflow": "artifact"}),
            "mosei.test_metrics": entry("c", versioned=True, metadata={"mlflow": "metrics"}),
            "mosei.unmarked": entry("d", metadata={"kedro-viz": {"layer": "reporting"}}),
        },
        save_version=RUN_ID,
    )
    values = {
        "mosei.thresholds": {"happy": 0.3},
        "mosei.curves": [1, 2],
        "mosei.test_metrics": {
            "micro_f1": 0.5,
            "labels": {"happy": 0.25, "sad": None},
            "synthetic": True,
        },
        "mosei.unmarked": {"secret": 1.0},
    }
    seen = run([node(lambda: tuple(values.values()), None, list(values))], catalog)
    assert seen.data.metrics == {
        "test_metrics/micro_f1": 0.5,
        "test_metrics/labels/happy": 0.25,
    }
    client = tracking.connect(tracking.tracking_uri(tmp_path))
    files = {
        file.path
        for folder in client.list_artifacts(seen.info.run_id)
        for file in client.list_artifacts(seen.info.run_id, folder.path)
    }
    assert files == {"mosei.thresholds/a.json", "mosei.curves/b.json"}
    copied = client.download_artifacts(seen.info.run_id, "mosei.thresholds/a.json")
    original = tmp_path / "a.json" / RUN_ID / "a.json"
    assert Path(copied).read_bytes() == original.read_bytes()


def test_metadata_that_means_nothing_stops_the_run_before_its_nodes(run):
    catalog = DataCatalog({"out": MemoryDataset(metadata={"mlflow": "artefact"})})
    with pytest.raises(InputError, match=r"catalog entry out \[metadata.mlflow\].*'artefact'"):
        run([node(lambda: 1, None, "out")], catalog)
    assert tracking.current_run() is None


def test_metrics_arrive_while_the_node_still_runs(run):
    progress = logging.getLogger("mmer.training.progress")
    so_far = []

    def train() -> int:
        opened = tracking.current_run()
        for epoch in range(3):
            progress.info("epoch", extra={"metrics": {"loss": 1 - epoch / 4}, "step": epoch})
            history = opened.client.get_metric_history(opened.run_id, "loss")
            so_far.append([(m.step, m.value) for m in history])
        progress.info("a line without metrics")
        return 1

    progress.setLevel(logging.ERROR)
    run([node(train, None, "out")], DataCatalog())
    assert so_far == [[(0, 1.0)], [(0, 1.0), (1, 0.75)], [(0, 1.0), (1, 0.75), (2, 0.5)]]
    assert progress.handlers == []


def test_data_are_named_by_fingerprint_and_synthetic_is_called_synthetic(run, toy_info, toy_table):
    catalog = DataCatalog(
        {"toy.train": MemoryDataset(toy_table(4)), "plain": MemoryDataset(pa.table({"a": [1]}))}
    )

    def ingest() -> SampleStream:
        return SampleStream(toy_info, [])

    def read(table: pa.Table, plain: pa.Table) -> int:
        return table.num_rows

    seen = run(
        [node(ingest, None, "toy.valid"), node(read, ["toy.train", "plain"], "out")], catalog
    )
    assert {k: v for k, v in seen.data.tags.items() if k.startswith(("data.", "synth"))} == {
        "data.toy.train.fingerprint": "made-for-tests",
        "data.toy.valid.fingerprint": "made-for-tests",
        "data.toy.bin.sha256": "0" * 64,
        "synthetic": "true",
    }


def test_failed_run_ends_failed_with_its_error(run):
    def fail() -> int:
        raise ValueError("loss is NaN")

    seen = run([node(fail, None, "out")], DataCatalog())
    assert (seen.info.status, seen.data.tags["error"]) == ("FAILED", "loss is NaN")
    assert logging.getLogger("mmer.training.progress").handlers == []


def test_pipeline_run_within_a_node_has_a_run_of_its_own(run):
    progress = logging.getLogger("mmer.training.progress")
    inner = []

    def train() -> int:
        progress.info("inner", extra={"metrics": {"loss": 2.0}, "step": 0})
        return 1

    def outer() -> int:
        inner.append(run([node(train, None, "trained")], DataCatalog()))
        progress.info("outer", extra={"metrics": {"loss": 1.0}, "step": 0})
        return 1

    seen = run([node(outer, None, "out")], DataCatalog())
    assert inner[0].data.tags["mlflow.parentRunId"] == seen.info.run_id
    assert inner[0].data.metrics["loss"] == 2.0
    assert seen.data.metrics["loss"] == 1.0


def test_nodes_in_threads_log_to_the_same_run(run, tmp_path):
    def entry(name: str) -> dict[str, object]:
        path = str(tmp_path / f"{name}.json")
        return {"type": "json.JSONDataset", "filepath": path, "metadata": {"mlflow": "metrics"}}

    catalog = DataCatalog.from_config({f"m{i}": entry(f"m{i}") for i in range(8)})
    nodes = [node(lambda i=i: {"value": float(i)}, None, f"m{i}", name=f"n{i}") for i in range(8)]
    seen = run(nodes, catalog, ThreadRunner(max_workers=4))
    assert seen.data.metrics == {f"m{i}/value": float(i) for i in range(8)}


def test_nothing_is_opened_by_loading_and_saving_outside_a_run(project, toy_info):
    hook = MlflowTracking()
    hook.after_dataset_loaded("toy.train", SampleStream(toy_info, []))
    hook.after_dataset_saved("toy.train", SampleStream(toy_info, []))
    assert tracking.current_run() is None
