"""The same pipelines at an MLflow server with PostgreSQL and artefacts of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from servers import MlflowServer, Postgres

from mmer.predict import champion
from mmer.registry import tracking
from mmer.samples.table import SampleTable
from mmer.systems import SYSTEMS

SYSTEM = "linear"


class Machine:
    """PostgreSQL and MLflow's server, which go down and come back together."""

    def __init__(self, folder: Path) -> None:
        self._database = Postgres()
        self._server = MlflowServer(folder, self._database.uri)
        self.uri = self._server.uri

    def start(self) -> None:
        self._database.start()
        self._server.start()

    def stop(self) -> None:
        self._server.kill()
        self._database.stop()

    def remove(self) -> None:
        self._server.kill()
        self._database.remove()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    found = Machine(tmp_path)
    try:
        found.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", found.uri)
        yield found
    finally:
        found.remove()


@pytest.mark.slow
def test_train_promote_and_predict_over_a_restart(machine, new_project, run_in, monkeypatch):
    project = new_project()
    (project / "mlflow.db").unlink()
    monkeypatch.chdir(project)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", machine.uri)
    system, fit = type(SYSTEMS[SYSTEM]), type(SYSTEMS[SYSTEM]).fit

    def fit_while_all_is_down(*given: object) -> object:
        machine.stop()
        fitted = fit(*given)
        tracking.current_run().set_tags({"said": "while nobody listened"})
        machine.start()
        return fitted

    monkeypatch.setattr(system, "fit", fit_while_all_is_down)
    run_in(project, f"train_mosei_{SYSTEM}")
    client = MlflowClient(machine.uri)
    found = client.get_model_version_by_alias("mosei-test-synthetic", "candidate")
    run = client.get_run(found.run_id)
    assert (run.info.status, run.data.tags["said"]) == ("FINISHED", "while nobody listened")
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")

    run_in(project, "promote_mosei", params={"mosei": {"promotion": {"synthetic": True}}})
    machine.stop()
    machine.start()
    found = client.get_model_version("mosei-test-synthetic", found.version)
    assert found.tags["promotion"].startswith("version 1 ")
    if "champion" not in found.aliases:
        # So few samples need not show that it is better than the constant systems.
        assert found.tags["promotion"].startswith("version 1 refused")
        client.set_registered_model_alias("mosei-test-synthetic", "champion", found.version)
    table = SampleTable(next(project.glob("data/03_primary/test/mosei/test.arrow")))
    run_in(project, "predict_mosei", params={"files": str(table.path)})
    (scored,) = project.glob("data/07_model_output/test/mosei/predictions.parquet/*/*")
    rows = pq.read_table(scored).to_pandas().set_index("sample_id")
    model = champion("mosei-test")
    expected = model.predict(table)[list(model.labels)]
    found_rows = rows.loc[expected.index, expected.columns]
    np.testing.assert_allclose(found_rows, expected, rtol=0, atol=1e-6)
    (last,) = client.search_runs([run.info.experiment_id], max_results=1)
    assert last.data.tags["kedro.pipelines"] == "predict_mosei"
    assert list(client.list_artifacts(last.info.run_id))
    assert not [*project.glob("mlflow.db"), *project.glob("mlartifacts"), *project.glob("mlruns")]
