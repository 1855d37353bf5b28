"""The Makefile's commands, as far as they can be looked at without being carried out."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
READ = ("Makefile", "requirements.lock", "pyproject.toml")


@pytest.fixture
def project(tmp_path):
    """A folder that make holds for set up, with a name that is awkward for a shell."""
    folder = tmp_path.resolve() / "büro (2), rest"
    (folder / ".venv/bin").mkdir(parents=True)
    for name in READ:
        shutil.copy(ROOT / name, folder)
    (folder / ".venv/bin/python").touch(0o755)
    (folder / ".venv/installed").write_text(f"{folder}\n", encoding="utf-8")
    return folder


def planned(folder: Path, *arguments: str) -> str:
    command = ["make", "--dry-run", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    ).stdout


def test_what_is_set_up_is_not_set_up_again(project):
    assert planned(project, "train").strip() == (
        ".venv/bin/python -m kedro run --pipelines=__default__"
    )


def test_a_folder_that_was_moved_is_set_up_anew(project):
    """Its environment would go on running the program of the folder that it was."""
    moved = project.rename(project.with_name("elsewhere"))
    said = planned(moved, "train")
    assert said.index("rm -rf .venv") < said.index("-m venv .venv") < said.index("--editable .")


def test_what_is_cleaned_is_neither_models_nor_the_registry(project):
    for name in ("data/06_models/base", "data/02_intermediate/base", "logs", "mlartifacts"):
        (project / name).mkdir(parents=True)
    removed = next(line for line in planned(project, "clean").splitlines() if "rm -rf" in line)
    assert "data/02_intermediate/base" in removed
    assert "logs" in removed
    assert not {"06_models", "mlartifacts", "mlflow.db"} & set(removed.replace("/", " ").split())
    removed = next(
        line for line in planned(project, "clean", "MODELS=1").splitlines() if "rm -rf" in line
    )
    assert "data/06_models/base" in removed
