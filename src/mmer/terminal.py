"""What a person sees while something runs: bars with the time left, and lines.

A bar stands on a terminal alone, below the lines, and goes when its work is done. Where nothing can
be drawn over (a file, a pipe, a terminal that is dumb or wants no colour) there are only lines.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

Item = TypeVar("Item")

_SECONDS_UNTIL_SHOWN = 1.0
_BAR_COLUMNS = 16
_STYLES = {logging.WARNING: "yellow", logging.ERROR: "red"}
_NO_NEWS = "No nodes ran. "  # Kedro, where an error is told next

_lock = threading.RLock()


def draws_bars() -> bool:
    """Whether standard output is a terminal on which a bar can be drawn.

    Without rich there is none: a model that is served travels without it.
    """
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") in ("dumb", "unknown")
    return not plain and sys.stdout.isatty() and find_spec("rich") is not None


class Bar:
    """How far a piece of work is; nothing where no bar can be drawn."""

    def __init__(self, bars: Progress | None = None, task: TaskID | None = None) -> None:
        self._bars, self._task = bars, task

    def advance(self, steps: float = 1) -> None:
        """So much more is done."""
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, steps)

    def show(self, done: float | None = None, what: str | None = None) -> None:
        """So much is done, and what is at hand."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done, description=what)


@contextmanager
def bar(what: str, total: float, done: int = 0, *, even: bool = True) -> Iterator[Bar]:
    """A bar on a terminal, beside those of other work; it is seen once it has taken a second.

    Where steps are not `even`, it tells no time left but that gone by.
    """
    with _lock:
        _bars.count += 1
        bars = _bars.shown()
        task = bars.add_task(what, total=total, completed=done, even=even) if bars else None
    try:
        yield Bar(bars, task)
    finally:
        with _lock:
            _bars.count -= 1
            if bars is not None and task is not None:
                bars.remove_task(task)
            if not _bars.count:
                _bars.stop()


def with_bar(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items, with a bar of how many are done."""
    with bar(what, len(items)) as shown:
        for item in items:
            yield item
            shown.advance()


def duration_text(seconds: float) -> str:
    """Such as "3.1 s" or "12 min 5 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _clock_text(seconds: float) -> str:
    """Such as "2:05" or "1:02:05"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Lines(logging.Handler):
    """Log records as plain lines on standard output, above the bars; a warning is called one.

    What a bar tells already has the attribute `on_bar`, and is told only where everything is.

    Args:
        details: Loggers whose news are told only where everything is.
        told_by_bars: Loggers whose news a bar tells in their place, where there are bars.
    """

    everything = False
    """Whether details are told, with time and logger."""

    def __init__(self, details: Iterable[str] = (), told_by_bars: Iterable[str] = ()) -> None:
        super().__init__()
        self._details, self._told_by_bars = tuple(details), tuple(told_by_bars)
        logging.captureWarnings(True)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if not self._is_told(record):
                return
            text = self._text(record)
            if not draws_bars() or _bars.owner != os.getpid():
                # in a forked process the bars' locks may be held for ever
                stream = sys.stdout if _bars.owner == os.getpid() else sys.__stdout__
                print(text, file=stream, flush=True)
                return
            from rich.text import Text

            style = next((_STYLES[n] for n in sorted(_STYLES)[::-1] if record.levelno >= n), "")
            _console().print(Text(text, style))
        except Exception:
            self.handleError(record)

    def _is_told(self, record: logging.LogRecord) -> bool:
        if Lines.everything:
            return True
        if record.levelno >= logging.WARNING:
            return not record.getMessage().startswith(_NO_NEWS)
        if getattr(record, "on_bar", False):
            return False
        hidden = self._details + (self._told_by_bars if draws_bars() else ())
        return not any(record.name == name or record.name.startswith(f"{name}.") for name in hidden)

    def _text(self, record: logging.LogRecord) -> str:
        text = self.format(record)
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname}: {text}"
        if Lines.everything:
            time = logging.Formatter().formatTime(record, "%H:%M:%S")
            text = f"{time} {record.name}: {text}"
        return text


class _Bars:
    """The bars of this process, which stand in one place."""

    def __init__(self) -> None:
        self.count, self.owner = 0, os.getpid()
        self._drawn: Progress | None = None

    def shown(self) -> Progress | None:
        """Where a bar can be put; None where none can be drawn."""
        if self.owner != os.getpid() or not draws_bars():
            return None
        if self._drawn is None:
            self._drawn = _progress()
            self._drawn.start()
            atexit.register(self.stop)  # or the cursor stays hidden
        return self._drawn

    def stop(self) -> None:
        """Clear the place."""
        if self._drawn is not None and self.owner == os.getpid():
            self._drawn.stop()
            atexit.unregister(self.stop)
        self._drawn = None


_bars = _Bars()


def _console() -> Console:
    from rich import get_console

    return get_console()


def _progress() -> Progress:
    return bars_on(_console())


def bars_on(console: Console, clock: Callable[[], float] | None = None) -> Progress:
    """Bars within the width of `console`, of what has taken a second; `clock` for tests."""
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TaskProgressColumn,
        TextColumn,
    )
    from rich.table import Column, Table
    from rich.text import Text

    class Time(ProgressColumn):
        def render(self, task: Task) -> Text:
            left = task.time_remaining if task.fields.get("even", True) else None
            if left is None:
                return Text(f"{_clock_text(task.elapsed or 0)} so far")
            return Text(f"{_clock_text(left)} left")

    class Bars(Progress):
        def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
            return super().make_tasks_table(
                [task for task in tasks if (task.elapsed or 0) >= _SECONDS_UNTIL_SHOWN]
            )

    what = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    fixed = Column(no_wrap=True)
    return Bars(
        TextColumn("{task.description}", markup=False, table_column=what),
        BarColumn(_BAR_COLUMNS),
        TaskProgressColumn(table_column=fixed),
        Time(table_column=fixed),
        console=console,
        transient=True,
        expand=True,
        get_time=clock,
    )
