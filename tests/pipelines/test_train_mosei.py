"""`kedro run --pipeline=train_mosei` as a whole, on a corpus of a few synthetic videos."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from kedro.io import DatasetError
from mlflow import MlflowClient

from mmer.cli import explain
from mmer.errors import InputError
from mmer.models.weights import TrainedModel
from mmer.samples.scores import Scores
from mmer.samples.table import open_table, table_info


def versions(project: Path, name: str) -> list[Path]:
    """The files of a versioned output, oldest first."""
    (folder,) = (project / "data").glob(f"0[2-8]_*/mosei/{name}")
    return sorted(file for file in folder.rglob("*") if file.is_file())


def read(project: Path, name: str):
    return json.loads(versions(project, name)[-1].read_text())


def client(project: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project}/mlflow.db")


def last_run(project: Path):
    found = client(project)
    experiments = [e.experiment_id for e in found.search_experiments()]
    return found.search_runs(experiments, order_by=["attributes.start_time DESC"])[0]


def everything(project: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in (project / "data").rglob("*") if p.is_file()}


def test_every_output_is_there_and_says_synthetic(tiny_project):
    for split in ("train", "valid", "test"):
        info = table_info(open_table(tiny_project / f"data/03_primary/mosei/{split}.arrow"))
        assert info.synthetic
        assert info.corpus == "mosei"
        assert info.labels == ("happy", "sad", "anger", "surprise", "disgust", "fear")
    assert TrainedModel.load(versions(tiny_project, "carat.safetensors")[-1]).synthetic
    page = versions(tiny_project, "report.html")[-1].read_text()
    assert "SYNTHETIC" in page.upper()
    assert read(tiny_project, "test_metrics.json")["synthetic"] is True


def test_thresholds_metrics_and_scores_name_the_weights(tiny_project):
    digest = TrainedModel.load(versions(tiny_project, "carat.safetensors")[-1]).digest
    assert read(tiny_project, "carat_calibration.json")["weights"] == digest
    assert read(tiny_project, "test_metrics.json")["weights"] == digest


def test_the_summary_has_carat_and_three_baselines(tiny_project):
    summary = pd.read_csv(versions(tiny_project, "summary.csv")[-1])
    assert summary["system"].tolist() == [
        "CARAT",
        "everything positive",
        "label prior",
        "logistic regression",
    ]


def test_the_mlflow_run_tells_all(tiny_project):
    found = client(tiny_project)
    run = last_run(tiny_project)
    assert run.info.status == "FINISHED"
    assert run.data.tags["synthetic"] == "true"
    table = open_table(tiny_project / "data/03_primary/mosei/train.arrow")
    for name, digest in table_info(table).sources.items():
        assert run.data.tags[f"data.{name}.sha256"] == digest
    fingerprint = run.data.tags["data.mosei.train_samples.fingerprint"]
    assert fingerprint == table_info(table).fingerprint
    assert run.data.params["mosei.training.carat.hidden"] == "16"
    assert run.data.metrics["test_metrics/micro_f1"] == pytest.approx(
        read(tiny_project, "test_metrics.json")["micro_f1"]
    )
    steps = [m.step for m in found.get_metric_history(run.info.run_id, "valid_micro_f1")]
    assert steps == [1, 2]
    logged = {artifact.path for artifact in found.list_artifacts(run.info.run_id)}
    assert "mosei.model" in logged
    assert "mosei.report" in logged


def test_the_registered_candidate_decides_like_the_run(tiny_project, monkeypatch):
    monkeypatch.chdir(tiny_project)
    uri = f"sqlite:///{tiny_project}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    version = client(tiny_project).get_model_version_by_alias("carat-mosei", "candidate")
    assert version.tags["synthetic"] == "true"
    table = open_table(tiny_project / "data/03_primary/mosei/test.arrow")
    frame = table.select(["text", "visual", "audio"]).slice(0, 5).to_pandas()
    frame = frame.map(lambda rows: [list(map(float, row)) for row in rows])
    served = mlflow.pyfunc.load_model("models:/carat-mosei@candidate").predict(frame)
    (path,) = versions(tiny_project, "test_scores.parquet")[-1:]
    expected = Scores.from_arrow(pq.read_table(path))
    np.testing.assert_allclose(
        served[list(expected.labels)].to_numpy(), expected.scores[:5], rtol=1e-4, atol=1e-5
    )


def test_a_second_run_reuses_the_tables_and_repeats_the_weights(tiny_project, run, caplog):
    before = everything(tiny_project)
    first = TrainedModel.load(versions(tiny_project, "carat.safetensors")[-1])
    with caplog.at_level(logging.INFO):
        run()
    assert sum("up to date: reused" in message for message in caplog.messages) == 3
    weights = versions(tiny_project, "carat.safetensors")
    assert TrainedModel.load(weights[-1]).digest == first.digest
    after = everything(tiny_project)
    assert {path: after[path] for path in before} == before


def test_thresholds_of_other_weights_are_refused(tiny_project, run):
    weights = versions(tiny_project, "carat.safetensors")[-1]
    thresholds = versions(tiny_project, "carat_calibration.json")[-1]
    record = json.loads(thresholds.read_text())
    thresholds.write_text(json.dumps({**record, "weights": "0" * 64}))
    try:
        with pytest.raises(InputError, match="weights"):
            run(tags=["evaluation"])
        assert last_run(tiny_project).info.status == "FAILED"
    finally:
        thresholds.write_text(json.dumps(record))
    assert weights.exists()


def official_files(project: Path) -> Path:
    (folder,) = (project / "data/01_raw/tiny").iterdir()
    return folder


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("CMU_MOSEI_COVAREP.csd", "no CMU_MOSEI_COVAREP.csd"),
        (None, "the corpus's official files"),
    ],
)
def test_missing_files_stop_the_run_and_lose_nothing(tiny_project, run, tmp_path, missing, words):
    files = tmp_path / "files"
    if missing:
        shutil.copytree(official_files(tiny_project), files)
        (files / missing).unlink()
    before = everything(tiny_project)
    with pytest.raises((InputError, DatasetError)) as caught:
        run(params={"files": str(files)})
    assert words in (explain(caught.value) or "")
    assert everything(tiny_project) == before
    assert last_run(tiny_project).info.status == "FAILED"


def test_another_corpus_makes_other_tables(tiny_project, run, tmp_path):
    files = tmp_path / "files"
    shutil.copytree(official_files(tiny_project), files)
    folds = json.loads((files / "folds.json").read_text())
    folds["standard_train_fold"] = folds["standard_train_fold"][:-1]
    (files / "folds.json").write_text(json.dumps(folds))
    path = tiny_project / "data/03_primary/mosei/train.arrow"
    before = len(open_table(path))
    run(params={"files": str(files)}, tags=["ingestion", "alignment"])
    assert len(open_table(path)) == before - 4
    run(tags=["ingestion", "alignment"])
    assert len(open_table(path)) == before
