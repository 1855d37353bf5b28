"""A training that is asked to stop ends between two steps, with a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Somebody asked the training to stop, and it has.

    Attributes:
        signal: By which it was asked.
        place: Where it is.
        checkpoint: The last one.
    """

    def __init__(self, number: int, place: str, checkpoint: Path | None) -> None:
        kept = f"goes on from {checkpoint}" if checkpoint else "begins anew"
        super().__init__(f"Stopped after {place}. The same command {kept}.")
        self.signal, self.place, self.checkpoint = number, place, checkpoint


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], int | None]]:
    """Says inside which signal has come, if one has: SIGTERM, or SIGINT (Ctrl-C).

    The second signal of a kind acts as it did before. One that was ignored, as SIGINT is by what
    shell scripts start in the background, stays so. Outside of the main thread, where Python takes
    no signals, none ever comes.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in _SIGNALS}
    before = {n: handler for n, handler in before.items() if handler is not signal.SIG_IGN}

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: came[0] if came else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
