"""The registered model gives the system's own scores, anywhere, and refuses what does not fit."""

from __future__ import annotations

import getpass
import importlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
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

import mmer
from mmer.calibration.calibration import calibrate, probabilities
from mmer.calibration.probabilities import Calibrator
from mmer.calibration.settings import CalibrationSettings
from mmer.errors import InputError
from mmer.evaluation.assessment import EvaluationSettings, assess
from mmer.metrics.decisions import decide
from mmer.registry import predictor, servable, versions
from mmer.registry.predictor import Predictor
from mmer.registry.servable import ServableModel
from mmer.samples.batches import Samples, samples_of
from mmer.samples.table import Features, TableInfo
from mmer.schema import Settings
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
# By name; enough to learn that the first number of a modality matters.
QUICK = {
    "linear": {"poolings": ["mean"], "penalties": [1.0], "folds": 2},
    "pooled": {"network": {"step_width": 8}, "training": {"epochs": 2}},
}


def make_servable(
    seed: int = 0,
    system: System | None = None,
    *,
    synthetic: bool = True,
    settings: Settings | None = None,
) -> ServableModel:
    system = system or LogisticRegressionSystem()
    splits = [make_samples(60, seed, split, synthetic) for split in ("train", "valid", "test")]
    settings = settings or system.settings.model_validate(QUICK.get(system.name, {}))
    fitted = system.fit(*splits[:2], settings).fitted
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
    assert list(answer.columns) == [*LABELS, "emotions", "model"]
    assert set(answer["model"]) == {made.fitted.digest}
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


def test_a_column_that_is_no_modality_is_refused_beside_the_nearest_that_is_one(loaded):
    table = make_requests(4)
    for name, nearest in (("fase", "face"), ("Speech", "speech"), ("puls", "pulse")):
        known = table.columns.difference([nearest])
        for wrong in (table.rename(columns={nearest: name}), table[known].assign(**{name: None})):
            with pytest.raises(MlflowException, match=rf"\[{name}\].*Did you mean {nearest}\?"):
                loaded.predict(wrong)
    with pytest.raises(MlflowException, match=r"\[notes\]: expected one of speech, face, pulse"):
        loaded.predict(table.assign(notes="x"))
    with pytest.raises(MlflowException, match=r"\[face\]: expected each name once"):
        loaded.predict(table.rename(columns={"pulse": "face"}))


def test_the_same_as_records_and_through_json_as_a_server_gets_and_gives_it(loaded):
    table = make_requests(6)
    records = [
        {m: cell for m, cell in row.items() if cell} for row in table[::-1].to_dict("records")
    ]
    expected = loaded.predict(table[::-1]).reset_index(drop=True)
    pd.testing.assert_frame_equal(loaded.predict(records), expected)
    request = json.dumps({"inputs": records})
    schema = loaded.metadata.get_input_schema()
    answer = invocations(request.encode(), "application/json", loaded, schema)
    assert answer.status == 200
    found = pd.DataFrame(json.loads(answer.response)["predictions"])
    pd.testing.assert_frame_equal(found, expected)


def test_neither_order_nor_company_nor_batch_size_changes_an_answer(tmp_path):
    """Scores of a network, in batches that are padded to other lengths."""
    made, table = make_servable(system=SYSTEMS["pooled"]), make_requests(40)
    servable.save(made, tmp_path / "model")
    network = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    whole = network.predict(table)
    rng = np.random.default_rng(0)
    for size in (1, 3, 16):
        order = rng.permutation(len(table))
        parts = [network.predict(table.iloc[order[i : i + size]]) for i in range(0, 40, size)]
        again = pd.concat(parts).loc[table.index]
        np.testing.assert_allclose(again[list(LABELS)], whole[list(LABELS)], rtol=0, atol=1e-6)
        assert again["emotions"].tolist() == whole["emotions"].tolist()
    alone = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(table.iloc[[7]])
    pd.testing.assert_frame_equal(alone, whole.iloc[[7]])


def test_a_long_sample_pads_no_more_than_a_batch_may_hold(monkeypatch):
    made, table = make_servable(system=SYSTEMS["pooled"]), make_requests(40)
    model, samples = Predictor(made.fitted, made.calibration), samples_from(INFO, table)
    whole, sizes = model.scores(samples), []
    monkeypatch.setattr(predictor, "_PADDED_STEPS", 20)
    scores = type(model._scorer).scores

    def noted(scorer, part):
        sizes.append((len(part), int(part.longest.max())))
        return scores(scorer, part)

    monkeypatch.setattr(type(model._scorer), "scores", noted)
    np.testing.assert_allclose(model.scores(samples), whole, rtol=0, atol=1e-6)
    assert sum(count for count, _ in sizes) == 40
    assert max(count * longest for count, longest in sizes) <= 20


def test_parameters_choose_thresholds_and_prediction_sets(saved, loaded):
    made, table = saved[0], make_requests(40)
    scores = direct_scores(made.fitted, table)
    for target, chosen in made.calibration.of_metric.items():
        answer = loaded.predict(table, params={"target": target})
        decided = decide(scores, np.array(chosen.thresholds))
        assert [len(names) for names in answer["emotions"]] == decided.sum(axis=1).tolist()
    conformal = made.calibration.conformal[-1]
    asked = {"alpha": conformal.alpha, "unit": conformal.unit}
    answer = loaded.predict(table, params=asked)
    sets = decide(scores, conformal.threshold)
    assert [len(names) for names in answer["set"]] == sets.sum(axis=1).tolist()
    (told,) = set(answer["guarantee"])
    assert f"at most {conformal.alpha:g} on average" in told or "cannot support" in told
    for wrong, message in (
        ({"target": "micro"}, r"\[target\]: expected one of micro_f1, macro_f1, accuracy"),
        ({"alpha": 0.31}, r"\[alpha\]: expected 0 for no set, or one of: 0.1 over samples"),
    ):
        with pytest.raises(MlflowException, match=message):
            loaded.predict(table, params=wrong)


def _with(cell: object, row: int = 2, modality: str = "speech") -> Callable[[pd.DataFrame], None]:
    def change(table: pd.DataFrame) -> None:
        table.at[table.index[row], modality] = cell

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_with([[0.0] * 5]), r"row 2 \[speech\]: expected steps of 6 numbers each, found 5 in"),
        (_with([[0.0] * 6, [0.0] * 5]), r"row 2 \[speech\]: .* found 5 in step 1"),
        (
            _with(np.zeros((2, 5))),
            r"row 2 \[speech\]: .* found an array .* \(2, 5\)",
        ),
        (_with([[0.0] * 5 + ["1"]]), r"row 2 \[speech\]: .* found '1' in step 0, 5"),
        (_with([[True] * 6]), r"row 2 \[speech\]: .* found True in step 0, 0"),
        (_with([[0.0] * 6, [True] + [0.5] * 5]), r"row 2 \[speech\]: .* found True in step 1, 0"),
        (_with([np.ones(6, bool), np.ones(6)]), r"row 2 \[speech\]: .* in step 0, 0"),
        (_with([[0.0] * 5 + [None]]), r"row 2 \[speech\]: .* found None in step 0, 5"),
        (_with([0.0] * 6), r"row 2 \[speech\]: .* found 0.0 as step 0"),
        (_with("steps"), r"row 2 \[speech\]: .* found 'steps'"),
        (_with([[1e39] * 6]), r"row 2 \[speech\]: expected finite numbers of single precision"),
        (_with([[0.0] * 6, [0.0, 1, 2, 3, 4, np.nan]]), r"row 2 .*finite.*nan in step 1, 5"),
        (_with([[np.inf] + [0.0] * 5]), r"row 2 \[speech\]: expected finite numbers .* found inf"),
        (_with(None, row=0), r"row 0: expected at least one of speech, face, pulse, found none"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_by_row_and_modality(loaded, change, message):
    table = make_requests(4)
    change(table)
    with pytest.raises(MlflowException, match=message) as refused:
        loaded.predict(table)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_a_modality_that_training_never_lacked_must_be_there(loaded, tmp_path):
    table = make_requests(4)
    table.at["row2", "face"] = None  # training samples lacked it
    assert len(loaded.predict(table)) == 4
    _with(None)(table)
    with pytest.raises(MlflowException, match=r"row 2 \[speech\].*modality_dropout"):
        loaded.predict(table)
    servable.save(make_servable(system=SYSTEMS["label_prior"]), tmp_path / "model")
    table.at["row2", "pulse"] = [[0.5] * 5]
    assert len(mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(table)) == 4


def test_what_is_served_are_calibrated_probabilities(saved, tmp_path):
    made, table = saved[0], make_requests(6)
    platt = Calibrator(method="platt", temperature=2.0, shift=-1.0)
    told = [one.model_copy(update={"calibrator": platt}) for one in made.calibration.probabilities]
    calibration = made.calibration.model_copy(update={"probabilities": tuple(told)})
    servable.save(replace(made, calibration=calibration), tmp_path / "model")
    answer = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(table)[list(LABELS)]
    scores = direct_scores(made.fitted, table)
    np.testing.assert_allclose(answer, platt(scores), rtol=0, atol=1e-6)
    assert np.abs(answer.to_numpy() - scores).max() > 0.05


@pytest.mark.parametrize("request_", [make_requests(3).iloc[:0], [], {}, [3], "text", None])
def test_a_request_without_samples_is_refused(loaded, request_):
    with pytest.raises(MlflowException, match="expected") as refused:
        loaded.predict(request_)
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"


def test_more_steps_than_the_network_has_positions_for_are_refused_by_row(tmp_path):
    system = next(iter(SYSTEMS.values()))
    network = {"layers": dict.fromkeys(WIDTHS, 1), "hidden": 8, "latent": 4, "max_length": 12}
    network |= {"heads": 2, "feed_forward": 8, "reference_lengths": {}, "pseudo_aligned": ()}
    settings = system.settings.model_validate({"network": network, "training": {"epochs": 1}})
    made, table = make_servable(system=system, settings=settings), make_requests(4)
    servable.save(made, tmp_path / "model")
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert model.metadata.metadata["longest"] == dict.fromkeys(WIDTHS, 12)
    assert len(model.predict(table.iloc[2:])) == 2
    table.at["row3", "face"] = [[0.1] * WIDTHS["face"]] * 13
    with pytest.raises(MlflowException, match=r"row 1 \[face\]: expected at most 12 steps"):
        model.predict(table.iloc[2:])


def test_what_is_zero_throughout_is_absent_as_it_was_in_training(loaded):
    absent, zero = make_requests(4), make_requests(4)
    absent.at["row2", "face"], zero.at["row2", "face"] = None, [[0.0] * WIDTHS["face"]] * 3
    pd.testing.assert_frame_equal(loaded.predict(zero), loaded.predict(absent))


def written(folder: Path) -> list[Path]:
    """Files of a saved model, but for what Python has compiled when it was loaded here."""
    files = filter(Path.is_file, folder.rglob("*"))
    return [path for path in files if "__pycache__" not in path.parts]


def test_what_python_has_compiled_does_not_travel(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    servable.save(saved[0], tmp_path / "again")
    assert not list((tmp_path / "again").rglob("__pycache__"))


def test_the_folder_holds_arrays_json_and_source_and_no_pickle(saved):
    files = {str(p.relative_to(saved[1])): p for p in written(saved[1])}
    assert {name for name in files if not name.startswith("code/")} == {
        "MLmodel",
        "README.md",
        "artifacts/calibration.json",
        "artifacts/requests.json",
        "artifacts/system.safetensors",
        "conda.yaml",
        "digests.json",
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


def test_only_what_scoring_needs_travels(saved):
    folder = saved[1] / "code" / "mmer"
    kinds = {path.name for path in folder.iterdir() if path.is_dir()}
    assert kinds == {"calibration", "metrics", "registry", "samples", "systems", "training"}
    beside = {path.stem for path in (folder / "registry").iterdir()}
    assert not beside & {"tracking", "versions", "servable", "champions"}
    required = (saved[1] / "requirements.txt").read_text()
    for package in ("kedro", "plotly", "dask", "h5py", "joblib", "scikit-learn"):
        assert package not in required
    assert "\nmlflow==" in f"\n{required}"
    top = re.compile(r"^(from|import) sklearn", re.M)
    assert not [path for path in folder.rglob("*.py") if top.search(path.read_text())]


def test_processes_that_are_started_later_find_this_package_and_not_the_copy(saved, loaded):
    assert not [path for path in sys.path if Path(path).is_relative_to(saved[1])]
    found = "import mmer.confined; print(mmer.__file__)"
    path = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", found], env=path, capture_output=True, text=True)
    assert done.stdout.strip() == mmer.__file__


def test_the_whole_package_can_be_imported_after_the_copy_that_a_model_brought(saved, monkeypatch):
    """In a process that has not imported the package before, as it looks to the import system."""
    request = make_requests(3)
    ours = {name for name in sys.modules if name.partition(".")[0] == "mmer"}
    try:
        with monkeypatch.context() as fresh:
            for name in ours:
                fresh.delitem(sys.modules, name)
            model = mlflow.pyfunc.load_model(str(saved[1]))
            code = model.unwrap_python_model().predictor.predict.__code__
            assert Path(code.co_filename).is_relative_to(saved[1])
            first = model.predict(request)
            whole = importlib.import_module("mmer.predict")
            assert not Path(whole.__file__).is_relative_to(saved[1])
            pd.testing.assert_frame_equal(model.predict(request), first)
    finally:
        for name in {n for n in sys.modules if n.partition(".")[0] == "mmer"} - ours:
            del sys.modules[name]
    assert sys.modules["mmer"] is mmer


def test_nothing_in_the_folder_names_the_machine_that_it_was_made_on(saved):
    root = Path(__file__).resolve().parents[2]
    found = {str(path) for path in (root, Path.home(), Path(tempfile.gettempdir()), Path.cwd())}
    names = [f"{name}/".encode() for name in found - {"/"}]
    names += [f"/{getpass.getuser()}/".encode()]
    host = re.compile(rb"\b%s\b" % re.escape(socket.gethostname().encode()))
    for path in written(saved[1]):
        content = path.read_bytes()
        assert not [name for name in names if name in content], path
        assert not host.search(content), path


def test_a_client_can_read_what_a_request_has_to_be(saved, loaded):
    made, folder = saved
    signature, told = loaded.metadata.signature, loaded.metadata.metadata
    assert [(c.name, c.required) for c in signature.inputs.inputs] == [
        ("speech", True),
        ("face", False),
        ("pulse", False),
    ]
    assert {str(c.type) for c in signature.inputs.inputs} == {"Array(Array(double))"}
    assert [p.name for p in signature.params.params] == ["target", "alpha", "unit"]
    assert (told["widths"], told["labels"]) == (WIDTHS, list(LABELS))
    assert told["targets"] == ["micro_f1", "macro_f1", "accuracy"]
    readme = (folder / "README.md").read_text()
    assert made.fitted.digest in readme
    assert "SYNTHETIC" in readme
    example = json.loads((folder / "serving_input_example.json").read_text())["inputs"]
    lengths = {len(sequence) for sample in example for sequence in sample.values()}
    values = np.concatenate([np.ravel(x) for sample in example for x in sample.values()])
    assert len(lengths) > 1
    assert (values != 0).all()
    assert "drawn at random" in told["input_example"]
    assert "drawn at random" in readme
    assert "`digests.json` has the digests" in readme
    assert "a stack trace" in readme  # MLflow's server and what it does before the model is asked
    assert len(loaded.predict(example)) == len(example)


def test_loads_where_pickles_are_forbidden(saved, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    assert len(mlflow.pyfunc.load_model(str(saved[1])).predict(make_requests(2))) == 2


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
        Predictor.read(mixed / "artifacts")
    with pytest.raises(InputError, match=r"artifacts/calibration\.json"):
        mlflow.pyfunc.load_model(str(mixed))


@pytest.mark.parametrize(
    "name",
    [
        "artifacts/calibration.json",
        "artifacts/system.safetensors",
        "code/mmer/schema.py",
        "MLmodel",
    ],
)
def test_a_file_that_was_edited_by_hand_or_is_gone_is_named_when_the_model_is_loaded(
    name, saved, tmp_path
):
    folder = shutil.copytree(saved[1], tmp_path / "model")
    (folder / "README.md").write_text("Ours.")
    content = (folder / name).read_bytes()
    assert len(mlflow.pyfunc.load_model(str(folder)).predict(make_requests(2))) == 2
    (folder / name).write_bytes(content + b"\n")
    with pytest.raises(
        InputError, match=rf"{name}: expected the file of digest .*, found \w{{64}}"
    ):
        mlflow.pyfunc.load_model(str(folder))
    if name != "MLmodel":  # without which MLflow finds no model
        (folder / name).unlink()
        with pytest.raises(InputError, match=rf"{name}: expected .*, found nothing"):
            mlflow.pyfunc.load_model(str(folder))


def test_thresholds_that_were_edited_by_hand_are_not_served(saved, tmp_path):
    folder = shutil.copytree(saved[1], tmp_path / "model")
    path = folder / "artifacts" / "calibration.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"thresholds": [0.0] * len(told["thresholds"])}))
    with pytest.raises(InputError, match=r"calibration\.json"):
        mlflow.pyfunc.load_model(str(folder))
    (folder / "digests.json").unlink()
    with pytest.raises(InputError, match=r"\[digests\.json\].*no such file"):
        mlflow.pyfunc.load_model(str(folder))


@pytest.mark.slow
def test_loads_in_a_fresh_process_without_this_repository(project, tmp_path):
    made, table = make_servable(2), make_requests(5)
    versions.register(made, "toy_fresh")
    script = """
import sys, pathlib
sys.path = [p for p in sys.path if not pathlib.Path(p, "mmer").is_dir()]
sys.meta_path = [f for f in sys.meta_path if "editable" not in str(f)]
import json, mlflow, pandas
model = mlflow.pyfunc.load_model("models:/toy_fresh-synthetic/1")
table = pandas.DataFrame(json.loads(sys.stdin.read()))
answer = model.predict(table)
scores = answer.drop(columns=["emotions", "model"]).to_numpy().tolist()
code = model.unwrap_python_model().predictor.predict.__code__.co_filename
print(json.dumps({"scores": scores, "code": code}))
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
