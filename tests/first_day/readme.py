"""What the README and `docs/figures.md` say to type, typed in their order, at the sizes of `test`.

    python tests/first_day/readme.py
    python tests/first_day/readme.py --only "make viz" "make ui"

In a copy of the project with the environment that `make train` sets up. A command that ends must
succeed; one that serves must answer over HTTP, and is ended then. Prints JSON: how each ended; exit
status 1 if one is not as it should be. What another test runs is named in `ELSEWHERE`, what cannot
be tried on any machine in `LEFT_OUT`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import track

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/figures.md")
_WORDS = "kedro|make|python|mlflow|dask|docker|pip|cp|CUDA_VISIBLE_DEVICES=|DASK_SCHEDULER_ADDRESS="
_COPIED = (
    "conf",
    "docs",
    "notebooks",
    "benchmarks",
    "src",
    "Makefile",
    "README.md",
    "pyproject.toml",
)

ELSEWHERE = {
    "make test": (".ci/run", "make test"),
    "make docs": ("tests/pipelines/test_graph.py", "SCRIPT"),
    "python -m http.server --directory build": ("tests/pipelines/test_graph.py", "http.server"),
    "mlflow server --backend-store-uri postgresql+psycopg2://... --artifacts-destination FOLDER": (
        "tests/servers/servers.py",
        "psycopg2",
    ),
    "python benchmarks/absent_modalities.py": ("tests/systems/test_absent.py", "BENCHMARK"),
    "mlflow models serve": ("tests/registry/test_serving.py", "test_mlflows_server_answers"),
}
"""Command -> the file that runs what it runs, and a word of it."""

LEFT_OUT = {
    "pip install 'mmer[dask]'": "installs",
    "pip install s3fs": "installs",
    "pip install --editable '.[jupyter]'": "installs",
    "make .venv/installed-server": "installs",
    "docker compose up --detach --wait": "needs Docker; `tests/test_compose.py` reads its file",
    "cp .env.example .env": "for Docker",
    "make pictures": "writes into docs/ from a run at full size",
    "make probes": "half an hour: what it runs is run as `kedro run --pipelines=compare_probes`",
    "python benchmarks/simulations.py": "hours",
    "python benchmarks/seeds.py": "hours",
    "kedro jupyter lab": "needs an extra that is not among the locked packages",
}
"""Command -> why."""

_SERVED = {
    "make viz": 4141,
    "make ui": 5000,
    "kedro viz run": 4141,
    "mlflow models serve": 5001,
    "python -m mmer.serve": 5001,
}
_ANSWERED_WITHIN = 240.0


def commands() -> list[str]:
    """Every command of the pages, once, as it is typed: without remarks, in one line."""
    found: dict[str, None] = {}
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
        for block, inline in re.findall(r"```(?:sh|python)?\n(.*?)```|`([^`]+)`", text, re.DOTALL):
            for line in block.splitlines() or [inline.replace("\n", " ")]:
                command = re.sub(r"\s+", " ", re.sub(r"\s#.*|&\s*(#.*)?$", "", line)).strip()
                if re.match(rf"({_WORDS})\S*\s", command):
                    found[command] = None
    return list(found)


class Walk:
    """A project in which commands are typed one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder = folder.resolve()  # as make names it
        for name in _COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, folder / name)
        shutil.rmtree(folder / "conf/local", ignore_errors=True)
        for locked in ROOT.glob("requirements*.lock"):
            shutil.copy2(locked, folder)  # with its time: make installs what is newer
        self._link_environment(folder / ".venv")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "KEDRO"))}
        path = f"{folder}/.venv/bin:{kept['PATH']}"
        small = {"KEDRO_ENV": "test", "OMP_NUM_THREADS": "1", "BROWSER": "true", "NO_COLOR": "1"}
        self._environment = {**kept, **small, "PATH": path, "DO_NOT_TRACK": "1"}
        self._left: list[subprocess.Popen[str]] = []

    @staticmethod
    def _link_environment(copy: Path) -> None:
        """One that make holds for installed, and that leads to the programs of this one."""
        copy.mkdir()
        for name in ("bin", "lib", "pyvenv.cfg"):
            (copy / name).symlink_to(Path(sys.prefix, name))
        (copy / "installed").write_text(f"{copy.parent}\n", encoding="utf-8")

    def typed(self, command: str) -> dict[str, object]:
        """How it ended."""
        line = self._with_what_is_there(command)
        port = next((p for start, p in _SERVED.items() if command.startswith(start)), None)
        with tempfile.TemporaryFile("w+") as said:
            process = self._started(line, said)
            if re.search(r"\bdask (scheduler|worker)", command):
                self._left.append(process)  # it serves the commands that follow
                time.sleep(5)
                status = process.poll() or 0
            elif port:
                status = 0 if self._answers(port, process) else 1
                self._ended(process)
            else:
                status = process.wait()
            said.seek(0)
            told = [line.rstrip() for line in said if line.strip()]
        # official files are not there, and no champion was one before
        is_told = any(line.startswith("Error: ") for line in told)
        expected = is_told and ("--env=paper" in command or "rollback" in command)
        fine = status == 0 or expected
        return {
            "typed": line,
            "ended": "success" if status == 0 else f"status {status}",
            "said": [] if status == 0 else told[-5:],
            "wrong": [] if fine else ["does not succeed"],
        }

    def close(self) -> None:
        """End what still serves."""
        for process in self._left:
            self._ended(process)

    def _with_what_is_there(self, command: str) -> str:
        line = command.replace("s3://bucket/folder", str(self.folder / "elsewhere"))
        line = line.replace("models:/mosei@champion", "models:/mosei-test-synthetic@candidate")
        line = line.replace(
            "mmer.serve mosei", "mmer.serve mosei-test-synthetic --version=candidate"
        )
        line = line.replace("(.+)_w[0-9]+", "(.+)")  # how the windows of real features are named
        if "PATH" in line:
            line = line.replace("PATH", f"{self._newest('mosei/test.arrow')},version=candidate")
        if "FILE" in line:
            self.typed("kedro run --pipelines=train_m3ed_all_positive")
            line = line.replace("FILE", str(next(self.folder.glob("data/01_raw/**/*.pkl"))))
        return line

    def _newest(self, name: str) -> Path:
        return max(self.folder.glob(f"data/03_primary/test/{name}"), key=os.path.getmtime)

    def _started(self, line: str, said: TextIO) -> subprocess.Popen[str]:
        # the README sets it before a model is served
        tracking = {"MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/mlflow.db"}
        return subprocess.Popen(
            ["bash", "-c", line],
            cwd=self.folder,
            env={**self._environment, **(tracking if "serve" in line else {})},
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @staticmethod
    def _answers(port: int, process: subprocess.Popen[str]) -> bool:
        until = time.monotonic() + _ANSWERED_WITHIN
        while time.monotonic() < until and process.poll() is None:
            with suppress(OSError):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                except urllib.error.HTTPError:
                    return True  # it answers, if only that there is nothing at this address
                return True
            time.sleep(1)
        return False

    @staticmethod
    def _ended(process: subprocess.Popen[str]) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="these commands, after what `make train` runs")
    given = parser.parse_args()
    every = [one for one in commands() if one not in {**ELSEWHERE, **LEFT_OUT}]
    asked = [one for one in every if given.only is None or one in given.only]
    found: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as top:
        walk = Walk(Path(top))
        try:
            for one in track(
                dict.fromkeys(["make train", *asked]), "README", console=Console(stderr=True)
            ):
                found[one] = walk.typed(one)
                print(one, found[one]["wrong"] or "as it should be", file=sys.stderr, flush=True)
        finally:
            walk.close()
    bad = [name for name, result in found.items() if result["wrong"]]
    print(json.dumps({"typed": len(found), "not as it should be": bad, **found}, indent=2))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
