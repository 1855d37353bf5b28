"""Over HTTP a model answers as in Python, refuses by row and field, and the server stays up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import mlflow
import numpy as np
import pandas as pd
import pytest
import uvicorn
from servers import free_port, wait_for

from mmer import serve
from mmer.errors import InputError
from mmer.predict import champion
from mmer.registry import requests, servable
from mmer.registry.predictor import Predictor
from mmer.serve import MOST_BYTES, application, opened

HERE = Path(__file__).parent
WIDTH = 6

Records = list[dict[str, Any]]


class Answer(NamedTuple):
    status: int
    text: str

    @property
    def message(self) -> str:
        return json.loads(self.text)["message"]

    @property
    def predictions(self) -> pd.DataFrame:
        return pd.DataFrame(json.loads(self.text)["predictions"])


Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def toy() -> ModuleType:
    """Toy models and requests, as the tests of servable models make them."""
    spec = spec_from_file_location("toy_servable", HERE / "test_servable.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def served(toy, tmp_path_factory) -> Path:
    """The folder of a servable model."""
    folder = tmp_path_factory.mktemp("served") / "model"
    servable.save(toy.make_servable(), folder)
    return folder


@pytest.fixture
def records(toy) -> Records:
    """Requests of samples with all modalities, one with speech alone, one without pulse."""
    rows = toy.make_requests(4).to_dict("records")
    return [{m: cell for m, cell in row.items() if cell} for row in rows]


@pytest.fixture(scope="module")
def in_process(served: Path) -> Iterator[Ask]:
    """Asks mmer's own server, in a thread."""
    port = free_port()
    app = application(Predictor.read(served / "artifacts"), "toy/1")
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(port, lambda: "did not start")
    yield partial(_ask, port)
    server.should_exit = True
    thread.join()


def refused(records: Records, most: int = requests.MOST_NUMBERS) -> list[tuple[Any, str]]:
    """Requests that no server may take, and what has to stand in the message.

    `most` is how many numbers the server takes.
    """
    good = records[2]
    return [
        ({"inputs": [good, {**good, "speech": [[0.0] * 5]}]}, "row 1 [speech]: expected steps of"),
        (
            {"inputs": [{**good, "speech": [[float("nan")] * WIDTH]}]},
            "row 0 [speech]: expected f",
        ),
        ({"inputs": [good, good, {}]}, "row 2: expected at least one of speech, face, pulse"),
        ({"inputs": [{"face": good["face"]}]}, "row 0 [speech]: expected steps of it, found none"),
        ({"inputs": []}, "at least one sample"),
        (
            {"inputs": [{**good, "speech": [[0.0] * WIDTH] * (most // WIDTH + 1)}]},
            f"at most {most:,} numbers",
        ),
        ({"inputs": [{"speach": good["speech"]}]}, "Did you mean speech?"),
        ({"inputs": [{**good, "Face": good["face"]}]}, "Did you mean face?"),
        ({"inputs": "text"}, "expected a list of samples"),
        ({"inputs": [{**good, "x" * 100_000: 1}]}, f"request [{'x' * 57}...]: expected one of"),
        ({"inputs": [good], "params": {"target": "x" * 100_000}}, "found xxxxx"),
        ({"inputs": [good], "params": {"target": "f1"}}, "[target]: expected one of micro_f1"),
        ({"inputs": [good], "params": {"alpha": 0.77}}, "[alpha]: expected 0 for no set"),
    ]


def is_clean(answer: Answer) -> bool:
    return not any(sign in answer.text for sign in ("Traceback", "stack_trace", ".py", str(HERE)))


def test_the_own_server_answers_in_every_form(served, records, in_process):
    expected = mlflow.pyfunc.load_model(str(served)).predict(records)
    names = ["pulse", "speech", "face"]
    rows = [[row.get(name) for name in names] for row in records]
    for form in (
        {"inputs": records},
        {"dataframe_records": [dict(reversed(row.items())) for row in records]},
        {"dataframe_split": {"columns": names, "data": rows}},
        {"instances": records},
    ):
        answer = in_process(form)
        assert answer.status == 200, answer.text
        pd.testing.assert_frame_equal(answer.predictions, expected)
    assert in_process({"inputs": records[0]}).predictions["emotions"][0] == expected["emotions"][0]
    assert in_process({"inputs": records}, None).status == 200
    assert in_process({"inputs": records}, "Application/JSON; charset=utf-8").status == 200


def test_the_own_server_refuses_by_row_and_field(records, in_process, monkeypatch):
    monkeypatch.setattr(requests, "MOST_NUMBERS", 30_000)
    monkeypatch.setattr(requests, "MOST_PADDED", 60_000)
    monkeypatch.setattr(requests, "MOST_ROWS", 500)
    for request, message in refused(records, 30_000):
        answer = in_process(request)
        assert answer.status == 400, answer.text
        assert message in answer.message
        assert is_clean(answer)
        assert len(answer.text) < 500
    for body, kind, status, message in (
        (b'{"inputs": [', "application/json", 400, "expected JSON"),
        (b"[" * 5_000, "application/json", 400, "nested too deep"),
        (b'{"inputs": [{"speech": [[%s]]}]}' % (b"9" * 5_000), "application/json", 400, "JSON"),
        (b"\xff", "application/json", 400, "expected JSON"),
        (b"[]", "application/json", 400, "an object with inputs"),
        (b'{"imputs": []}', "application/json", 400, "Did you mean inputs?"),
        (b'{"inputs": [], "params": {"alhpa": 1}}', "application/json", 400, "mean alpha?"),
        (b'{"inputs": [], "params": [1]}', "application/json", 400, "[params]: expected an object"),
        (b'{"inputs": [], "instances": []}', "application/json", 400, "exactly one of"),
        (
            b'{"inputs": [], "inputs": [1]}',
            "application/json",
            400,
            "request [inputs]: expected ea",
        ),
        (b'{"inputs": [{"face": [], "face": [[1]]}]}', "application/json", 400, "[face]: expected"),
        (b'{"inputs": [], "params": {"alpha": 0, "alpha": 1}}', "application/json", 400, "[alpha]"),
        (
            b'{"dataframe_split": {"colums": ["speech"], "data": [[1]]}}',
            "application/json",
            400,
            "dataframe_split [colums]: expected one of columns, index, data",
        ),
        (b'{"inputs": [], "params": false}', "application/json", 400, "[params]: expected an obj"),
        (b'{"inputs": [], "params": {"alpha": "0.1"}}', "application/json", 400, "params [alpha]"),
        (b'{"inputs": [], "params": {"alpha": true}}', "application/json", 400, "params [alpha]"),
        (b'{"dataframe_split": {"data": [[1]]}}', "application/json", 400, "columns (a list of na"),
        (
            b'{"dataframe_split": {"columns": [["speech"], ["face"]], "data": [[1, 2]]}}',
            "application/json",
            400,
            "columns (a list of names) and data",
        ),
        (
            b'{"dataframe_split": {"columns": ["speech"], "data": {"speech": [1]}}}',
            "application/json",
            400,
            "a list of rows of 1 cells each",
        ),
        (b"a,b", "text/csv", 415, "application/json"),
        (b" " * (MOST_BYTES + 1), "application/json", 413, "bytes"),
    ):
        answer = in_process(body, kind)
        assert answer.status == status, answer.text
        assert message in answer.message
        assert is_clean(answer)
    assert in_process({"inputs": records}).status == 200


def test_a_request_that_would_take_much_memory_is_refused_by_the_limits_name(
    records, in_process, monkeypatch
):
    """One long sample pads all the others; rows cost something even without a number."""
    monkeypatch.setattr(requests, "MOST_PADDED", 100_000)
    monkeypatch.setattr(requests, "MOST_ROWS", 500)
    short, long = {"speech": [[0.1] * WIDTH]}, {"speech": [[0.1] * WIDTH] * 1000}
    for rows, message in (
        ([short] * 499 + [long], "[padded size]: expected at most 100,000 numbers"),
        ([{}] * 501, "[rows]: expected at most 500 samples"),
    ):
        answer = in_process({"inputs": rows})
        assert answer.status == 400, answer.text
        assert message in answer.message
    assert in_process({"inputs": [long]}).status == 200
    assert in_process({"inputs": [short] * 500}).status == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"inputs":[' + b"{}," * 2_000_000 + b"{}]}", "at most 10,000 samples"),
        (b'{"inputs":[{"speech":[' + b"[]," * 2_000_000 + b"[]]}]}", "at most 2,000,000 numbers"),
        (b'{"inputs":[{"speech":[[' + b"0," * 3_000_000 + b"0]]}]}", "at most 2,000,000 numbers"),
        (b'{"inputs":[{' + b'"a":0,' * 50_000 + b'"a":0}]}', "at most 40,010 names"),
        (f'"\U0001f600{"a" * (MOST_BYTES // 4)}"'.encode(), "at most 8,388,608 bytes, or ASCII"),
    ],
    ids=["samples", "lists", "numbers", "names", "characters"],
)
def test_what_would_be_large_once_parsed_is_refused_unparsed(
    body, message, in_process, monkeypatch
):
    monkeypatch.setattr(serve, "request_of", lambda _: pytest.fail("it was parsed"))
    answer = in_process(body)
    assert answer.status in (400, 413), answer.text
    assert message in answer.message


def test_the_largest_request_that_is_allowed_is_answered(in_process, monkeypatch):
    """As many samples, numbers and names as there may be at once, in two forms."""
    monkeypatch.setattr(requests, "MOST_NUMBERS", 30_000)
    monkeypatch.setattr(requests, "MOST_PADDED", 60_000)
    monkeypatch.setattr(requests, "MOST_ROWS", 500)
    row = {"speech": [[0.1] * WIDTH] * 3, "face": [[0.2] * 4] * 8, "pulse": [[0.3] * 5] * 2}
    assert 500 * sum(np.size(cell) for cell in row.values()) == 30_000
    split = {"columns": list(row), "index": list(range(500)), "data": [list(row.values())] * 500}
    params = {"target": "micro_f1", "alpha": 0.0, "unit": ""}
    for form in ({"inputs": [row] * 500}, {"dataframe_split": split}):
        answer = in_process({**form, "params": params})
        assert answer.status == 200, answer.text
        assert len(answer.predictions) == 500


def test_bodies_that_could_not_be_held_at_once_or_do_not_come_are_refused(
    in_process, records, monkeypatch
):
    with monkeypatch.context() as small:
        small.setattr(serve, "MOST_HELD", 50)
        answer = in_process({"inputs": records})
        assert (answer.status, "at once" in answer.message) == (503, True)
    with monkeypatch.context() as short:
        short.setattr(serve, "_SECONDS", 0.1)
        port = in_process.args[0]
        connection = HTTPConnection("127.0.0.1", port)
        connection.putrequest("POST", "/invocations")
        connection.putheader("Content-Length", "100")
        connection.endheaders(b'{"inputs"')
        answer = connection.getresponse()
        assert answer.status == 408
        assert "found 9 bytes" in answer.read().decode()
        connection.close()
    monkeypatch.setattr(serve, "MOST_HELD", len(json.dumps({"inputs": records})))
    assert in_process({"inputs": records}).status == 200  # nothing of the refused is held


def test_what_is_told_of_a_version_in_a_folder_is_not_where_it_lies(served):
    predictor, told = opened(str(served), "champion")
    assert told == predictor.digest


def test_a_folder_whose_files_were_edited_is_not_served(served, tmp_path):
    folder = shutil.copytree(served, tmp_path / "model")
    (folder / "artifacts" / "requests.json").write_text('{"zeros_are_absent": false}')
    with pytest.raises(InputError, match=r"requests\.json: expected the file of digest"):
        opened(str(folder), "champion")


def test_a_folder_does_not_take_the_place_of_a_registered_model_of_its_name(
    served, project, monkeypatch
):
    monkeypatch.chdir(served.parent)
    assert served.name == "model"
    with pytest.raises(InputError, match="no registered model of this name"):
        opened("model", "champion")
    assert opened("./model", "champion")[1] == opened(str(served), "champion")[1]


def test_a_users_mistakes_are_one_message_and_leave_no_file(tmp_path, monkeypatch, project):
    database = os.environ["MLFLOW_TRACKING_URI"]
    monkeypatch.chdir(tmp_path)
    for uri, arguments, message in (
        ("", ["toy"], r"mlflow\.db \[toy@champion\]: expected MLflow's database, found no file"),
        ("sqlite:///no/such.db", ["toy"], "expected MLflow's database, found no file"),
        ("nothing://x", ["toy"], "expected a registry that answers"),
        (database, ["none-of-this-name"], "no registered model of this name"),
        (database, ["none-of-this-name", "--version", "7"], "Name another version"),
        (database, ["./here"], r"\[digests\.json\]: expected the folder of a version"),
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(SystemExit, match=message) as stopped:
            serve.main(arguments)
        assert str(stopped.value).startswith("python -m mmer.serve: ")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    with pytest.raises(InputError, match="MLflow's database"):
        champion("toy")
    assert not list(tmp_path.iterdir())


def test_a_fault_of_the_program_is_no_stack_in_the_answer(in_process, records, monkeypatch):
    monkeypatch.setattr(Predictor, "predict", lambda *_: 1 / 0)
    answer = in_process({"inputs": records})
    assert answer.status == 500
    assert answer.message == "The prediction failed; what happened stands in the log."


@pytest.fixture(scope="module")
def over_http(served: Path, tmp_path_factory) -> Iterator[Ask]:
    """`mlflow models serve` in a process of its own, where pickles are forbidden."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(served)]
    command += ["--env-manager", "local", "--port", str(port)]
    environment = os.environ | {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    log = tmp_path_factory.mktemp("log") / "server.log"
    with log.open("wb") as out:
        # A group of its own: MLflow starts the server as its child.
        server = subprocess.Popen(
            command, stdout=out, stderr=out, env=environment, start_new_session=True
        )
    try:
        wait_for(port, log.read_text, server)
        yield partial(_ask, port)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _ask(port: int, body: Any, kind: str | None = "application/json") -> Answer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = HTTPConnection("127.0.0.1", port)
    with suppress(BrokenPipeError, ConnectionResetError):  # refused before all of it was sent
        connection.request("POST", "/invocations", content, {"Content-Type": kind} if kind else {})
    answer = connection.getresponse()
    found = Answer(answer.status, answer.read().decode())
    connection.close()
    return found


@pytest.mark.slow
def test_mlflows_server_answers_as_the_model_does(served, toy, over_http):
    table = toy.make_requests(40)
    expected = mlflow.pyfunc.load_model(str(served)).predict(table).reset_index(drop=True)
    labels = [c.name for c in mlflow.pyfunc.load_model(str(served)).metadata.signature.outputs][:3]
    records = [{m: c for m, c in row.items() if c} for row in table.to_dict("records")]
    order = np.random.default_rng(0).permutation(40)
    for size in (1, 7, 40):
        for at in range(0, 40, size):
            chosen = order[at : at + size]
            answer = over_http({"inputs": [dict(reversed(records[n].items())) for n in chosen]})
            assert answer.status == 200, answer.text
            found, there = answer.predictions, expected.iloc[chosen]
            np.testing.assert_allclose(found[labels], there[labels], rtol=0, atol=1e-6)
            assert found["emotions"].tolist() == there["emotions"].tolist()
    asked = {"inputs": records[:2], "params": {"alpha": 0.1, "target": "macro_f1"}}
    assert {"set", "guarantee", "model"} <= set(over_http(asked).predictions)


@pytest.mark.slow
def test_mlflows_server_refuses_by_row_and_field_and_stays_up(records, over_http):
    for request, message in refused(records):
        answer = over_http(request)
        assert answer.status == 400, answer.text
        assert message in answer.message
        assert is_clean(answer)
        assert len(answer.text) < 1000  # nothing of the request comes back
    largest = [[0.123456789] * WIDTH] * 700_000
    for body, kind, status in (
        (b'{"inputs": [', "application/json", 400),
        ({"inputs": [{"speech": largest}]}, "application/json", 400),  # 50 MB
        ({"dataframe_records": records}, "application/json", 400),
        (b"<a/>", "text/xml", 415),
    ):
        answer = over_http(body, kind)
        assert answer.status == status, answer.text[:1000]
        assert is_clean(answer)
    assert over_http({"inputs": records}).status == 200
    assert len(largest) * WIDTH > requests.MOST_NUMBERS
