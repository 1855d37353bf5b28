"""A model that knows persons is told of them, however it is asked, and refuses what does not."""

from __future__ import annotations

import json
from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.pyfunc.scoring_server import invocations

from mmer.calibration.calibration import calibrate
from mmer.calibration.settings import CalibrationSettings
from mmer.errors import InputError
from mmer.evaluation.assessment import EvaluationSettings, assess
from mmer.evaluation.drift import reference
from mmer.predict import Model
from mmer.registry import servable
from mmer.registry.loading import RegisteredVersion
from mmer.registry.new_samples import NewFile, _parquet, parts
from mmer.registry.predictor import Predictor
from mmer.registry.requests import check_info, requested_samples
from mmer.registry.servable import ServableModel
from mmer.samples.batches import pack
from mmer.samples.table import Features, Persons, Sample, SampleTable, TableInfo, write_table
from mmer.serve import _answer
from mmer.systems.contract import FittedSystem, scored
from mmer.systems.ramer.settings import RamerSettings
from mmer.systems.ramer.system import RamerSystem
from mmer.training.absent import filled

CPU = torch.device("cpu")
KNOWN = Persons(names=("Ann", "Ben", "Cleo"), traits=((1.0, 5.0), (2.0, 1.0), (4.0, 2.0)))
SETTINGS = RamerSettings.model_validate(
    {
        "network": {
            "hidden": 8,
            "latent": 4,
            "heads": 2,
            "feed_forward": 8,
            "layers": 1,
            "queue": 32,
        },
        "training": {"epochs": 1, "batch_size": 8, "modality_dropout": 0.2, "device": "cpu"},
    }
)


WIDTHS = {"text": 4, "visual": 3}


@pytest.fixture(scope="module")
def talks(tmp_path_factory):
    """Tables of samples with persons."""
    folder = tmp_path_factory.mktemp("talks")

    def row(number: int, rng: np.random.Generator) -> Sample:
        steps = {m: int(rng.integers(2, 6)) for m in WIDTHS}
        return Sample(
            f"s{number}",
            f"g{number // 2}",
            {m: rng.normal(size=(steps[m], width)) for m, width in WIDTHS.items()},
            rng.integers(2, size=3),
            person=int(rng.integers(3)),
            step_persons={m: rng.integers(3, size=count) for m, count in steps.items()},
            step_segments={m: np.arange(count) // 2 for m, count in steps.items()},
        )

    def table(split: str, seed: int) -> SampleTable:
        info = TableInfo(
            corpus="toy",
            split=split,
            labels=("happy", "sad", "anger"),
            features={m: Features(name=f"test {m}", width=width) for m, width in WIDTHS.items()},
            alignment="none",
            synthetic=True,
            fingerprint="made-for-tests",
            persons=KNOWN,
            reading={"reader": "toy", "unit": "one"},
        )
        rng = np.random.default_rng(seed)
        return write_table(folder / f"{split}.arrow", info, [row(n, rng) for n in range(20)])

    return table


@pytest.fixture(scope="module")
def made(talks) -> ServableModel:
    """A network that has learned nothing, with wide weights: what it looks at shows in scores."""
    system, train, valid = RamerSystem(), talks("train", 0), talks("valid", 1)
    torch.manual_seed(0)
    network = filled(system.build(SETTINGS, train.info), SETTINGS.training.absent, WIDTHS, 3)
    for name, parameter in network.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.3)
    info = system.info(pack(train), SETTINGS, may_lack=tuple(WIDTHS))
    fitted = FittedSystem(info, {n: x.contiguous() for n, x in network.state_dict().items()})
    scores = scored(fitted, system.scorer(fitted, CPU), pack(valid))
    calibration = calibrate(scores, CalibrationSettings())
    assessment = assess(scores, calibration, EvaluationSettings(resamples=20))
    return ServableModel(fitted, calibration, assessment, reference(train, scores, calibration))


@pytest.fixture(scope="module")
def model(made) -> Model:
    predictor = Predictor(made.fitted, made.calibration, servable._requests(made))
    return Model(RegisteredVersion("toy", "1", predictor, made.reference))


def as_requests(table: SampleTable) -> list[dict]:
    """The rows of a table as a client writes them."""
    requests = []
    for row in table.arrow().to_pylist():
        request = {"person": KNOWN.names[row["person"]]}
        for m in table.info.modalities:
            request[m] = row[m]
            request[f"{m}_person"] = [KNOWN.names[n] for n in row[f"{m}_person"]]
            request[f"{m}_segment"] = row[f"{m}_segment"]
        requests.append(request)
    return requests


def test_requests_and_parquet_are_scored_as_the_table_that_they_are_of(model, talks, tmp_path):
    table = talks("test", 2)
    labels, requests = list(model.labels), as_requests(table)
    expected = model.predict(table)[labels].to_numpy()
    assert expected.std(axis=0).max() > 0
    given = {"list": requests, "frame": pd.DataFrame(requests)}
    for request in given.values():
        np.testing.assert_allclose(model.predict(request)[labels], expected, atol=1e-6)
    pd.DataFrame(requests).to_parquet(tmp_path / "new.parquet")
    predictor = model.registered.predictor
    file = _parquet(tmp_path / "new.parquet", predictor)
    (part,) = parts_of(file, predictor)
    assert not part.faults
    whole, again = pack(table), part.samples
    assert torch.equal(again.target, whole.target)
    for m in table.info.modalities:
        assert torch.equal(again.step_persons[m], whole.step_persons[m])
        assert torch.equal(again.step_segments[m], whole.step_segments[m])
    strangers = replace(whole, target=None, step_persons=None, step_segments=None)
    assert not np.allclose(predictor.scores(strangers), predictor.scores(whole))


def parts_of(file: NewFile, predictor: Predictor) -> list:
    class One:
        files = (file,)

    return list(parts(One, predictor))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"person": None}, r"row 0 \[person\].*Ann, Ben, Cleo.*none.*predict_<corpus>"),
        ({"person": "Eve"}, r"row 0 \[person\].*Ann, Ben, Cleo.*'Eve'"),
        ({"person": 1}, r"row 0 \[person\].*found 1"),
        ({"text_person": None}, r"row 0 \[text_person\].*a name for each of \d+ steps.*none"),
        ({"text_person": ["Ann"] * 99}, r"\[text_person\].*found 99 of them"),
        ({"text_segment": None}, r"row 0 \[text_segment\].*a number for each"),
        ({"text": None}, r"\[text_person\].*each of 0 steps"),
    ],
)
def test_a_request_that_does_not_tell_of_persons_is_refused(model, talks, change, message):
    first = {**as_requests(talks("test", 2))[0], **change}
    with pytest.raises(InputError, match=message):
        model.predict([first])


def test_each_step_is_somebodys_in_some_segment(model, talks):
    first = as_requests(talks("test", 2))[0]
    steps = len(first["text"])
    for name, wrong, words in (
        ("text_person", "Eve", "'Eve' in step 0"),
        ("text_person", None, "none in step 0"),
        ("text_segment", -1, "-1 in step 0"),
        ("text_segment", True, "True in step 0"),
        ("text_segment", 0.5, "0.5 in step 0"),
    ):
        cell = [wrong, *first[name][1:]]
        assert len(cell) == steps
        with pytest.raises(InputError, match=rf"row 0 \[{name}\].*{words}"):
            model.predict([{**first, name: cell}])


def test_a_modality_that_is_absent_needs_no_persons(model, talks):
    first = as_requests(talks("test", 2))[0]
    lacking = {k: x for k, x in first.items() if not k.startswith("text")}
    silent = {**first, "text": [[0.0] * len(step) for step in first["text"]]}
    labels = list(model.labels)
    np.testing.assert_array_equal(model.predict([lacking])[labels], model.predict([silent])[labels])


def test_files_that_do_not_tell_of_persons_are_refused(model, talks, tmp_path):
    table, predictor = talks("test", 2), model.registered.predictor
    path, frame = tmp_path / "new.parquet", pd.DataFrame(as_requests(table))
    for name in ("person", "text_person", "text_segment"):
        frame.drop(columns=name).to_parquet(path)
        with pytest.raises(InputError, match=rf"\[{name}\].*predict_<corpus>"):
            _parquet(path, predictor)
    frame.at[3, "person"] = "Eve"
    frame.to_parquet(path)
    (part,) = parts_of(_parquet(path, predictor), predictor)
    assert list(part.faults) == [3]
    assert part.samples.longest[3] == 0
    for persons, words in (
        (None, "persons.*found none"),
        (Persons(names=("D", "E", "F"), traits=KNOWN.traits), "persons.*D, E, F"),
        (Persons(names=KNOWN.names, traits=KNOWN.traits[::-1]), "traits of Ann"),
    ):
        info = table.info.model_copy(update={"persons": persons})
        with pytest.raises(InputError, match=words):
            check_info(predictor, info, "table")


def test_tables_of_another_task_are_refused(model, made, talks):
    assert servable._requests(made).reading == {"reader": "toy", "unit": "one"}
    other = {"reading": {"reader": "toy", "unit": "another"}}
    info = talks("test", 2).info.model_copy(update=other)
    with pytest.raises(InputError, match=r"\[reading.unit\]: expected one, as in tr.*another"):
        check_info(model.registered.predictor, info, "table")


def test_a_sample_without_steps_keeps_its_persons(model, talks):
    table, labels = talks("test", 2), list(model.labels)
    whole = model.predict(table)[labels].to_numpy(float)
    for sample in (0, 3):
        rows = model.without_steps(table, sample, [0])[labels].to_numpy(float)
        np.testing.assert_allclose(rows[0], whole[sample], atol=1e-6)
        first = as_requests(table)[sample]
        cut = {k: x if k == "person" else x[1:] for k, x in first.items()}
        np.testing.assert_allclose(rows[1:], model.predict([cut])[labels].to_numpy(float))
    with pytest.raises(InputError, match="at least one of"):
        model.without_steps(table, 0, range(99))


def test_it_is_served_by_either_server_and_its_own_example_is_a_request(made, talks, tmp_path):
    folder = tmp_path / "model"
    servable.save(made, folder)
    loaded = mlflow.pyfunc.load_model(str(folder))
    example = json.loads((folder / "serving_input_example.json").read_text())
    schema = loaded.metadata.get_input_schema()
    assert {"person", "text_person", "text_segment"} <= set(schema.input_names())
    assert loaded.metadata.metadata["persons"] == list(KNOWN.names)
    requests = as_requests(talks("test", 2))[:3]
    untold = [{k: x for k, x in requests[0].items() if "_" not in k and k != "person"}]
    predictor = Predictor.read(folder / "artifacts")
    expected = requested_samples(predictor, requests)
    scores = predictor.predict(expected).probabilities
    for rows, status in ((example["inputs"], 200), (requests, 200), (untold, 400)):
        body = json.dumps({"inputs": rows}).encode()
        own = _answer(predictor, bytearray(body))
        assert own.status_code == status, own.body
        if status == 400:
            assert "[person]" in own.body.decode()
            with pytest.raises(mlflow.MlflowException, match=r"row 0 \[person\]") as refused:
                invocations(body, "application/json", loaded, schema)
            assert refused.value.get_http_status_code() == 400
            continue
        answer = invocations(body, "application/json", loaded, schema)
        found = [
            [[row[label] for label in predictor.labels] for row in text["predictions"]]
            for text in (json.loads(own.body), json.loads(answer.response))
        ]
        np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_allclose(found[0], scores, atol=1e-6)
