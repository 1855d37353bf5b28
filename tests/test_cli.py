"""A user's mistake is one clear message; a mistake of the program keeps its traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from kedro.io import DatasetError

from mmer.cli import explain
from mmer.errors import InputError

PROJECT = {
    "pyproject.toml": """
        [tool.kedro]
        package_name = "toy"
        project_name = "toy"
        kedro_init_version = "1.7.0"
        source_dir = "src"
    """,
    ".telemetry": "consent: false",
    "src/toy/__init__.py": "",
    "src/toy/settings.py": "",
    "src/toy/cli.py": "from mmer.cli import cli",
    "src/toy/pipeline_registry.py": """
        from kedro.pipeline import Pipeline, node
        from pydantic import BaseModel
        from mmer.errors import InputError

        class Settings(BaseModel, extra="forbid"):
            epochs: int
            rate: float = 0.1

        def train(raw: dict, settings: Settings) -> dict:
            if raw["fault"] == "input":
                raise InputError("raw.json", "[/clip1]", "7 labels", 6, "Download it again.")
            return {"epochs": settings.epochs, "missing": raw["fault"]["key"]}

        def register_pipelines():
            nodes = [node(train, ["raw", "params:training"], "model", name="train")]
            nodes.append(node(lambda x: x, "versioned", "copy", name="copy"))
            return {"__default__": Pipeline(nodes[:1]), "copy": Pipeline(nodes[1:])}
    """,
    "conf/base/catalog.yml": """
        raw: {type: json.JSONDataset, filepath: data/raw.json}
        versioned: {type: json.JSONDataset, filepath: data/versioned.json, versioned: true}
    """,
    "conf/base/parameters_training.yml": "training: {epochs: 3}",
    "conf/base/parameters_other.yml": "other: {training: 3}",
    "conf/paper/parameters.yml": '"training": {epochs: 30}',
    "conf/broken/catalog.yml": "raw: {type: ",
    "conf/local/.gitkeep": "",
}

# One process for all commands: each would otherwise spend seconds on imports.
SCRIPT = """
import contextlib, io, json, sys, traceback
from pathlib import Path
from kedro.framework.cli.cli import KedroCLI

answers = []
for raw, *arguments in json.load(sys.stdin):
    Path("data").mkdir(exist_ok=True)
    Path("data/raw.json").write_text(raw) if raw else Path("data/raw.json").unlink(True)
    out, err, code = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            KedroCLI(Path.cwd()).main(arguments)
        except SystemExit as end:
            code = end.code
        except Exception:
            code = traceback.format_exc()
    answers.append({"code": code, "out": out.getvalue(), "err": err.getvalue()})
print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Answer:
    code: int | str
    out: str
    err: str


GOOD = '{"fault": {"key": 1}}'
COMMANDS = {
    "verbose": ('{"fault": "input"}', "run", "--verbose"),
    "good": (GOOD, "run"),
    "input error": ('{"fault": "input"}', "run"),
    "bug": ('{"fault": {}}', "run"),
    "missing file": ("", "run"),
    "missing version": (GOOD, "run", "--pipelines", "copy"),
    "broken file": ('{"fault": ', "run"),
    "wrong type": (GOOD, "run", "--env", "paper", "--params", "training.epochs=many"),
    "unknown key": (GOOD, "run", "--params", "training.lr=3"),
    "unknown pipeline": (GOOD, "run", "--pipelines", "trian"),
    "unknown node": (GOOD, "run", "--from-nodes", "trian"),
    "unknown environment": (GOOD, "run", "--env", "nowhere"),
    "broken catalog": (GOOD, "run", "--env", "broken"),
    "unknown option": (GOOD, "run", "--pipelin"),
    "option twice": (GOOD, "run", "--params=training.epochs=1", "--params", "other.training=2"),
    "parameter twice": (GOOD, "run", "--params=training.epochs=1, training.epochs=2"),
    "help": (GOOD, "run", "--help"),
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Kedro project that uses our command line."""
    folder = tmp_path_factory.mktemp("toy")
    for name, content in PROJECT.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = content.strip("\n").splitlines()
        indent = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
        path.write_text("\n".join(line[indent:] for line in lines))
    return folder


@pytest.fixture(scope="module")
def answers(toy: Path) -> dict[str, Answer]:
    """What each of the commands did there."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(list(COMMANDS.values())),
        cwd=toy,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: Answer(**answer) for name, answer in zip(COMMANDS, found, strict=True)}


def test_a_run_without_mistakes_ends_well(answers):
    assert answers["good"].code == 0
    assert answers["good"].err == ""


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("input error", ["raw.json [[/clip1]]: expected 7 labels, found 6. Download it again."]),
        ("missing file", ["catalog entry raw", "nothing at", "raw.json", "--to-outputs=raw"]),
        ("missing version", ["catalog entry versioned", "no version", "--to-outputs=versioned"]),
        ("broken file", ["raw: Failed while loading", "raw.json", "Expecting value"]),
        ("option twice", ["--params is given twice.", "commas"]),
        ("parameter twice", ["--params sets training.epochs twice."]),
        (
            "wrong type",
            [
                "'training'",
                "epochs",
                "valid integer",
                "'many'",
                "conf/base/parameters_training.yml, conf/paper/parameters.yml, --params.",
            ],
        ),
        (
            "unknown key",
            ["'training'", "lr", "not permitted", "parameters_training.yml, --params."],
        ),
        ("unknown pipeline", ["'trian'"]),
        ("unknown node", ["trian"]),
        ("unknown environment", ["conf/nowhere"]),
        ("broken catalog", ["conf/broken/catalog.yml"]),
    ],
)
def test_a_mistake_is_said_once_without_traceback(answers, command, parts):
    answer = answers[command]
    assert answer.code == 1
    assert answer.err.startswith("Error: ")
    for part in parts:
        assert part in answer.err
    assert "Traceback" not in answer.out + answer.err
    assert "ERROR" not in answer.out
    assert "errors.pydantic.dev" not in answer.err


def test_a_bug_keeps_its_traceback_and_kedros_word_on_the_node(answers):
    assert "Traceback" in answers["bug"].code
    assert "KeyError: 'key'" in answers["bug"].code
    assert "ERROR" in answers["bug"].out


def test_verbose_shows_the_traceback_of_a_mistake_too(answers):
    assert "Traceback" in answers["verbose"].code
    assert "expected 7 labels, found 6" in answers["verbose"].code


def test_options_are_kedros_own(answers):
    assert answers["unknown option"].code == 2
    assert "--pipelines" in answers["unknown option"].err
    for option in ("--only-missing-outputs", "--load-versions", "--runner", "--verbose"):
        assert option in answers["help"].out


def test_an_input_error_is_found_beneath_what_kedro_makes_of_it():
    cause = InputError("a.csd", "width", "74", 75)
    middle, outer = DatasetError("Failed while saving"), DatasetError("mosei.train: Failed ...")
    middle.__cause__, outer.__cause__ = cause, middle
    assert explain(outer) == str(cause)


def test_a_full_disk_is_no_bug_of_the_program():
    assert explain(OSError(28, "No space left on device", "w")) == str(
        OSError(28, "No space left on device", "w")
    )
    assert explain(ValueError("shapes do not match")) is None
    assert explain(TypeError("takes 2 positional arguments")) is None


def test_other_commands_of_kedro_tell_a_mistake_as_well(toy):
    command = [sys.executable, "-m", "kedro", "catalog", "list-patterns", "--env=broken"]
    done = subprocess.run(command, cwd=toy, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "conf/broken/catalog.yml" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
