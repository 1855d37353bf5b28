"""Artefacts are found beside the database, wherever the folder of both has gone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from mmer.registry import moved, tracking


@pytest.fixture
def checkout(
    tmp_path: Path, mlflow_database: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, str]:
    """A folder with a database and a run that has an artefact, and the run's id."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "before"
    folder.mkdir()
    shutil.copyfile(mlflow_database, folder / "mlflow.db")
    return folder, run_in(folder)


def run_in(folder: Path) -> str:
    (folder / "note.txt").write_text("kept")
    with tracking.open_run(folder, "first", experiment="toy") as run:
        run.log_artifact(folder / "note.txt", "notes")
    return run.run_id


def place_of(folder: Path, run_id: str) -> Path:
    """The folder that a run's artefacts are in, once the note among them has been read."""
    client = tracking.connect(tracking.tracking_uri(folder))
    assert Path(client.download_artifacts(run_id, "notes/note.txt")).read_text() == "kept"
    return Path(url2pathname(urlsplit(client.get_run(run_id).info.artifact_uri).path))


def test_a_folder_that_was_renamed_has_its_artefacts_and_takes_new_ones(checkout):
    before, run_id = checkout
    after = before.with_name("größer und moved")
    before.rename(after)
    assert place_of(after, run_id) == after / "mlartifacts" / run_id / "artifacts"
    later = run_in(after)
    assert (after / "mlartifacts" / later).is_dir()
    assert not before.exists()


def test_a_copy_does_not_write_into_the_folder_that_it_was_copied_from(checkout):
    before, run_id = checkout
    copy = before.with_name("copy")
    shutil.copytree(before, copy)
    assert copy in place_of(copy, run_id).parents
    later = run_in(copy)
    assert (copy / "mlartifacts" / later).is_dir()
    assert not (before / "mlartifacts" / later).exists()
    assert before in place_of(before, run_id).parents


def test_a_database_that_went_alone_still_leads_to_artefacts_that_stayed(checkout):
    before, run_id = checkout
    alone = before.with_name("alone")
    alone.mkdir()
    (before / "mlflow.db").rename(alone / "mlflow.db")
    assert before in place_of(alone, run_id).parents
    assert (alone / "mlartifacts" / run_in(alone)).is_dir()
    assert before in place_of(alone, run_id).parents


def test_the_addresses_of_the_pages_are_told(checkout):
    before, run_id = checkout
    client = tracking.connect(tracking.tracking_uri(before))
    number = client.get_run(run_id).info.experiment_id
    database = before.rename(before.with_name("after")) / "mlflow.db"
    command = [sys.executable, "-m", moved.__name__, str(database), "5000"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    page = f"http://127.0.0.1:5000/#/experiments/{number}/runs?workflowType=machine_learning"
    assert told.splitlines() == [f"toy  {page}"]
