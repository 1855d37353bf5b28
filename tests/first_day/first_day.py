"""The first day of a user: typical mistakes, with their remedies.

    python tests/first_day/first_day.py
    python tests/first_day/first_day.py --only "misspelt corpus" "two at once"

What the README says to type is run by `readme.py` beside it.

Every mistake is made in a project of its own, with the command line as users have it. It must end
in success, or in one message of at most five lines. Then what the message advises is done, and the
same wish must succeed. Prints JSON: per mistake what was said, and how it ended before and after
the remedy; exit status 1 if any is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import track

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 5
PIPELINE = "train_m3ed_all_positive"
TRAIN = ("run", f"--pipelines={PIPELINE}", "--env=test")
EVALUATE = (*TRAIN, "--tags=evaluation")
_NOBODY = 65534


class Done(NamedTuple):
    """How a command ended."""

    status: int
    said: str

    @property
    def message(self) -> str:
        """What it says of its failure, from "Error:" on; otherwise its last lines."""
        lines = [line.rstrip() for line in self.said.splitlines() if line.strip()]
        starts = [i for i, line in enumerate(lines) if re.match(r"(\S+ )?Error\b", line)]
        return "\n".join(lines[starts[-1] :] if starts else lines[-40:])

    @property
    def is_one_message(self) -> bool:
        """Whether it is short, begins with "Error", and is no traceback."""
        lines = self.message.splitlines()
        unwrapped = len(lines) <= MOST_LINES
        return self.message.startswith("Error") and unwrapped and "Traceback" not in self.said


@dataclass
class Project:
    """A copy of the project as a user has it."""

    folder: Path
    user: int | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str, within: str = ".") -> subprocess.Popen[str]:
        outside = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "KEDRO"))}
        return subprocess.Popen(
            [sys.executable, "-m", "kedro", *arguments],
            cwd=self.folder / within,
            env={**outside, "COLUMNS": "200", "NO_COLOR": "1", **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            user=self.user,
            group=self.user,
            # whoever starts this script in the background of a shell has Ctrl-C ignored
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def kedro(self, *arguments: str, within: str = ".") -> Done:
        process = self.start(*arguments, within=within)
        said, _ = process.communicate()
        return Done(process.returncode, said)

    def write(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    def newest(self, pattern: str) -> Path:
        return max(self.folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns)


Wish = Callable[[Project], Done]


@dataclass(frozen=True)
class Mistake:
    """What a user does wrong.

    Attributes:
        made: Does it, and gives how that ended.
        mended: Does what the message advises, and gives how that ended; None where nothing is to be
            mended because the first try is to succeed.
        says: What the message must contain: the remedy.
        clean: Whether nothing has run in the project before.
    """

    made: Wish
    mended: Wish | None = None
    says: str = ""
    clean: bool = False


def asked(*arguments: str, within: str = ".") -> Wish:
    return lambda project: project.kedro(*arguments, within=within)


def after_training(*arguments: str) -> Wish:
    """In a project whose own run has made what stages need, not a copy of another's."""

    def made(project: Project) -> Done:
        project.kedro(*TRAIN)
        return project.kedro(*arguments)

    return made


def with_param(param: str, *more: str) -> Wish:
    return asked(*TRAIN, f"--params={param}", *more)


def with_file(name: str, content: str, *arguments: str) -> Wish:
    """A file that stays away afterwards, if its name is what was wrong."""

    def made(project: Project) -> Done:
        written = project.write(name, content)
        done = project.kedro(*(arguments or TRAIN))
        written.unlink()
        return done

    return made


def _corpus_file(project: Project) -> Path:
    return project.newest("data/01_raw/**/*.pkl")


def _own_file(project: Project, change: Callable[[bytes], bytes]) -> Done:
    """A run on a file of one's own, which is a changed copy of the corpus's."""
    original = _corpus_file(project)
    own = project.folder / "own" / original.name
    own.parent.mkdir(exist_ok=True)
    own.write_bytes(change(original.read_bytes()))
    return project.kedro(*TRAIN, f"--params=m3ed_file={own}")


def with_own_file(change: Callable[[bytes], bytes]) -> Wish:
    return lambda project: _own_file(project, change)


class _RunsCode:
    def __reduce__(self) -> tuple:
        return os.system, ("touch executed",)


def no_rights(project: Project) -> Done:
    """A user who may read the project and not write its data."""
    project.user = _NOBODY if os.geteuid() == 0 else None
    for path in (project.folder, *project.folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return project.kedro(*TRAIN)


def rights_given(project: Project) -> Done:
    for path in (project.folder, *project.folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return project.kedro(*TRAIN)


def full_disk(project: Project) -> Done:
    """Results on a file system of one megabyte, which only a namespace of the run's own has."""
    small = project.folder / "small"
    small.mkdir()
    inside = 'mount -t tmpfs -o size=200k none "$1" && shift && exec "$@"'
    command = [sys.executable, "-m", "kedro", *TRAIN, f"--params=results={small}"]
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", inside, "sh", str(small), *command],
        cwd=project.folder,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    return Done(done.returncode, done.stdout + done.stderr)


def two_at_once(project: Project) -> Done:
    """Two first runs in one project."""
    both = [project.start(*TRAIN), project.start(*TRAIN)]
    said = [process.communicate()[0] for process in both]
    status = max(process.returncode for process in both)
    return Done(status, next((s for p, s in zip(both, said, strict=True) if p.returncode), said[0]))


def killed(project: Project) -> Done:
    """Killed at work, and started again."""
    for seconds in (6, 12):
        process = project.start(*TRAIN)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return project.kedro(*TRAIN)


def stopped_by_hand(project: Project) -> Done:
    """Ctrl-C in training; the message says how to go on, and the status is that of the signal."""
    long = f"--params=m3ed.pooled.training.epochs={100_000}"
    process = project.start("run", "--pipelines=train_m3ed_pooled", "--env=test", long)
    written = "data/06_models/**/pooled/checkpoints/*/*-*[0-9].safetensors"  # none that finished
    while not any(project.folder.glob(written)) and process.poll() is None:
        time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate()
    return Done(process.returncode, "Error: " + said.strip().splitlines()[-1])


def moved(project: Project) -> Done:
    """A checkout that is moved after its first run."""
    project.folder = project.folder.rename(project.folder.with_name("moved elsewhere"))
    return project.kedro(*TRAIN)


def moved_and_evaluated(project: Project) -> Done:
    project.kedro(*TRAIN)
    project.folder = project.folder.rename(project.folder.with_name("renamed"))
    return project.kedro(*EVALUATE)


def odd_path(project: Project) -> Done:
    odd = project.folder.with_name("Mein Büro, 2. Stock") / "ümläut & co"
    odd.parent.mkdir()
    project.folder = project.folder.rename(odd)
    return project.kedro(*TRAIN)


def away_from_home(project: Project) -> Done:
    """The corpus's file under the home folder, asked for with a tilde."""
    home = project.folder / "home"
    home.mkdir()
    shutil.copy(_corpus_file(project), home)
    project.environment["HOME"] = str(home)
    return project.kedro(*TRAIN, f"--params=m3ed_file=~/{_corpus_file(project).name}")


def outside(project: Project) -> Done:
    """In a folder that is no project."""
    elsewhere = project.folder.with_name("elsewhere")
    elsewhere.mkdir()
    return Project(elsewhere).kedro(*TRAIN)


def away_server(project: Project) -> Done:
    project.environment["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
    return project.kedro(*TRAIN)


def own_server(project: Project) -> Done:
    project.environment.clear()
    return project.kedro(*TRAIN)


def changed_table(project: Project) -> Done:
    """A table of samples in which a byte has changed since it was written."""
    project.kedro(*TRAIN)
    table = project.newest("data/03_primary/test/m3ed/test.arrow")
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    return project.kedro(*EVALUATE)


TYPED = {
    "misspelt corpus": Mistake(
        with_param("m3de.pooled.training.epochs=2"), with_param("m3ed.pooled.training.epochs=2"),
        "m3ed",
    ),
    "misspelt system": Mistake(
        with_param("m3ed.poled.training.epochs=2"), with_param("m3ed.pooled.training.epochs=2"),
        "pooled",
    ),
    "misspelt parent": Mistake(
        with_param("m3ed.pooled.trainin.epochs=2"), with_param("m3ed.pooled.training.epochs=2"),
        "training",
    ),
    "misspelt parameter": Mistake(
        with_param("m3ed.pooled.training.epoch=2"), with_param("m3ed.pooled.training.epochs=2"),
        "epochs",
    ),
    "a word for a number": Mistake(
        with_param("m3ed.pooled.training.epochs=two"), with_param("m3ed.pooled.training.epochs=2"),
        "integer",
    ),
    "a number out of range": Mistake(
        with_param("m3ed.pooled.training.epochs=-1"), with_param("m3ed.pooled.training.epochs=1"),
        "greater than",
    ),
    "misspelt parameter of files": Mistake(
        with_param("m3ed_files=own.pkl"), asked(*TRAIN), "m3ed_file",
    ),
    "a parameter of another corpus": Mistake(
        with_param("mosei.pooled.training.epochs=2"), with_param("m3ed.pooled.training.epochs=2"),
    ),
    "misspelt key in a file": Mistake(
        with_file("conf/test/parameters_own.yml", "m3ed: {pooled: {training: {epoch: 2}}}\n"),
        asked(*TRAIN),
        "epochs",
    ),
    "misspelt name of a file": Mistake(
        with_file("conf/test/paramters.yml", "m3ed: {pooled: {training: {epochs: 2}}}\n"),
        asked(*TRAIN), "parameters",
    ),
    "YAML that is none": Mistake(
        with_file("conf/test/parameters_own.yml", "m3ed: {pooled: [\n"), asked(*TRAIN),
        "parameters_own.yml",
    ),
    "misspelt environment": Mistake(
        asked("run", f"--pipelines={PIPELINE}", "--env=tets"), asked(*TRAIN), "test",
    ),
    "misspelt pipeline": Mistake(
        asked("run", "--pipelines=train_m3de", "--env=test"), asked(*TRAIN), "train_m3ed",
    ),
    "misspelt stage": Mistake(
        after_training(*TRAIN, "--tags=evaluaton"), asked(*EVALUATE), "evaluation",
    ),
    "misspelt node": Mistake(
        after_training(*TRAIN, "--from-nodes=evaluat"), asked(*EVALUATE), "there is",
    ),
    "misspelt option": Mistake(
        asked("run", "--pipelnes=train_m3ed"), asked(*TRAIN), "--pipelines",
    ),
    "one pipeline, as the old option has it": Mistake(
        asked("run", f"--pipeline={PIPELINE}", "--env=test"),
    ),
}  # fmt: skip

FILES = {
    "a file that is not there": Mistake(
        with_param("m3ed_file=/nowhere/features.pkl"), asked(*TRAIN), "/nowhere/features.pkl",
    ),
    "a file that was cut off": Mistake(
        with_own_file(lambda content: content[: len(content) // 2]),
        with_own_file(lambda content: content), "cut off",
    ),
    "a page of text instead of the file": Mistake(
        with_own_file(lambda _: b"<html>404 not found</html>"),
        with_own_file(lambda content: content), "own",
    ),
    "a file that runs code": Mistake(
        with_own_file(lambda _: pickle.dumps(_RunsCode())),
        with_own_file(lambda content: content), "own",
    ),
    "a file in the home folder": Mistake(away_from_home),
    "no right to write": Mistake(no_rights, rights_given, "ermission", clean=True),
    "a full disk": Mistake(full_disk, asked(*TRAIN), "space"),
    "a changed table": Mistake(changed_table, asked(*TRAIN), "test.arrow"),
    "the real corpus, which is not there": Mistake(
        asked("run", "--pipelines=train_mosei", "--env=paper"), asked(*TRAIN), "data/01_raw",
    ),
}  # fmt: skip

PLACES = {
    "within a folder of the project": Mistake(asked(*TRAIN, within="conf")),
    "outside of the project": Mistake(outside, asked(*TRAIN), "project"),
    "a path with spaces and umlauts": Mistake(odd_path, clean=True),
    "a checkout that was moved": Mistake(moved),
    "a checkout that was moved, a stage alone": Mistake(moved_and_evaluated),
    "two at once": Mistake(two_at_once, clean=True),
    "killed": Mistake(killed, clean=True),
    "stopped by hand": Mistake(
        stopped_by_hand,
        asked("run", "--pipelines=train_m3ed_pooled", "--env=test"),
        "same command",
    ),
}  # fmt: skip

ORDER = {
    "evaluated before anything was trained": Mistake(
        asked(*EVALUATE), asked(*TRAIN), "kedro run", clean=True,
    ),
    "predicted before anything was trained": Mistake(
        asked("run", "--pipelines=predict_m3ed", "--env=test", "--params=files=own.pkl"),
        asked(*TRAIN), "", clean=True,
    ),
    "promoted before anything was trained": Mistake(
        asked("run", "--pipelines=promote_m3ed", "--env=test"), asked(*TRAIN), "", clean=True,
    ),
    "evaluated with other data": Mistake(
        asked(*EVALUATE, "--params=m3ed.ingestion.validation.seed=9"),
        asked(*TRAIN, "--params=m3ed.ingestion.validation.seed=9"), "--tags",
    ),
    "a tracking server that is away": Mistake(away_server, own_server, "MLFLOW_TRACKING_URI"),
}  # fmt: skip

MISTAKES = {**TYPED, **FILES, **PLACES, **ORDER}


@contextmanager
def projects() -> Iterator[Callable[[bool], Project]]:
    """Makes projects: clean ones, and copies of one in which the pipeline has run."""
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        clean, used = Path(top, "clean"), Path(top, "used")
        clean.mkdir()
        (clean / "src").mkdir()
        for name in ("conf", "pyproject.toml", ".telemetry"):
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, clean / name)
        shutil.rmtree(clean / "conf/local", ignore_errors=True)
        numbers = iter(range(10**6))

        def new(is_clean: bool) -> Project:
            if not is_clean and not used.exists():
                shutil.copytree(clean, used)
                done = Project(used).kedro(*TRAIN)
                if done.status:
                    raise RuntimeError(done.said)
            folder = Path(top, str(next(numbers)), "project")
            shutil.copytree(clean if is_clean else used, folder)
            return Project(folder)

        yield new


def tried(mistake: Mistake, project: Project) -> dict[str, object]:
    """What became of it."""
    first = mistake.made(project)
    wrong = []
    if first.status and mistake.mended is None:
        wrong.append("does not succeed")
    if first.status and not first.is_one_message:
        wrong.append(f"is not one message of at most {MOST_LINES} lines")
    if not first.status and mistake.mended is not None:
        wrong.append("is taken for right")
    if mistake.says not in first.said:
        wrong.append(f"does not say {mistake.says!r}")
    if (project.folder / "executed").exists():
        wrong.append("code was executed")
    after = mistake.mended(project) if mistake.mended else None
    if after is not None and after.status:
        wrong.append(f"the remedy does not help: {after.message}")
    return {
        "ended": "success" if first.status == 0 else f"status {first.status}",
        "said": first.message if first.status else "",
        "after the remedy": None if after is None else "success" if after.status == 0 else "failed",
        "wrong": wrong,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=list(MISTAKES), choices=MISTAKES)
    given = parser.parse_args()
    found: dict[str, dict[str, object]] = {}
    with projects() as new:
        console = Console(stderr=True)
        for name in track(given.only, "mistakes", console=console, transient=True):
            found[name] = tried(MISTAKES[name], new(MISTAKES[name].clean))
            print(name, found[name]["wrong"] or "as it should be", file=sys.stderr, flush=True)
    bad = [name for name, result in found.items() if result["wrong"]]
    print(json.dumps({"tried": len(found), "not as it should be": bad, **found}, indent=2))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
