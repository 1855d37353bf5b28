"""Atomic files and folders: whole or not at all, and nobody's writing mixes with another's."""

from __future__ import annotations

import os
import threading
import time

import pytest

from mmer.files import atomic_file, atomic_folder, locked, write_text


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


def test_a_folder_is_as_old_as_the_last_that_was_written_in_it(tmp_path):
    folders = {name: tmp_path / f".corpus.{name}.partial" for name in ("old", "alive")}
    long_ago = time.time() - 7200
    for name, folder in folders.items():
        (folder / "inner").mkdir(parents=True)
        (folder / "inner" / "large.file").write_text("half")
        for path in (folder / "inner" / "large.file", folder / "inner", folder):
            if name == "old" or path.is_dir():
                os.utime(path, (long_ago, long_ago))
    with atomic_folder(tmp_path / "another corpus"):
        pass
    assert not folders["old"].exists()
    assert folders["alive"].exists()


def test_a_lock_is_free_when_its_holder_has_ended_and_not_before(tmp_path, caplog):
    order = []

    def second() -> None:
        with locked(tmp_path / "lock", "somebody else has it"):
            order.append("second")

    with locked(tmp_path / "lock", ""):
        thread = threading.Thread(target=second)
        thread.start()
        while "somebody else has it" not in caplog.messages:
            time.sleep(0.01)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
