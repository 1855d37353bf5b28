"""What a person sees: lines, and bars within the width of the terminal."""

from __future__ import annotations

import logging
import os
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from mmer import terminal
from mmer.terminal import Lines, bar, bars_on, draws_bars, duration_text, with_bar


class Screen(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Standard output as a terminal of 60 columns; bars are seen at once."""
    screen = Screen()
    for name, value in {"TERM": "xterm", "COLUMNS": "60", "LINES": "20"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    console = Console(file=screen, width=60, force_terminal=True, _environ={"TERM": "xterm"})
    # pytest has a standard output of its own
    monkeypatch.setattr(terminal, "sys", SimpleNamespace(stdout=screen, __stdout__=screen))
    monkeypatch.setattr(terminal, "_console", lambda: console)
    monkeypatch.setattr(terminal, "_SECONDS_UNTIL_SHOWN", 0)
    return screen


def record(level: int, name: str, text: str) -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, text, (), None)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("done", [0, 3, 10])
def test_bars_fit_the_width(width, done):
    console = Console(file=StringIO(), width=width, force_terminal=True, color_system=None)
    now = [0.0]
    bars = bars_on(console, clock=lambda: now[0])
    for even in (True, False):
        task = bars.add_task("a name that is longer than any terminal is wide " * 3, total=10)
        bars.update(task, even=even)
        now[0] += 4000
        bars.update(task, completed=done)
    with console.capture() as captured:
        console.print(bars.get_renderable())
    lines = captured.get().splitlines()
    assert len(lines) == 2, "one line for each"
    assert max(map(len, lines)) <= width
    assert all(line.split()[-1] in ("left", "far") for line in lines), "the time is whole"


def test_a_bar_is_seen_only_once_it_has_taken_a_second():
    console = Console(file=StringIO(), width=60, force_terminal=True)
    now = [0.0]
    bars = bars_on(console, clock=lambda: now[0])
    bars.add_task("work", total=2)
    for seconds, seen in ((0.5, False), (1.5, True)):
        now[0] = seconds
        with console.capture() as captured:
            console.print(bars.get_renderable())
        assert ("work" in captured.get()) == seen


def test_where_there_is_no_time_left_to_tell_it_tells_that_gone_by():
    console = Console(file=StringIO(), width=60, force_terminal=True)
    now = [0.0]
    bars = bars_on(console, clock=lambda: now[0])
    bars.add_task("uneven", total=4, even=False)
    even = bars.add_task("even", total=4)
    for now[0] in (10.0, 20.0, 30.0):
        bars.advance(even)
    with console.capture() as captured:
        console.print(bars.get_renderable())
    assert "0:30 so far" in captured.get()
    assert "0:10 left" in captured.get()


def test_nested_bars_stand_below_each_other_and_go(screen):
    with bar("outer", 2) as outer:
        for _ in with_bar([1, 2], "inner"):
            outer.advance()
        terminal._bars._drawn.refresh()
        outer.show(what="renamed")
        terminal._bars._drawn.refresh()
    assert terminal._bars._drawn is None
    assert "outer" in screen.getvalue()
    assert "renamed" in screen.getvalue()
    hidden, shown = screen.getvalue().rfind("\x1b[?25l"), screen.getvalue().rfind("\x1b[?25h")
    assert shown > hidden >= 0, "the cursor is back"


def test_an_error_within_a_bar_leaves_none(screen):
    with pytest.raises(ValueError, match="broken"), bar("outer", 2), bar("inner", 2):
        raise ValueError("broken")
    assert terminal._bars._drawn is None


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_plain_terminals_have_no_bars(screen, monkeypatch, plain):
    assert draws_bars()
    for name, value in plain.items():
        monkeypatch.setenv(name, value)
    assert not draws_bars()
    assert list(with_bar([1, 2], "work")) == [1, 2]
    assert screen.getvalue() == ""


def test_a_forked_process_draws_no_bars(screen, monkeypatch):
    monkeypatch.setattr(terminal._bars, "owner", os.getpid() + 1)
    with bar("work", 1) as shown:
        shown.advance()
    assert screen.getvalue() == ""


@pytest.fixture
def lines() -> Lines:
    return Lines(details=("kedro", "mmer.some"), told_by_bars=("mmer.epochs",))


def test_what_matters_is_told_in_plain_lines(lines, capsys):
    long = "a long line " * 30
    lines.emit(record(logging.INFO, "mmer.other", long))
    lines.emit(record(logging.INFO, "mmer.something", "of another logger"))
    lines.emit(record(logging.INFO, "mmer.epochs", "epoch 1"))
    lines.emit(record(logging.INFO, "mmer.some.part", "a detail"))
    lines.emit(record(logging.INFO, "kedro.runner", "Completed node: x"))
    lines.emit(record(logging.WARNING, "mmer.some", "[red]look[/red]"))
    lines.emit(record(logging.WARNING, "kedro.runner", "No nodes ran. Repeat."))
    told = capsys.readouterr().out.splitlines()
    assert told == [long, "of another logger", "epoch 1", "WARNING: [red]look[/red]"]


def test_on_a_terminal_bars_take_the_place_of_some_lines(lines, screen):
    lines.emit(record(logging.INFO, "mmer.epochs", "epoch 1"))
    lines.emit(record(logging.WARNING, "mmer.epochs", "a word that matters " * 5))
    told = screen.getvalue()
    assert "epoch 1" not in told
    assert "a word that matters" in told
    assert "\x1b[33m" in told, "yellow"


def test_what_a_bar_tells_is_told_once(lines, capsys):
    told = record(logging.INFO, "mmer.other", "epoch 1")
    told.on_bar = True
    lines.emit(told)
    told.on_bar = False
    lines.emit(told)
    assert capsys.readouterr().out == "epoch 1\n"


def test_everything_is_told_if_asked(lines, capsys, monkeypatch):
    monkeypatch.setattr(Lines, "everything", True)
    lines.emit(record(logging.INFO, "kedro.runner", "Completed node: x"))
    assert "kedro.runner: Completed node: x" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 1 s"), (3600, "1 h 0 min")],
)
def test_durations(seconds, text):
    assert duration_text(seconds) == text
