"""What a child process does with a file ends in an answer or one refusal, never in the parent."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

import pytest

from mmer import confined as module
from mmer.confined import Limits, confined
from mmer.errors import InputError, UntrustedDataError

LIMITS = Limits(memory=50_000_000, seconds=1, file_size=10_000)


@pytest.fixture
def run(monkeypatch):
    """Runs one of the ways in `confined_functions` and returns its text."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    ways = import_module("confined_functions")

    def run(way: str, limits: Limits = LIMITS, **job) -> str:
        return confined(ways.found, ways.Job(way=way, **job), limits, Path("stranger.pkl")).text

    return run


def test_limits_grow_with_the_file() -> None:
    assert Limits.of(0) == Limits(memory=200_000_000, seconds=10, file_size=200_000_000)
    assert Limits.of(10_000_000) == Limits(memory=300_000_000, seconds=20, file_size=300_000_000)


def test_the_answer_comes_back_and_nothing_heavy_is_imported(run) -> None:
    assert run("libraries", Limits.of(0)) == ""
    assert run("threads") == "1"


def test_printed_text_is_not_taken_for_the_answer(run) -> None:
    assert run("print", count=100) == ""


def test_log_records_come_under_their_names(run, caplog) -> None:
    for name in ("mmer.corpora.some", "py.warnings"):  # a project may ask for less of them
        caplog.set_level(logging.INFO, name)
    with caplog.at_level(logging.INFO):
        run("log")
    assert [record.name for record in caplog.records] == ["mmer.corpora.some", "py.warnings"]
    ours, warning = caplog.records
    assert (ours.name, ours.levelno, ours.getMessage()) == (
        "mmer.corpora.some",
        logging.INFO,
        "100% of it",
    )
    assert (warning.name, warning.levelno) == ("py.warnings", logging.WARNING)
    assert "odd rows" in warning.getMessage()


def test_errors_about_input_stay_what_they_are(run) -> None:
    with pytest.raises(InputError) as raised:
        run("refuse", path=Path("here"))
    error = raised.value
    assert type(error) is InputError
    assert (error.where, error.key, error.expected) == ("here", "row 3", "a number")
    assert (error.found, error.remedy) == ("text \\udcff", "Look at it.")
    with pytest.raises(UntrustedDataError, match=r"os\.system"):
        run("distrust")


def test_our_own_mistakes_come_with_their_traceback(run) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)in _fail.*KeyError: 'our mistake'"):
        run("fail")


@pytest.mark.parametrize("way", ["fill", "fill and blame"])
def test_memory_is_limited_beyond_what_the_libraries_need(run, way) -> None:
    with pytest.raises(InputError, match=r"stranger.pkl: expected .* 50 MB of memory"):
        run(way, count=60_000_000)
    if way == "fill":
        assert run(way, count=40_000_000) == "40000000"


def test_files_mapped_into_memory_do_not_count(run, tmp_path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(100_000_000)
    assert run("map", path=tmp_path / "large") == "0"


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("calculate", "within 1 s of processor time"),
        ("write", "at most 0 MB"),
        ("shrinks", "stays as it is while it is read"),
        ("tell much", "8 MB"),
        ("abort", "crashed the library that reads it .SIGABRT"),
        ("crash", "crashed the library that reads it .SIGSEGV"),
        ("leave", "no answer"),
    ],
)
def test_every_other_end_is_a_refusal(run, tmp_path, way, message) -> None:
    (tmp_path / "it").write_bytes(b"content")
    limits = Limits(memory=200_000_000, seconds=1, file_size=10_000)
    with pytest.raises(InputError, match=rf"stranger.pkl: expected .*{message}"):
        run(way, limits, path=tmp_path / "it", count=12_000_000)


def test_a_child_that_waits_for_ever_is_given_up(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "_SECONDS_WAITED", -2)
    with pytest.raises(InputError, match="within 2 s"):
        run("sleep", path=tmp_path / "pid")
    _wait_until(lambda: not _lives(tmp_path / "pid"))


def test_one_process_imports_what_all_children_need(run, tmp_path) -> None:
    assert run("parent") == run("parent")
    with pytest.raises(InputError):
        run("crash")
    parent = run("parent")
    (tmp_path / "parent").write_text(parent)
    assert _lives(tmp_path / "parent")
    os.kill(int(parent), signal.SIGKILL)
    _wait_until(lambda: not _lives(tmp_path / "parent"))
    assert run("parent") != parent


def test_a_child_sees_the_folder_that_its_parent_is_in(run, tmp_path, monkeypatch) -> None:
    before = run("folder")
    monkeypatch.chdir(tmp_path)
    assert (before, run("folder")) == (str(Path(before)), str(tmp_path))
    assert before != str(tmp_path)


def test_threads_have_a_child_each(run) -> None:
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(run, ["threads", "threads"])) == ["1", "1"]


def test_threads_that_follow_each_other_have_the_same(run) -> None:
    nurseries = {run("parent")}
    for _ in range(3):
        with ThreadPoolExecutor(1) as thread:
            nurseries.add(thread.submit(run, "parent").result())
    assert len(nurseries) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_child_ends_with_its_parent(tmp_path, number) -> None:
    path = tmp_path / "pid"
    script = Path(__file__).with_name("confined_functions.py")
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in the background
    parent = subprocess.Popen([sys.executable, script, path], stderr=subprocess.DEVNULL)
    signal.signal(signal.SIGINT, ignored)
    _wait_until(path.exists)
    assert _lives(path)
    parent.send_signal(number)
    parent.wait()
    _wait_until(lambda: not _lives(path))


def _lives(path: Path) -> bool:
    """Whether a process runs; one that has ended may wait to be counted."""
    try:
        state = Path("/proc", path.read_text(), "stat").read_text()
    except FileNotFoundError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


def _wait_until(holds) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
