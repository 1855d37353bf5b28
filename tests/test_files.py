"""Atomic files and folders: whole or not at all, and nobody's writing mixes with another's."""

from __future__ import annotations

import os
import time

import pytest

from mmer.files import atomic_file, atomic_folder, write_text


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with atomic_file(path) as partial:
        partial.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_keeps_what_was_there(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "before")

    def fail():
        with atomic_file(path) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_name_do_not_mix(tmp_path):
    path = tmp_path / "file.txt"
    with atomic_file(path) as first, atomic_file(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the one that ended last


def test_the_slower_of_two_writers_of_a_folder_gives_way(tmp_path):
    folder = tmp_path / "folder"
    with atomic_folder(folder) as slower:
        (slower / "a").write_text("slower")
        with atomic_folder(folder) as faster:
            (faster / "a").write_text("faster")
    assert (folder / "a").read_text() == "faster"
    assert list(tmp_path.iterdir()) == [folder]


def test_an_error_leaves_no_folder(tmp_path):
    def fail():
        with atomic_folder(tmp_path / "folder") as partial:
            (partial / "a").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_swept_and_a_living_ones_is_not(tmp_path):
    path = tmp_path / "file.txt"
    abandoned, alive = (tmp_path / f".file.txt.{name}.partial" for name in ("old", "new"))
    for partial in (abandoned, alive):
        partial.write_text("half")
    long_ago = time.time() - 7200
    os.utime(abandoned, (long_ago, long_ago))
    write_text(path, "whole")
    assert not abandoned.exists()
    assert alive.exists()
