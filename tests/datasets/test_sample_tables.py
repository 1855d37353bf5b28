"""Sample tables get names of their own without being copied, and outlive what they came from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from kedro.io import DatasetError

from mmer.datasets.sample_tables import Folder, SampleTableFile
from mmer.samples.table import SampleTable

Tables = Callable[..., SampleTable]


@pytest.fixture
def dataset(tmp_path: Path) -> SampleTableFile:
    return SampleTableFile(filepath=str(tmp_path / "deep" / "train.arrow"))


def test_a_table_is_linked_and_outlives_what_it_came_from(dataset, toy_table: Tables, tmp_path):
    assert not dataset.exists()
    made = toy_table(5)
    dataset.save(made)
    assert dataset.exists()
    assert made.path.samefile(tmp_path / "deep" / "train.arrow")
    made.path.unlink()
    assert len(dataset.load()) == 5


def test_without_links_it_is_copied(dataset, toy_table: Tables, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    dataset.save(toy_table(5))
    assert len(dataset.load()) == 5


def test_another_table_takes_its_place_and_saving_itself_changes_nothing(
    dataset, toy_table: Tables, tmp_path
):
    for count in (5, 7):
        dataset.save(toy_table(count))
        dataset.save(dataset.load())
        assert len(dataset.load()) == count
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["train.arrow"]


def test_a_full_disk_keeps_the_old_table(dataset, toy_table: Tables, tmp_path, monkeypatch):
    dataset.save(toy_table(5))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(DatasetError, match="No space left"):
        dataset.save(toy_table(7))
    assert len(dataset.load()) == 5
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["train.arrow"]


def test_a_folder_is_a_place_to_work_in(tmp_path):
    folder = Folder(filepath=str(tmp_path))
    assert folder.exists()
    assert folder.load() == tmp_path
    with pytest.raises(DatasetError, match="nothing is saved"):
        folder.save("anything")


def test_a_table_cut_off_does_not_exist(dataset, toy_table: Tables, tmp_path):
    dataset.save(toy_table(50))
    path = tmp_path / "deep" / "train.arrow"
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[: len(whole) // 2])
    assert not dataset.exists()


def test_a_table_that_was_overwritten_does_not_exist(dataset, toy_table: Tables, tmp_path):
    dataset.save(toy_table(50))
    path = tmp_path / "deep" / "train.arrow"
    whole = path.read_bytes()
    place = len(whole) // 2 // 4 * 4
    path.write_bytes(whole[:place] + bytes(64) + whole[place + 64 :])
    assert not dataset.exists()
