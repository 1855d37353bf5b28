"""The registered model gives the network's own scores, anywhere, and refuses what does not fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.scoring_server import invocations

from mmer.calibration.calibration import Calibration, calibrate, decide
from mmer.calibration.settings import CalibrationSettings
from mmer.errors import InputError
from mmer.evaluation.metrics import evaluate
from mmer.models.carat import Carat
from mmer.models.settings import CaratSettings
from mmer.models.weights import TrainedModel
from mmer.registry import servable, tracking
from mmer.registry.servable import ServableModel
from mmer.samples.scores import Scores
from mmer.samples.table import MODALITIES

LABELS = ("happy", "sad", "anger")
WIDTHS = {"text": 6, "visual": 4, "audio": 5}


def make_servable(seed: int = 0) -> ServableModel:
    torch.manual_seed(seed)
    layers = dict.fromkeys(MODALITIES, 1)
    settings = CaratSettings(
        hidden=8, latent=4, heads=2, feed_forward=8, layers=layers, max_length=12, queue=16
    )
    network = Carat(settings, WIDTHS, len(LABELS))
    model = TrainedModel.from_network(network, LABELS, "toy", True, {})
    table = make_requests(60, seed)
    values = direct_scores(model, table).astype(np.float64)
    truth = (values > np.median(values, axis=0)).astype(np.uint8)
    names = tuple(table.index)
    scores = Scores(values, truth, names, names, LABELS, "valid", model.digest, True)
    calibration = calibrate(scores, CalibrationSettings())
    return ServableModel(model, calibration, evaluate(scores, np.array(calibration.thresholds)))


def make_requests(count: int, seed: int = 0) -> pd.DataFrame:
    """Sequences of 1 to 9 steps; the first row has text alone, the second has no audio."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        length = int(rng.integers(1, 10))
        rows.append({m: rng.normal(size=(length, WIDTHS[m])).tolist() for m in MODALITIES})
    rows[0].update(visual=None, audio=[])
    rows[1].update(audio=None)
    return pd.DataFrame(rows, index=[f"row{i}" for i in range(count)])


def direct_scores(model: TrainedModel, table: pd.DataFrame) -> np.ndarray:
    """The network's scores, one sample at a time and without any of our packing."""
    network = model.build()
    scores = []
    for row in table.to_dict("records"):
        steps = {m: row[m] if row[m] else np.zeros((1, WIDTHS[m])) for m in MODALITIES}
        features = {
            m: torch.tensor(np.array(x), dtype=torch.float32)[None] for m, x in steps.items()
        }
        masks = {m: torch.full(features[m].shape[:2], bool(row[m])) for m in MODALITIES}
        scores.append(network.scores(features, masks).numpy()[0])
    return np.array(scores)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[ServableModel, Path]:
    """A servable model and the folder that it was written to."""
    made, folder = make_servable(), tmp_path_factory.mktemp("saved") / "model"
    servable.save(made, folder)
    return made, folder


@pytest.fixture(scope="module")
def loaded(saved: tuple[ServableModel, Path]) -> PyFuncModel:
    return mlflow.pyfunc.load_model(str(saved[1]))


def test_predictions_are_the_networks_scores_and_the_thresholds_decisions(saved, loaded):
    made, _ = saved
    table = make_requests(40)
    answer = loaded.predict(table)
    expected = direct_scores(made.model, table)
    assert list(answer.columns) == [*LABELS, "emotions"]
    assert list(answer.index) == list(table.index)
    np.testing.assert_allclose(answer[list(LABELS)], expected, rtol=0, atol=1e-6)
    decided = decide(answer[list(LABELS)].to_numpy(), made.calibration)
    assert answer["emotions"].tolist() == [
        [label for label, yes in zip(LABELS, row, strict=True) if yes] for row in decided
    ]
    assert len({tuple(names) for names in answer["emotions"]}) > 2


@pytest.mark.parametrize("form", [np.array, lambda steps: [np.array(step) for step in steps]])
def test_sequences_may_be_arrays_or_lists(loaded, form):
    table = make_requests(5)
    other = table.map(lambda cell: form(cell) if cell else None)
    pd.testing.assert_frame_equal(loaded.predict(other), loaded.predict(table))


def test_a_modality_without_any_sample_may_be_left_out(saved, loaded):
    table = make_requests(6)[["text"]]
    expected = direct_scores(saved[0].model, table.assign(visual=None, audio=None))
    np.testing.assert_allclose(loaded.predict(table)[list(LABELS)], expected, rtol=0, atol=1e-6)


def test_the_same_through_json_as_a_server_gets_and_gives_it(loaded):
    table = make_requests(6)
    request = json.dumps({"dataframe_records": table.to_dict("records")})
    schema = loaded.metadata.get_input_schema()
    answer = invocations(request.encode(), "application/json", loaded, schema)
    assert answer.status == 200
    expected = loaded.predict(table).reset_index(drop=True)
    found = pd.DataFrame(json.loads(answer.response)["predictions"])
    np.testing.assert_allclose(found[list(LABELS)], expected[list(LABELS)], rtol=0, atol=1e-7)
    assert found["emotions"].tolist() == expected["emotions"].tolist()


def _with(cell: object, row: int = 2, modality: str = "text") -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        table.at[table.index[row], modality] = cell

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_with([[0.0] * 5]), r"row 2 \[text\]: expected steps of 6 numbers each.*\(1, 5\)"),
        (_with([[0.0] * 6, [0.0] * 5]), r"row 2 \[text\]: expected steps of 6 numbers each"),
        (_with([[0.0] * 6, [0.0, 1, 2, 3, 4, np.nan]]), r"row 2 .*finite.*nan in step 1, 5"),
        (_with([[np.inf] + [0.0] * 5]), r"row 2 \[text\]: expected finite numbers, found inf"),
        (_with(None, row=0), r"row 0: expected at least one of text, visual, audio, found none"),
        (_with([[0.0] * 6] * 13), r"12"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_by_row_and_modality(loaded, change, message):
    table = make_requests(4)
    change(table)
    with pytest.raises(InputError, match=message):
        loaded.predict(table)


def test_no_rows_give_no_rows(loaded):
    answer = loaded.predict(make_requests(3).iloc[:0])
    assert answer.shape == (0, 4)


def test_the_folder_holds_weights_json_and_source_and_no_pickle(saved):
    files = {str(p.relative_to(saved[1])): p for p in saved[1].rglob("*") if p.is_file()}
    assert {name for name in files if not name.startswith("code/")} == {
        "MLmodel",
        "artifacts/calibration.json",
        "artifacts/weights.safetensors",
        "conda.yaml",
        "input_example.json",
        "serving_input_example.json",
        "python_env.yaml",
        "requirements.txt",
        "servable_code.py",
    }
    assert "code/mmer/models/carat.py" in files
    assert not [name for name in files if name.endswith((".pkl", ".pt", ".pyc", ".bin"))]
    # How a pickle and the zip archive that torch.save makes begin.
    assert not [n for n, p in files.items() if p.read_bytes()[:2] in (b"PK", b"\x80\x04")]


def test_thresholds_and_metrics_of_other_weights_are_refused(saved, tmp_path):
    made, folder = saved
    other = make_servable(seed=1)
    assert other.model.digest != made.model.digest
    with pytest.raises(InputError, match="weights"):
        ServableModel(made.model, other.calibration, made.metrics)
    with pytest.raises(InputError, match=r"test metrics.*Evaluate again"):
        ServableModel(made.model, made.calibration, other.metrics)
    renamed = replace(other.calibration, labels=("happy", "anger", "sad"))
    with pytest.raises(InputError, match="labels"):
        ServableModel(other.model, renamed, other.metrics)
    mixed = tmp_path / "mixed"
    servable.save(other, mixed)
    record = (folder / "artifacts" / "calibration.json").read_bytes()
    (mixed / "artifacts" / "calibration.json").write_bytes(record)
    with pytest.raises(InputError, match="Calibrate again"):
        mlflow.pyfunc.load_model(str(mixed))


def test_register_numbers_versions_moves_the_alias_and_notes_whose_they_are(project):
    first, second = make_servable(0), make_servable(1)
    with pytest.raises(InputError, match=r"toy_registered@candidate.*Train"):
        servable.load("toy_registered")
    assert not servable.exists("toy_registered")
    run = tracking.open_run(project, "training")
    assert servable.register(first, "toy_registered") == "1"
    assert tracking.current_run() is run
    run.close("FINISHED")
    assert servable.register(second, "toy_registered") == "2"
    assert tracking.current_run() is None
    assert servable.exists("toy_registered")

    table = make_requests(5)
    expected = direct_scores(second.model, table)
    loaded = servable.load("toy_registered")
    np.testing.assert_allclose(loaded.predict(table)[list(LABELS)], expected, rtol=0, atol=1e-6)
    client = run.client
    assert client.get_model_version_by_alias("toy_registered", "candidate").version == 2
    version = client.get_model_version("toy_registered", "1")
    assert version.run_id == run.run_id
    assert version.tags["weights"] == first.model.digest
    assert (version.tags["corpus"], version.tags["synthetic"]) == ("toy", "true")
    assert float(version.tags["test.micro_f1"]) == first.metrics["micro_f1"]
    assert "test.synthetic" not in version.tags
    of_its_own = client.get_run(client.get_model_version("toy_registered", "2").run_id)
    assert of_its_own.info.status == "FINISHED"
    (output,) = client.get_run(run.run_id).outputs.model_outputs
    assert output.model_id in version.source


def test_a_registry_that_refuses_is_one_clear_error_and_the_run_of_its_own_failed(project):
    with pytest.raises(InputError, match=r"a registry that takes the model.*run the last node"):
        servable.register(make_servable(), "not/a:name")
    client = tracking.connect(tracking.tracking_uri(project))
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT).experiment_id
    (last,) = client.search_runs([experiment], max_results=1)
    assert (last.info.run_name, last.info.status) == ("register not/a:name", "FAILED")


@pytest.mark.slow
def test_register_at_a_server_and_load_from_it(mlflow_server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made, table = make_servable(3), make_requests(5)
    assert servable.register(made, "toy_served") == "1"
    expected = direct_scores(made.model, table)
    answer = servable.load("toy_served").predict(table)
    np.testing.assert_allclose(answer[list(LABELS)], expected, rtol=0, atol=1e-6)
    mlflow_server.kill()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InputError, match="that answers"):
        servable.register(made, "toy_served")


@pytest.mark.slow
def test_loads_in_a_fresh_process_without_this_repository(project, tmp_path):
    made, table = make_servable(2), make_requests(5)
    servable.register(made, "toy_fresh")
    script = """
import sys
sys.path = [p for p in sys.path if "work" not in p and not p.endswith("/src")]
sys.meta_path = [f for f in sys.meta_path if "editable" not in str(f)]
import json, mlflow, pandas
model = mlflow.pyfunc.load_model("models:/toy_fresh@candidate")
table = pandas.DataFrame(json.loads(sys.stdin.read()))
answer = model.predict(table)
import mmer
scores = answer.drop(columns="emotions").to_numpy().tolist()
print(json.dumps({"scores": scores, "code": mmer.__file__}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(table.to_dict("records")),
        cwd=tmp_path,
        env=os.environ | {"MLFLOW_REGISTRY_URI": os.environ["MLFLOW_TRACKING_URI"]},
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    expected = direct_scores(made.model, table)
    np.testing.assert_allclose(answer["scores"], expected, rtol=0, atol=1e-6)
    assert "mlartifacts" in answer["code"]


def test_calibration_survives_its_json(saved):
    record = (saved[1] / "artifacts" / "calibration.json").read_text()
    assert Calibration.from_dict(json.loads(record)) == saved[0].calibration
