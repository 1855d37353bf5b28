"""Raw files: a user's own where the catalog says so, else synthetic ones, written once."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kedro.io import DatasetError

from mmer.corpora import CORPORA
from mmer.datasets.raw_corpus import RawFiles, SyntheticMark
from mmer.errors import InputError

SMALL = {"train_videos": 2, "valid_videos": 2, "test_videos": 2, "segments_per_video": 2}


def synthetic(folder: Path, **settings: object) -> RawFiles:
    return RawFiles(corpus="mosei", synthetic={"path": str(folder), "settings": SMALL | settings})


def files_in(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_synthetic_files_are_written_once_and_called_so(tmp_path, caplog):
    first = synthetic(tmp_path).load()
    written = files_in(tmp_path)
    with caplog.at_level(logging.WARNING):
        second = synthetic(tmp_path).load()
    assert first == second
    assert first.synthetic
    assert files_in(tmp_path) == written
    assert "SYNTHETIC" in caplog.text
    assert f"micro-F1 {first.bayes_optimal['micro_f1']:.3f}" in caplog.text


def test_other_settings_have_another_folder(tmp_path):
    paths = [synthetic(tmp_path, seed=seed).load().path for seed in (1, 2)]
    assert paths[0] != paths[1]
    marks = [SyntheticMark.read(path / "synthetic.json") for path in paths]
    assert [mark.settings["seed"] for mark in marks] == [1, 2]


def test_a_copy_of_synthetic_files_is_synthetic_and_a_file_in_it_too(tmp_path):
    made = synthetic(tmp_path / "made").load()
    copied = Path(shutil.copytree(made.path, tmp_path / "mine"))
    found = RawFiles(corpus="mosei", filepath=str(copied)).load()
    assert (found.synthetic, found.bayes_optimal) == (True, made.bayes_optimal)
    file = next(path for path in copied.iterdir() if path.name != "synthetic.json")
    assert RawFiles(corpus="mosei", filepath=str(file)).load().synthetic


def test_files_of_the_user_are_taken_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "corpus").mkdir()
    dataset = RawFiles(corpus="mosei", filepath="~/corpus", synthetic={"path": "unused"})
    assert dataset.exists()
    raw = dataset.load()
    assert (raw.path, raw.synthetic) == (tmp_path / "corpus", False)
    with pytest.raises(DatasetError, match="only read"):
        dataset.save("anything")


def test_absent_files_are_named_with_where_to_obtain_them(tmp_path):
    dataset = RawFiles(corpus="mosei", filepath=str(tmp_path / "nowhere"))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="nowhere: expected the official files of") as caught:
        dataset.load()
    assert CORPORA["mosei"].download_instructions in str(caught.value)


def test_a_mistaken_entry_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"one of mosei.*found nosuch"):
        RawFiles(corpus="nosuch", filepath=str(tmp_path))
    with pytest.raises(InputError, match="filepath or synthetic"):
        RawFiles(corpus="mosei")
    with pytest.raises(DatasetError, match="sed"):
        synthetic(tmp_path, sed=1).load()


def test_two_first_runs_at_once_both_find_the_files(tmp_path):
    program = (
        "import sys; from mmer.datasets.raw_corpus import RawFiles\n"
        f"synthetic = {{'path': sys.argv[1], 'settings': {SMALL}}}\n"
        "print(RawFiles(corpus='mosei', synthetic=synthetic).load().path)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = {run.communicate()[0].strip() for run in runs}
    assert [run.returncode for run in runs] == [0, 0]
    assert [str(path) for path in tmp_path.iterdir()] == list(told)
