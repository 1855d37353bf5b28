"""Servers that tests start and kill: MLflow's, and PostgreSQL's behind it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int, told: Callable[[], str], process: subprocess.Popen | None = None) -> None:
    """Until something listens; fails with what is `told`, at once if the process has ended."""
    deadline = time.monotonic() + 600
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, told()
        assert process is None or process.poll() is None, told()
        time.sleep(0.1)


class MlflowServer:
    """MLflow's own server over a folder; killed and started again, it knows what it knew.

    Args:
        database: Where it keeps what is not files; a file in the folder unless said.
    """

    def __init__(self, folder: Path, database: str = "") -> None:
        self._port, self._folder = free_port(), folder
        self._database = database or f"sqlite:///{folder}/server.db"
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self._port)]
        command += ["--workers", "1", "--backend-store-uri", self._database]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        log = self._folder / "server.log"
        alone = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        # Seven processes that wait for what nobody asks of them.
        alone["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, cwd=self._folder, env=alone
            )
        wait_for(self._port, log.read_text, self._process)

    def kill(self) -> None:
        self._process.terminate()
        self._process.wait()


class Postgres:
    """PostgreSQL as Debian installs it, with a new database that is reached by a socket file alone.

    It refuses to be run by root: then it is run by the user `postgres`, whom the package makes.
    """

    def __init__(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
        if not programs or not find_spec("psycopg2"):
            pytest.skip("needs Debian's postgresql, and `make .venv/installed-server`")
        self._programs = programs[-1].parent
        # Not below pytest's folders, which no other user may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="mmer-postgres-"))
        self._as: list[str] = []
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self._folder, owner.pw_uid, owner.pw_gid)
            self._as = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}"]
            self._as.append("--clear-groups")
        self.uri = f"postgresql+psycopg2://mmer@/postgres?host={self._folder}"
        self._run("initdb", "--username=mmer", "--auth=trust", "--no-sync")

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self._folder}"
        log = self._folder / "log"
        self._run("pg_ctl", "start", "--wait", f"--log={log}", f"--options={options}")

    def stop(self) -> None:
        """As a power cut would."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    def remove(self) -> None:
        if (self._folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *options: str) -> None:
        command = [*self._as, str(self._programs / program), *options]
        command += ["--pgdata", str(self._folder / "data")]
        # Into a file: the server that stays would keep a pipe open.
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(command, stdout=said, stderr=said, cwd="/")
            said.seek(0)
            assert done.returncode == 0, said.read().decode()
