"""`kedro run` on a corpus of a few synthetic videos: what it leaves, and what it refuses."""

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

from mmer.calibration.calibration import Calibration, probabilities
from mmer.cli import explain
from mmer.errors import InputError
from mmer.evaluation.assessment import Assessment
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.scores import Scores
from mmer.samples.table import SampleTable
from mmer.systems import SYSTEMS
from mmer.systems.storage import load_fitted

MODEL, SCORES = "carat/model.safetensors", "carat/test_scores.parquet"
CALIBRATION, ASSESSMENT = "carat/calibration.json", "carat/assessment.json"


def versions(project: Path, name: str, env: str = "test") -> list[Path]:
    """The files of a versioned output, oldest first."""
    (folder,) = (project / "data").glob(f"0[2-8]_*/{env}/mosei/{name}")
    return sorted(file for file in folder.rglob("*") if file.is_file())


def table(project: Path, split: str, env: str = "test") -> SampleTable:
    return SampleTable(project / f"data/03_primary/{env}/mosei/{split}.arrow")


def client(project: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{project}/mlflow.db")


def last_run(project: Path):
    """The last run of the default pipeline: other tests run others in the same project."""
    found = client(project)
    experiments = [e.experiment_id for e in found.search_experiments()]
    default = "tags.`kedro.pipelines` = '__default__'"
    return found.search_runs(experiments, default, order_by=["attributes.start_time DESC"])[0]


def everything(project: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in (project / "data").rglob("*") if p.is_file()}


def official_files(project: Path) -> Path:
    (folder,) = (project / "data/01_raw/tiny_mosei").iterdir()
    return folder


def test_every_output_is_there_and_says_synthetic(project):
    for split in ("train", "valid", "test"):
        info = table(project, split).info
        assert info.synthetic
        assert (info.corpus, info.split) == ("mosei", split)
        assert info.labels == ("happy", "sad", "anger", "surprise", "disgust", "fear")
    assert load_fitted(versions(project, MODEL)[-1]).info.synthetic
    assert "SYNTHETIC" in versions(project, "carat/report.html")[-1].read_text().upper()
    assert Assessment.read(versions(project, ASSESSMENT)[-1]).info.synthetic


def test_every_artefact_says_what_it_was_made_from(project):
    made_from = {table(project, split).info.fingerprint for split in ("train", "valid", "test")}
    assert len(made_from) == 1
    fitted = load_fitted(versions(project, MODEL)[-1])
    calibration = Calibration.read(versions(project, CALIBRATION)[-1])
    assessment = Assessment.read(versions(project, ASSESSMENT)[-1])
    assert {fitted.info.fingerprint, calibration.fingerprint} == made_from
    assert calibration.model == assessment.info.model == fitted.digest


def test_the_summary_has_the_system_and_all_simple_ones_as_numbers(project):
    summary = pd.read_csv(versions(project, "carat/summary.csv")[-1])
    beside = [system.title for system in SYSTEMS.values() if system.simple]
    assert summary["system"].tolist() == ["CARAT", *beside]
    assert pd.api.types.is_float_dtype(summary["micro_f1"])


def test_the_mlflow_run_tells_all(project):
    found, run = client(project), last_run(project)
    assert run.info.status == "FINISHED"
    assert run.data.tags["synthetic"] == "true"
    fingerprint = table(project, "train").info.fingerprint
    assert fingerprint in run.data.tags.values()
    assert run.data.params["mosei.carat.network.hidden"] == "16"
    assessment = Assessment.read(versions(project, ASSESSMENT)[-1])
    for name in HEADLINE:  # under the thresholds that the page has them under
        shown = assessment.intervals.metrics[name].value
        assert run.data.metrics[f"test/{name}"] == pytest.approx(shown)
    logged = {artifact.path for artifact in found.list_artifacts(run.info.run_id)}
    assert {"mosei.carat", "figures", "parameters.yaml", "report.html"} <= logged


def test_the_registered_version_decides_like_the_run(project, monkeypatch):
    monkeypatch.chdir(project)
    uri = f"sqlite:///{project}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    name, fitted = "mosei-test-synthetic", load_fitted(versions(project, MODEL)[-1])
    wanted = f"name = '{name}' and tags.model = '{fitted.digest}'"
    registered = client(project).search_model_versions(wanted)[0]
    samples = table(project, "test")
    frame = samples.arrow().select(list(samples.info.modalities)).slice(0, 5).to_pandas()
    frame = frame.map(lambda rows: [list(map(float, row)) for row in rows])
    served = mlflow.pyfunc.load_model(f"models:/{name}/{registered.version}").predict(frame)
    scores = Scores.from_arrow(pq.read_table(versions(project, SCORES)[-1]))
    calibration = Calibration.read(versions(project, CALIBRATION)[-1])
    expected = probabilities(scores.scores[:5], calibration)
    np.testing.assert_allclose(
        served[list(scores.labels)].to_numpy(), expected, rtol=1e-4, atol=1e-5
    )


def test_a_second_run_reuses_the_tables_and_repeats_the_model(project, run, caplog):
    before = everything(project)
    first = load_fitted(versions(project, MODEL)[-1])
    anew = {"mosei": {"checkpoints": {"resume": "never"}}}
    with caplog.at_level(logging.INFO):
        run(params=anew)
    assert sum("up to date: reused" in message for message in caplog.messages) == 3
    assert any("epoch 1/" in message for message in caplog.messages), "it trains again"
    assert load_fitted(versions(project, MODEL)[-1]).digest == first.digest
    after = everything(project)
    changed = {path for path in before if after.get(path) != before[path]}
    assert {path.parts[-3] for path in changed} == {"checkpoints"}, "they hold the time it took"


STAGES = ("alignment", "training", "calibration", "evaluation", "comparison")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_alone_works_from_what_the_stage_before_has_stored(project, run, stage):
    first = load_fitted(versions(project, MODEL)[-1])
    run(tags=[stage])
    assert load_fitted(versions(project, MODEL)[-1]).digest == first.digest


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"mosei": {"ingestion": {"csd": {"max_words": 1}}}}, "max_words"),
        ({"mosei": {"ingestion": {"validation": {"seed": 9}}}}, "validation"),
        ({"corpus_seed": 9}, "files"),
    ],
)
def test_a_stage_alone_does_not_take_tables_that_its_parameters_do_not_ask_for(
    project, run, changed, named
):
    before = everything(project)
    with pytest.raises(InputError, match=rf"tables of mosei.*({named}).*without --tags"):
        run(tags=["training"], params=changed)
    assert everything(project) == before


def test_thresholds_of_another_model_are_refused(project, run):
    path = versions(project, CALIBRATION)[-1]
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "model": "0" * 64}))
    try:
        with pytest.raises(InputError, match="model"):
            run(tags=["evaluation"])
        assert last_run(project).info.status == "FAILED"
    finally:
        path.write_text(json.dumps(record))


@pytest.mark.slow
def test_a_model_is_not_evaluated_on_tables_that_it_was_not_made_for(project, run, tmp_path):
    files = tmp_path / "files"
    shutil.copytree(official_files(project), files)
    folds = json.loads((files / "folds.json").read_text())
    swapped = {
        "standard_train_fold": "standard_test_fold",
        "standard_test_fold": "standard_train_fold",
    }
    (files / "folds.json").write_text(json.dumps({swapped.get(k, k): v for k, v in folds.items()}))
    try:
        run(params={"mosei_files": str(files)}, tags=["ingestion", "alignment"])
        for stage in ("calibration", "evaluation", "comparison"):
            with pytest.raises(InputError, match="fingerprint"):
                run(params={"mosei_files": str(files)}, tags=[stage])
    finally:
        run(tags=["ingestion", "alignment"])


def test_what_is_synthetic_stays_so_wherever_it_is_copied(project, run, tmp_path):
    files = tmp_path / "my own files"
    shutil.copytree(official_files(project), files)
    run(params={"mosei_files": str(files)}, tags=["ingestion", "alignment"])
    assert table(project, "train").info.synthetic
    run(tags=["ingestion", "alignment"])


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("CMU_MOSEI_COVAREP.csd", "no CMU_MOSEI_COVAREP.csd"),
        (None, "the official files of CMU-MOSEI"),
    ],
)
def test_missing_files_stop_the_run_and_lose_nothing(project, run, tmp_path, missing, words):
    files = tmp_path / "files"
    if missing:
        shutil.copytree(official_files(project), files)
        (files / missing).unlink()
    before = everything(project)
    with pytest.raises((InputError, DatasetError)) as caught:
        run(params={"mosei_files": str(files)})
    assert words in (explain(caught.value) or "")
    assert everything(project) == before
    assert last_run(project).info.status == "FAILED"


def test_another_corpus_makes_other_tables(project, run, tmp_path):
    files = tmp_path / "files"
    shutil.copytree(official_files(project), files)
    folds = json.loads((files / "folds.json").read_text())
    folds["standard_train_fold"] = folds["standard_train_fold"][:-1]
    (files / "folds.json").write_text(json.dumps(folds))
    before = len(table(project, "train"))
    run(params={"mosei_files": str(files)}, tags=["ingestion", "alignment"])
    assert len(table(project, "train")) == before - 4
    run(tags=["ingestion", "alignment"])
    assert len(table(project, "train")) == before


def test_a_table_takes_no_second_place(project):
    path = table(project, "train").path
    assert path.stat().st_nlink == 2
