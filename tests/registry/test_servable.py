"""The registered model gives the system's own scores, anywhere, and refuses what does not fit."""

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
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.scoring_server import invocations

from mmer.calibration.calibration import calibrate, probabilities
from mmer.calibration.probabilities import Calibrator
from mmer.calibration.settings import CalibrationSettings
from mmer.errors import InputError
from mmer.evaluation.assessment import EvaluationSettings, assess
from mmer.metrics.decisions import decide
from mmer.registry import servable, tracking
from mmer.registry.servable import ServableModel
from mmer.samples.batches import Samples, samples_of
from mmer.samples.table import Features, TableInfo
from mmer.systems import SYSTEMS
from mmer.systems.contract import FittedSystem, System, scored
from mmer.systems.linear.system import LogisticRegressionSystem

LABELS = ("happy", "sad", "anger")
WIDTHS = {"speech": 6, "face": 4, "pulse": 5}
INFO = TableInfo(
    corpus="toy",
    split="train",
    labels=LABELS,
    features={m: Features(name=f"test {m}", width=width) for m, width in WIDTHS.items()},
    alignment="none",
    synthetic=True,
    fingerprint="made-for-tests",
)
EVALUATION = EvaluationSettings(resamples=20)


def make_servable(
    seed: int = 0, system: System | None = None, *, synthetic: bool = True
) -> ServableModel:
    system = system or LogisticRegressionSystem()
    splits = [make_samples(60, seed, split, synthetic) for split in ("train", "valid", "test")]
    fitted = system.fit(*splits[:2], system.settings()).fitted
    valid, test = (scored(fitted, scorer_of(fitted), samples) for samples in splits[1:])
    calibration = calibrate(valid, CalibrationSettings())
    return ServableModel(fitted, calibration, assess(test, calibration, EVALUATION))


def make_samples(count: int, seed: int, split: str, synthetic: bool) -> Samples:
    """Labelled samples: a label is there where the first number of a modality is high."""
    table = make_requests(count, seed)
    info = INFO.model_copy(update={"split": split, "synthetic": synthetic})
    levels = table.map(lambda cell: np.mean([step[0] for step in cell or [[0.0]]])).to_numpy(float)
    noise = np.random.default_rng(seed).normal(scale=0.2, size=levels.shape)
    labels = torch.from_numpy((levels + noise > 0).astype(np.float32))
    return replace(samples_from(info, table), labels=labels)


def make_requests(count: int, seed: int = 0) -> pd.DataFrame:
    """Sequences of 1 to 9 steps; the first row has speech alone, the second has no pulse.

    In longer tables these two come again every twelve rows.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        length = int(rng.integers(1, 10))
        rows.append({m: rng.normal(size=(length, width)).tolist() for m, width in WIDTHS.items()})
    for at in range(0, count - 1, 12):
        rows[at].update(face=None, pulse=[])
        rows[at + 1].update(pulse=None)
    return pd.DataFrame(rows, index=[f"row{i}" for i in range(count)])


def samples_from(info: TableInfo, table: pd.DataFrame) -> Samples:
    features = {
        m: [np.array(cell or [], np.float32).reshape(-1, width) for cell in table[m]]
        for m, width in WIDTHS.items()
    }
    return samples_of(info, features, tuple(table.index))


def scorer_of(fitted: FittedSystem):
    return SYSTEMS[fitted.info.system].scorer(fitted, torch.device("cpu"))


def direct(made: ServableModel, table: pd.DataFrame) -> np.ndarray:
    """The probabilities that the server must give."""
    return probabilities(direct_scores(made.fitted, table), made.calibration)


def direct_scores(fitted: FittedSystem, table: pd.DataFrame) -> np.ndarray:
    """The system's scores, one sample at a time."""
    scorer = scorer_of(fitted)
    rows = (samples_from(INFO, table.iloc[[i]]) for i in range(len(table)))
    return np.concatenate([scorer.scores(row) for row in rows])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[ServableModel, Path]:
    """A servable model and the folder that it was written to."""
    made, folder = make_servable(), tmp_path_factory.mktemp("saved") / "model"
    servable.save(made, folder)
    return made, folder


@pytest.fixture(scope="module")
def loaded(saved: tuple[ServableModel, Path]) -> PyFuncModel:
    return mlflow.pyfunc.load_model(str(saved[1]))


def test_predictions_are_the_systems_scores_and_the_thresholds_decisions(saved, loaded):
    made, _ = saved
    table = make_requests(40)
    answer = loaded.predict(table)
    expected = direct(made, table)
    assert list(answer.columns) == [*LABELS, "emotions"]
    assert list(answer.index) == list(table.index)
    np.testing.assert_allclose(answer[list(LABELS)], expected, rtol=0, atol=1e-6)
    scores = direct_scores(made.fitted, table)
    decided = decide(scores, np.array(made.calibration.thresholds))
    assert answer["emotions"].tolist() == [
        [label for label, yes in zip(LABELS, row, strict=True) if yes] for row in decided
    ]
    assert len({tuple(names) for names in answer["emotions"]}) > 2


@pytest.mark.parametrize("form", [np.array, lambda steps: [np.array(step) for step in steps]])
def test_sequences_may_be_arrays_or_lists(loaded, form):
    table = make_requests(5)
    other = table.map(lambda cell: form(cell) if cell else None)
    pd.testing.assert_frame_equal(loaded.predict(other), loaded.predict(table))


@pytest.mark.parametrize("system", [s for s in SYSTEMS.values() if s.simple], ids=lambda s: s.name)
def test_every_simple_system_is_served_like_any_other(system, tmp_path):
    made, table = make_servable(system=system), make_requests(8)
    servable.save(made, tmp_path / "model")
    answer = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(table)
    scores = direct_scores(made.fitted, table)
    np.testing.assert_allclose(answer[list(LABELS)], direct(made, table), rtol=0, atol=1e-6)
    decided = decide(scores, np.array(made.calibration.thresholds))
    assert [len(names) for names in answer["emotions"]] == decided.sum(axis=1).tolist()


def test_a_column_that_is_no_modality_is_refused_by_name(loaded):
    table = make_requests(4).rename(columns={"face": "fase"})
    with pytest.raises(MlflowException, match=r"missing inputs \['face'\].*extra.*\['fase'\]"):
        loaded.predict(table)
    model = loaded.unwrap_python_model()
    with pytest.raises(
        InputError, match=r"expected speech, face, pulse, found speech, fase, pulse"
    ):
        model.predict(None, table)


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


def _with(cell: object, row: int = 2, modality: str = "speech") -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        table.at[table.index[row], modality] = cell

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_with([[0.0] * 5]), r"row 2 \[speech\]: expected steps of 6 numbers each.*\(1, 5\)"),
        (_with([[0.0] * 6, [0.0] * 5]), r"row 2 \[speech\]: expected steps of 6 numbers each"),
        (_with([[0.0] * 6, [0.0, 1, 2, 3, 4, np.nan]]), r"row 2 .*finite.*nan in step 1, 5"),
        (_with([[np.inf] + [0.0] * 5]), r"row 2 \[speech\]: expected finite numbers, found inf"),
        (_with(None, row=0), r"row 0: expected at least one of speech, face, pulse, found none"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_by_row_and_modality(loaded, change, message):
    table = make_requests(4)
    change(table)
    with pytest.raises(InputError, match=message):
        loaded.predict(table)


def test_a_modality_that_training_never_lacked_must_be_there(loaded, tmp_path):
    table = make_requests(4)
    table.at["row2", "face"] = None  # training samples lacked it
    assert len(loaded.predict(table)) == 4
    _with(None)(table)
    with pytest.raises(InputError, match=r"row 2 \[speech\].*modality_dropout"):
        loaded.predict(table)
    servable.save(make_servable(system=SYSTEMS["label_prior"]), tmp_path / "model")
    table.at["row2", "pulse"] = [[0.0] * 5]
    assert len(mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(table)) == 4


def test_what_is_served_are_calibrated_probabilities(tmp_path):
    made, table = make_servable(), make_requests(6)
    platt = Calibrator(method="platt", temperature=2.0, shift=-1.0)
    told = [one.model_copy(update={"calibrator": platt}) for one in made.calibration.probabilities]
    calibration = made.calibration.model_copy(update={"probabilities": tuple(told)})
    servable.save(replace(made, calibration=calibration), tmp_path / "model")
    answer = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(table)[list(LABELS)]
    scores = direct_scores(made.fitted, table)
    np.testing.assert_allclose(answer, platt(scores), rtol=0, atol=1e-6)
    assert np.abs(answer.to_numpy() - scores).max() > 0.05


def test_no_rows_give_no_rows(loaded):
    answer = loaded.predict(make_requests(3).iloc[:0])
    assert answer.shape == (0, 4)


def test_the_folder_holds_arrays_json_and_source_and_no_pickle(saved):
    files = {str(p.relative_to(saved[1])): p for p in saved[1].rglob("*") if p.is_file()}
    assert {name for name in files if not name.startswith("code/")} == {
        "MLmodel",
        "artifacts/calibration.json",
        "artifacts/system.safetensors",
        "conda.yaml",
        "input_example.json",
        "serving_input_example.json",
        "python_env.yaml",
        "requirements.txt",
        "servable_code.py",
    }
    assert "code/mmer/systems/contract.py" in files
    assert not [name for name in files if name.endswith((".pkl", ".pt", ".pyc", ".bin"))]
    # How a pickle and the zip archive that torch.save makes begin.
    assert not [n for n, p in files.items() if p.read_bytes()[:2] in (b"PK", b"\x80\x04")]


def test_thresholds_and_figures_of_another_model_are_refused(saved, tmp_path):
    made, folder = saved
    other = make_servable(seed=1)
    assert other.fitted.digest != made.fitted.digest
    with pytest.raises(InputError, match="Calibrate again"):
        ServableModel(made.fitted, other.calibration, made.assessment)
    with pytest.raises(InputError, match=r"assessment \[model\].*Evaluate again"):
        ServableModel(made.fitted, made.calibration, other.assessment)
    renamed = other.calibration.model_copy(update={"labels": ("happy", "anger", "sad")})
    with pytest.raises(InputError, match="labels"):
        ServableModel(other.fitted, renamed, other.assessment)
    moved = made.calibration.model_copy(update={"thresholds": (0.1, 0.2, 0.3)})
    with pytest.raises(InputError, match=r"assessment \[thresholds\].*Evaluate again"):
        ServableModel(made.fitted, moved, made.assessment)
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
    expected = direct(second, table)
    loaded = servable.load("toy_registered")
    np.testing.assert_allclose(loaded.predict(table)[list(LABELS)], expected, rtol=0, atol=1e-6)
    client, registered = run.client, "toy_registered-synthetic"
    assert client.get_model_version_by_alias(registered, "candidate").version == 2
    version = client.get_model_version(registered, "1")
    assert version.run_id == run.run_id
    assert version.tags["model"] == first.fitted.digest
    assert version.tags["system"] == LogisticRegressionSystem.name
    assert (version.tags["corpus"], version.tags["synthetic"]) == ("toy", "true")
    for metric in ("micro_f1", "macro_f1", "accuracy"):
        shown = first.assessment.intervals.metrics[metric].value
        assert float(version.tags[f"test.{metric}"]) == shown
    of_its_own = client.get_run(client.get_model_version(registered, "2").run_id)
    assert of_its_own.info.status == "FINISHED"
    (output,) = client.get_run(run.run_id).outputs.model_outputs
    assert output.model_id in version.source


def test_the_same_model_is_one_version_and_the_alias_moves_back_to_it(project, caplog):
    first, second = make_servable(0), make_servable(1)
    moved = first.calibration.model_copy(update={"thresholds": (0.1, 0.2, 0.3)})
    assessment = first.assessment.model_copy(update={"thresholds": moved.thresholds})
    stricter = ServableModel(first.fitted, moved, assessment)
    with caplog.at_level("INFO", logger="mmer"):
        versions = [servable.register(m, "toy_again") for m in (first, second, first, stricter)]
    assert versions == ["1", "2", "1", "3"]
    assert sum("this very model" in message for message in caplog.messages) == 1
    servable.register(first, "toy_again")
    client = tracking.connect(tracking.tracking_uri(project))
    assert client.get_model_version_by_alias("toy_again-synthetic", "candidate").version == 1
    assert len(client.search_model_versions("name = 'toy_again-synthetic'")) == 3


def test_synthetic_and_real_models_never_share_a_name(project):
    real, synthetic = (make_servable(4, synthetic=flag) for flag in (False, True))
    servable.register(real, "toy_shared")
    assert servable.load("toy_shared").metadata.metadata["synthetic"] == "false"
    servable.register(synthetic, "toy_shared")
    with pytest.raises(InputError, match=r"one registered model.*toy_shared and toy_shared-synth"):
        servable.load("toy_shared")
    assert servable.exists("toy_shared")
    assert servable.load("toy_shared-synthetic").metadata.metadata["synthetic"] == "true"


def test_a_registry_that_refuses_is_one_clear_error_and_the_run_of_its_own_failed(project):
    with pytest.raises(InputError, match=r"a registry that takes the model.*run the last node"):
        servable.register(make_servable(), "not/a:name")
    client = tracking.connect(tracking.tracking_uri(project))
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT).experiment_id
    (last,) = client.search_runs([experiment], max_results=1)
    assert (last.info.run_name, last.info.status) == ("register not/a:name-synthetic", "FAILED")


@pytest.mark.slow
def test_register_at_a_server_and_load_from_it(mlflow_server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made, table = make_servable(3), make_requests(5)
    assert servable.register(made, "toy_served") == "1"
    expected = direct(made, table)
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
import sys, pathlib
sys.path = [p for p in sys.path if not pathlib.Path(p, "mmer").is_dir()]
sys.meta_path = [f for f in sys.meta_path if "editable" not in str(f)]
import json, mlflow, pandas
model = mlflow.pyfunc.load_model("models:/toy_fresh-synthetic@candidate")
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
    expected = direct(made, table)
    np.testing.assert_allclose(answer["scores"], expected, rtol=0, atol=1e-6)
    assert "mlartifacts" in answer["code"]
