"""Runs are tracked whole, bounded and in order, whatever happens to MLflow meanwhile."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from mmer.errors import InputError
from mmer.registry import tracking


@dataclass(frozen=True)
class Inner:
    rate: float = 0.1
    layers: tuple[int, ...] = (6, 4, 4)


class Outer(BaseModel):
    model: Inner = Inner()
    epochs: int = 3


def test_database_in_the_project_unless_the_environment_names_another(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking.tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere:5000")
    assert tracking.tracking_uri(tmp_path) == "http://somewhere:5000"


def test_run_holds_parameters_metrics_tags_and_artefacts(project, tmp_path):
    run = tracking.open_run(project, "whole", {"synthetic": "true"})
    run.log_params({"training": Outer(), **{f"p{i}": i for i in range(250)}})
    for step in range(3):
        run.log_metrics({"loss": np.float32(1 / (step + 1)), "f1": {"happy": 0.5}}, step)
    run.log_metrics({"undefined": None, "name": "CARAT", "nan": float("nan")})
    (tmp_path / "weights.bin").write_bytes(b"abc")
    run.log_artifact(tmp_path / "weights.bin", "mosei.weights")
    assert run.close("FINISHED")

    seen = run.client.get_run(run.run_id)
    assert seen.info.status == "FINISHED"
    assert len(seen.data.params) == 253
    assert seen.data.params["training.model.layers"] == "(6, 4, 4)"
    assert seen.data.tags["synthetic"] == "true"
    assert set(seen.data.metrics) == {"loss", "f1/happy", "nan"}
    history = run.client.get_metric_history(run.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [
        (0, 1.0),
        (1, 0.5),
        (2, float(np.float32(1 / 3))),
    ]
    stored = run.client.download_artifacts(run.run_id, "mosei.weights/weights.bin", str(tmp_path))
    assert Path(stored).read_bytes() == b"abc"


def test_settings_are_flattened_whatever_they_are_nested_in(project):
    nested = {"training": Outer(), "seed": 7, "empty": {}, "none": None}
    run = tracking.open_run(project, "nested")
    run.log_params(nested)
    run.log_params({})
    run.close("FINISHED")
    assert run.client.get_run(run.run_id).data.params == {
        "training.model.rate": "0.1",
        "training.model.layers": "(6, 4, 4)",
        "training.epochs": "3",
        "seed": "7",
        "none": "None",
    }


def test_long_values_are_cut_and_odd_names_written_otherwise(project, caplog):
    run = tracking.open_run(project, "long", {"note": "x" * 9001})
    run.log_params({"a": "x" * 9001, "key" * 200: 1, "odd(key)?": 2})
    assert run.close("FINISHED")
    data = run.client.get_run(run.run_id).data
    assert set(data.tags["note"]) == set(data.params["a"][:5000]) == {"x"}
    assert data.params["odd_key__"] == "2"
    assert len(data.params) == 3
    assert "refused" not in caplog.text


def test_nested_runs_know_their_parent_and_end_separately(project):
    outer = tracking.open_run(project, "outer")
    inner = tracking.open_run(project, "inner")
    assert tracking.current_run() is inner
    inner.close("FAILED")
    assert tracking.current_run() is outer
    outer.close("FINISHED")
    assert tracking.current_run() is None
    seen = outer.client.get_run(inner.run_id)
    assert seen.data.tags["mlflow.parentRunId"] == outer.run_id
    assert seen.info.status == "FAILED"
    assert outer.client.get_run(outer.run_id).info.status == "FINISHED"


def test_another_process_finds_the_run_by_the_environment(project, monkeypatch):
    run = tracking.open_run(project, "of the parent")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(tracking, "_open_runs", {})
        found = tracking.current_run()
        assert found is not None
        assert found is not run
        found.log_metrics({"registered": 1})
        nested = tracking.open_run(project, "of the child")
        nested.close("FINISHED")
        assert tracking.current_run().run_id == run.run_id
    assert tracking.current_run() is run
    run.close("FINISHED")
    assert tracking.current_run() is None
    assert run.client.get_run(run.run_id).data.metrics == {"registered": 1.0}
    tags = run.client.get_run(nested.run_id).data.tags
    assert tags["mlflow.parentRunId"] == run.run_id


def test_commit_and_dirty_flag(project, tmp_path):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "--quiet", "-m", "first")
    tags = []
    for content in ("1", "2"):
        (tmp_path / "a").write_text(content)
        run = tracking.open_run(tmp_path, "git")
        run.close("FINISHED")
        tags.append(run.client.get_run(run.run_id).data.tags)
    assert {t["mlflow.source.git.commit"] for t in tags} == {git("rev-parse", "HEAD")}
    assert [t["mlflow.source.git.dirty"] for t in tags] == ["false", "true"]


def test_an_entry_that_mlflow_refuses_does_not_hold_up_the_others(project, tmp_path, caplog):
    run = tracking.open_run(project, "refused")
    run.log_params({"a": 1})
    run.log_params({"a": 2})  # a parameter cannot change
    run.log_artifact(tmp_path / "absent", "nothing")
    run.log_metrics({"loss": 1.0})
    assert run.close("FINISHED")
    data = run.client.get_run(run.run_id).data
    assert (data.params["a"], data.metrics["loss"]) == ("1", 1.0)
    assert sum("refused" in message for message in caplog.messages) == 2


@pytest.mark.slow
def test_abandoned_run_is_marked_when_the_process_ends(project):
    script = """
        from pathlib import Path
        from mmer.registry import tracking
        print(tracking.open_run(Path(), "abandoned").run_id)
        raise KeyboardInterrupt
    """
    lines = "\n".join(line.strip() for line in script.splitlines())
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    client = tracking.connect(os.environ["MLFLOW_TRACKING_URI"])
    assert client.get_run(done.stdout.strip()).info.status == "KILLED"


def test_unreachable_server_is_said_before_anything_runs(tmp_path, monkeypatch, free_port):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InputError, match=r"MLFLOW_TRACKING_URI.*that answers.*[Ss]tart the server"):
        tracking.open_run(tmp_path, "nowhere")
    assert tracking.current_run() is None


class _Mlflow(BaseHTTPRequestHandler):
    """As much of MLflow's REST interface as a run needs; keeps what it is told."""

    told: list[tuple[str, dict]]

    def do_GET(self) -> None:
        self._answer({"experiment": {"experiment_id": "1", "name": tracking.EXPERIMENT}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        endpoint = self.path.rpartition("2.0/mlflow/")[2]
        self.told.append((endpoint, body))
        info = {"run_id": "r", "run_uuid": "r", "experiment_id": "1", "status": "RUNNING"}
        self._answer({"run": {"info": info, "data": {}}, "run_info": info})

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, reply: dict) -> None:
        content = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server:
    """A server that can be killed and started again at the same address."""

    def __init__(self, port: int) -> None:
        self.told: list[tuple[str, dict]] = []
        self.port = port

    def start(self) -> None:
        handler = type("Handler", (_Mlflow,), {"told": self.told})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def kill(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, free_port: int) -> Iterator[_Server]:
    server = _Server(free_port)
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield server
    server.kill()


def _losses(server: _Server) -> list[int]:
    return [
        metric["step"]
        for endpoint, body in server.told
        if endpoint == "runs/log-batch"
        for metric in body.get("metrics", [])
    ]


def test_server_gone_for_good_costs_a_warning_and_no_work(server, tmp_path, caplog):
    run = tracking.open_run(tmp_path, "gone")
    run.log_metrics({"loss": 1.0}, step=0)
    server.kill()
    started = time.monotonic()
    for step in range(1, 1000):
        run.log_metrics({"loss": 1.0}, step)
    attempts = sum("does not answer" in message for message in caplog.messages)
    assert attempts <= 1 + (time.monotonic() - started) / 60
    assert not run.close("FINISHED")
    assert "lacks its last 999 entries and the mark FINISHED" in caplog.messages[-1]
    server.start()
    assert _losses(server) == [0]


def test_server_that_comes_back_gets_everything_in_order(server, tmp_path):
    run = tracking.open_run(tmp_path, "back")
    run.log_metrics({"loss": 1.0}, step=0)
    server.kill()
    run.log_metrics({"loss": 1.0}, step=1)
    run.log_metrics({"loss": 1.0}, step=2)
    server.start()
    assert _losses(server) == [0]
    assert run.close("FINISHED")
    assert _losses(server) == [0, 1, 2]
    assert server.told[-1] == ("runs/update", server.told[-1][1])
    assert server.told[-1][1]["status"] == "FINISHED"


@pytest.mark.slow
def test_real_server_killed_in_the_middle_and_started_again(mlflow_server, tmp_path, caplog):
    (tmp_path / "curve.json").write_text("[1, 2]")
    run = tracking.open_run(tmp_path, "real")
    run.log_metrics({"loss": 1.0}, step=0)
    mlflow_server.kill()
    run.log_metrics({"loss": 0.5}, step=1)
    run.log_artifact(tmp_path / "curve.json", "curves")
    assert any("does not answer" in message for message in caplog.messages)
    mlflow_server.start()
    assert run.close("FINISHED")
    history = run.client.get_metric_history(run.run_id, "loss")
    assert [m.step for m in history] == [0, 1]
    files = run.client.list_artifacts(run.run_id, "curves")
    assert [file.path for file in files] == ["curves/curve.json"]
    assert run.client.get_run(run.run_id).info.status == "FINISHED"


@pytest.mark.slow
def test_two_runs_that_start_at_once_on_a_fresh_database(tmp_path):
    script = """
        import sys, time
        from pathlib import Path
        from mmer.registry import tracking
        run = tracking.open_run(Path(), sys.argv[1])
        for step in range(100):
            run.log_metrics({"loss": 1.0}, step)
        assert run.close("FINISHED")
    """
    lines = "\n".join(line.removeprefix("        ") for line in script.splitlines())
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    processes = [
        subprocess.Popen([sys.executable, "-c", lines, name], cwd=tmp_path, env=environment)
        for name in ("first", "second")
    ]
    assert [process.wait() for process in processes] == [0, 0]
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("select count(*) from metrics").fetchone() == (200,)
        assert database.execute("select distinct status from runs").fetchall() == [("FINISHED",)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mlflow.db"]


def test_connecting_leaves_the_console_quiet(project, caplog):
    with caplog.at_level(logging.INFO):
        tracking.open_run(project, "quiet").close("FINISHED")
    assert not [r for r in caplog.records if r.name.startswith(("mlflow", "alembic"))]
