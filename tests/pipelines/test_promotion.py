"""A model's life in one project: trained, promoted, surpassed, refused, taken back, in use."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.request import Request, urlopen

import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from kedro.io import DatasetError
from mlflow import MlflowClient
from servers import free_port, wait_for

from mmer.errors import InputError
from mmer.evaluation.promotion import Decision
from mmer.samples.table import SampleTable

NAME = "mosei-test-synthetic"
BETTER = {"network": {"step_width": 32}, "training": {"epochs": 25, "modality_dropout": 0.2}}
WORSE = {"penalties": [1000.0]}
# The better network gives up a label that few samples have.
RULE = {"synthetic": True, "label_margin": 0.5}


def aliases(client: MlflowClient) -> dict[str, str]:
    found = client.get_registered_model(NAME).aliases
    return {alias: str(number) for alias, number in found.items()}


def last(project: Path, name: str) -> Path:
    return sorted(project.glob(f"data/08_reporting/test/mosei/promotion/{name}/*/{name}"))[-1]


@pytest.fixture
def corpus_with_something_to_learn(new_project: Callable[[], Path], monkeypatch) -> Path:
    folder = new_project()
    catalog = folder / "conf" / "test" / "catalog.yml"
    text = catalog.read_text()
    for split, few, more in (("train", 12, 60), ("valid", 8, 30), ("test", 8, 40)):
        assert f"{split}_videos: {few}\n" in text
        text = text.replace(f"{split}_videos: {few}\n", f"{split}_videos: {more}\n", 1)
    catalog.write_text(text)
    monkeypatch.chdir(folder)
    # As it would be without the variable, for the servers too.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    return folder


@pytest.mark.slow
def test_the_whole_life(corpus_with_something_to_learn, run_in, caplog):
    project = corpus_with_something_to_learn

    def run(pipeline: str, **params: dict) -> None:
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="mmer"):
            run_in(project, pipeline, params={"mosei": params})

    def promote(**rule: object) -> Decision:
        run("promote_mosei", promotion=rule)
        return Decision.read(last(project, "decision.json"))

    with pytest.raises((InputError, DatasetError), match="Train one first"):
        promote()
    run("train_mosei_linear")
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    assert aliases(client) == {"candidate": "1"}

    assert [one.rule for one in promote().refusals] == ["real recordings"]
    assert aliases(client) == {"candidate": "1"}
    assert promote(**RULE).verdict == "promoted"
    assert aliases(client) == {"candidate": "1", "champion": "1"}
    assert promote(**RULE).verdict == "unchanged"
    assert "version 1 is champion already" in caplog.text

    run("train_mosei_pooled", pooled=BETTER)
    assert "registered without becoming the candidate: version 1 is better (no label" in caplog.text
    run("train_mosei_pooled", pooled=BETTER, promotion=RULE)
    better = promote(**RULE)
    assert (better.verdict, better.evaluations) == ("promoted", 2)
    assert better.differences.metrics["micro_f1"].low > 0
    assert aliases(client) == {"candidate": "2", "champion": "2"}

    run("train_mosei_linear", linear=WORSE, promotion=RULE)
    assert "registered without becoming the candidate: version 2 is better" in caplog.text
    assert aliases(client) == {"candidate": "2", "champion": "2"}
    client.set_registered_model_alias(NAME, "candidate", "3")
    worse = promote(**RULE)
    assert worse.verdict == "refused"
    assert "better than the champion, or the constant systems (over version 2): -" in worse.told
    assert aliases(client)["champion"] == "2"
    assert client.get_model_version(NAME, "3").tags["promotion"] == worse.told
    page = last(project, "report.html").read_text()
    assert "Version 3 of mosei-test-synthetic: refused" in page
    assert "SYNTHETIC" in page

    run("rollback_mosei")
    assert aliases(client)["champion"] == "1"
    history = pd.read_csv(last(project, "champions.csv"))
    assert history["version"].tolist() == [1, 2, 1]
    assert history["what"].tolist() == ["promoted", "promoted", "taken back"]
    assert "now version 1" in caplog.text
    with pytest.raises(InputError, match="a champion to return to"):
        run("rollback_mosei")
    client.set_registered_model_alias(NAME, "candidate", "2")
    assert [one.rule for one in promote(**RULE).refusals] == ["not taken back before"]

    table = SampleTable(next(project.glob("data/03_primary/test/mosei/test.arrow")))
    run_in(project, "predict_mosei", params={"files": str(table.path)})
    assert_all_ways_agree(project, table)


def assert_all_ways_agree(project: Path, table: SampleTable) -> None:
    """The prediction pipeline, pyfunc and two servers say the same of every sample."""
    (file,) = project.glob("data/07_model_output/test/mosei/predictions.parquet/*/*")
    stored = pq.read_table(file).to_pandas().set_index("sample_id")
    assert set(stored["version"]) == {f"{NAME}/1"}
    modalities, labels = list(table.info.modalities), list(table.info.labels)
    frame = table.arrow().select(["sample_id", *modalities]).to_pandas().set_index("sample_id")
    stored = stored.loc[frame.index]
    found = [mlflow.pyfunc.load_model(f"models:/{NAME}@champion").predict(frame)]
    rows = frame.map(lambda cell: None if cell is None else [step.tolist() for step in cell])
    mlflows = ["mlflow", "models", "serve", "--env-manager", "local", "-m"]
    for program in (["mmer.serve", "mosei-test"], [*mlflows, f"models:/{NAME}@champion"]):
        command = [sys.executable, "-m", *program, "--port"]
        found.append(served(command, rows.to_dict("records")).set_index(frame.index))
    for answer in found:
        np.testing.assert_allclose(answer[labels], stored[labels], rtol=0, atol=1e-6)
        assert answer["emotions"].map(list).tolist() == stored["emotions"].map(list).tolist()
        assert answer["model"].tolist() == stored["model"].tolist()


def served(command: list[str], records: list[dict]) -> pd.DataFrame:
    """The answer of a server that is started for it."""
    port = free_port()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with Path("server.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, str(port)],
            env=os.environ | {"PATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(port, Path("server.log").read_text, server)
        body = json.dumps({"inputs": records}).encode()
        asked = Request(f"http://127.0.0.1:{port}/invocations", body)
        asked.add_header("Content-Type", "application/json")
        with urlopen(asked) as answer:
            return pd.DataFrame(json.load(answer)["predictions"])
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
