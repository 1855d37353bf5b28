"""`kedro run`, killed and asked to stop in the middle of a training, and given again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mmer.calibration.calibration import Calibration
from mmer.evaluation.assessment import Assessment
from mmer.systems.storage import load_fitted

EPOCHS = 40
ASKED = [
    "--pipelines=train_m3ed",
    "--env=test",
    f"--params=m3ed.carat.training.epochs={EPOCHS},m3ed.checkpoints.seconds=0",
]


def start(project: Path) -> subprocess.Popen:
    environment = {**os.environ, "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "kedro", "run", *ASKED]
    return subprocess.Popen(
        command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True
    )


def checkpoints(project: Path) -> list[str]:
    found = (project / "data/06_models/test/m3ed/carat/checkpoints").glob("*/*.safetensors")
    return sorted(path.stem for path in found)


def wait_for_epoch(number: int, project: Path, process: subprocess.Popen) -> None:
    while not checkpoints(project)[-1:] >= [f"{number:05d}"]:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def newest(project: Path, name: str) -> Path:
    return max(project.glob(f"data/0*/test/m3ed/carat/{name}/*/{name}"))


def results(project: Path) -> tuple[str, Calibration, dict]:
    assessment = Assessment.read(newest(project, "assessment.json"))
    return (
        load_fitted(newest(project, "model.safetensors")).digest,
        Calibration.read(newest(project, "calibration.json")),
        assessment.metrics.model_dump(),
    )


@pytest.mark.slow
def test_a_run_that_was_killed_twice_ends_as_one_that_was_not(new_project: Callable[[], Path]):
    undisturbed, project = new_project(), new_project()
    process = start(undisturbed)
    assert process.communicate()[1] is not None
    assert process.returncode == 0

    process = start(project)
    wait_for_epoch(5, project, process)
    process.kill()
    process.wait()

    process = start(project)
    wait_for_epoch(15, project, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, said
    assert "The same command goes on from" in said.splitlines()[-1]

    process = start(project)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert results(project) == results(undisturbed)

    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    (run,) = client.search_runs(experiments)
    assert run.info.status == "FINISHED"
    for metric in ("train/total", "valid/micro_f1", "train/epoch_seconds"):
        steps = [one.step for one in client.get_metric_history(run.info.run_id, metric)]
        assert sorted(steps) == list(range(1, EPOCHS + 1))
