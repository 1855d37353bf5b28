"""Strangers' files are read in a process of its own, with limits set from their size.

What such a file can do to the library that reads it (ask for gigabytes, never end, crash it) then
ends in one refusal that names the limit, and the process that asked goes on.

To import the modules takes a second, so a nursery does it once: a process of the same interpreter
which forks a child for every task. There are as many as have been needed at once. A nursery has one
thread and nothing of what its parent has imported or opened; both die with the parent. Argument,
answer, errors and log records travel as JSON, never as pickles.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar, get_type_hints

from mmer.errors import InputError, UntrustedDataError, printable
from mmer.schema import Record

_MB = 1_000_000
_MOST_BYTES_TOLD = 8 * _MB
_LONGEST_TEXT = 10_000
_SECONDS_TO_EXIT = 10
_SECONDS_WAITED = 60
_PR_SET_PDEATHSIG = 1
_CODE = struct.Struct("i")
# One thread, and memory asked for when it is used: others reserve gigabytes in advance.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
_RULE = "(10 s + 1 s per MB)"

A = TypeVar("A", bound=Record)
R = TypeVar("R", bound=Record)


class Limits(Record):
    """What reading may cost.

    Attributes:
        memory: Bytes beyond what the child has when it starts; files that are mapped into memory do
            not count.
        seconds: Of processor time; of wall time, four times as many and a minute.
        file_size: Bytes of any one file that it writes.
    """

    memory: int
    seconds: int
    file_size: int

    @classmethod
    def of(cls, bytes_on_disk: int) -> Limits:
        """Those of files of this size: ten times as much and 200 MB, and 10 s + 1 s per MB."""
        room = 10 * bytes_on_disk + 200 * _MB
        return cls(memory=room, seconds=10 + bytes_on_disk // _MB, file_size=room)


class _Task(Record):
    function: str
    argument_type: str
    argument: str
    limits: Limits
    log_level: int
    folder: str
    search: list[str]


class _Log(Record):
    name: str
    level: int
    text: str


class _Refusal(Record):
    """An InputError on its way to the parent."""

    untrusted: bool
    fields: tuple[str, str, str, str, str]


class _Message(Record):
    """One line from the child: a log record, or at the end, one of the others."""

    log: _Log | None = None
    answer: str | None = None
    refusal: _Refusal | None = None
    out_of_memory: bool = False
    failure: str | None = None


def confined(function: Callable[[A], R], argument: A, limits: Limits, where: Path) -> R:
    """Run a module's function in a process of its own.

    Log records of the child are logged here, under the same names, as they come.

    Args:
        function: Takes and returns a Record; annotated with the class that it returns.
        argument: What it is given.
        limits: What it may cost.
        where: The file or folder that is at fault if it costs more.

    Raises:
        InputError: The function raised it, or the child exceeded a limit, crashed, or told more
            than anybody would.
        UntrustedDataError: The function raised it.
        RuntimeError: The function raised anything else; the message holds the traceback.
    """
    task = _Task(
        function=f"{function.__module__}:{function.__qualname__}",
        argument_type=f"{type(argument).__module__}:{type(argument).__qualname__}",
        argument=argument.to_json(),
        limits=limits,
        log_level=logging.getLogger(function.__module__).getEffectiveLevel(),
        folder=str(Path.cwd()),
        search=sys.path,
    )
    end = None
    with TemporaryFile() as printed:
        with _child(task, printed) as (nursery, pipe):
            for line in _lines(pipe, 4 * limits.seconds + _SECONDS_WAITED, where):
                message = _Message.from_json(line, where)
                if message.log:
                    logging.getLogger(message.log.name).log(message.log.level, message.log.text)
                else:
                    end = message
            code = nursery.code()
        if end is None:
            raise _ended(code, printed, limits, where)
    if end.refusal:
        raise (UntrustedDataError if end.refusal.untrusted else InputError)(*end.refusal.fields)
    if end.out_of_memory:
        raise _beyond_memory(limits, where, "more was needed")
    if end.answer is None:
        raise RuntimeError(f"{task.function} failed in its own process:\n{end.failure}")
    return get_type_hints(function)["return"].from_json(end.answer, where)


class _Nursery:
    """The process that forks children, seen from here; one of them lives at a time."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), str(os.getpid())],
                env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(_search())},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
        self._owner, self._process, self._socket = os.getpid(), process, ours
        self.end = weakref.finalize(self, _end, self._owner, process, ours)

    @property
    def lives(self) -> bool:
        """Whether it can be asked, by this process."""
        return self._owner == os.getpid() and self.end.alive and self._process.poll() is None

    def bear(self, module: str, given: IO[bytes], printed: IO[bytes], pipe: int) -> None:
        """Fork a child, once `module` is imported there."""
        files = [given.fileno(), printed.fileno(), pipe]
        socket.send_fds(self._socket, [module.encode()], files)

    def code(self) -> int:
        """How the child ended, as of `subprocess`; the nursery's own end counts as a kill."""
        self._socket.settimeout(_SECONDS_TO_EXIT)
        with suppress(OSError):
            if len(told := self._socket.recv(_CODE.size)) == _CODE.size:
                return _CODE.unpack(told)[0]
        self.end()
        return -signal.SIGKILL


def _end(owner: int, process: subprocess.Popen, ours: socket.socket) -> None:
    """A nursery's last act, unless this is a fork of the process that it belongs to."""
    if os.getpid() == owner:
        ours.close()
        process.kill()
        process.wait()


_idle: deque[_Nursery] = deque()


@contextmanager
def _nursery() -> Iterator[_Nursery]:
    """One that nobody else asks meanwhile."""
    nursery = _waiting() or _starter(os.getpid()).submit(_Nursery).result()
    try:
        yield nursery
    except BaseException:
        nursery.end()
        raise
    if nursery.lives:
        _idle.append(nursery)


def _waiting() -> _Nursery | None:
    with suppress(IndexError):
        while not (nursery := _idle.pop()).lives:
            pass
        return nursery
    return None


@cache
def _starter(process: int) -> ThreadPoolExecutor:
    """The thread that starts this process's nurseries: they would die with any that ends."""
    return ThreadPoolExecutor(1, f"nurseries of {process}")


def _search() -> list[str]:
    return [folder for folder in sys.path if folder]


@contextmanager
def _child(task: _Task, printed: IO[bytes]) -> Iterator[tuple[_Nursery, int]]:
    """The nursery of a child that has the task, and the pipe that it writes to.

    If anything goes wrong here the child ends with its nursery.
    """
    with ExitStack() as ends, _nursery() as nursery:
        read_end, write_end = os.pipe()
        ends.callback(os.close, read_end)
        with os.fdopen(write_end, "wb"), TemporaryFile() as given:
            given.write(task.to_json().encode())
            given.seek(0)
            nursery.bear(task.function.partition(":")[0], given, printed, write_end)
        yield nursery, read_end


def _lines(pipe: int, seconds: float, where: Path) -> Iterator[bytes]:
    """Whole lines as they come; time during which this process is stopped does not count."""
    rest, told, left = b"", 0, seconds
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while True:
        begin = time.monotonic()
        if poll.poll(1000):
            part = os.read(pipe, 1 << 16)
            if not part:
                return
            told += len(part)
            if told > _MOST_BYTES_TOLD:
                expected = f"files of which {_MOST_BYTES_TOLD // _MB} MB tell all that matters"
                raise InputError(where, "", expected, "more")
            *whole, rest = (rest + part).split(b"\n")
            yield from whole
        left -= min(time.monotonic() - begin, 1)
        if left < 0:
            expected = f"files that are read within {seconds:.0f} s"
            raise InputError(where, "", expected, "no end by then")


def _ended(code: int, printed: IO[bytes], limits: Limits, where: Path) -> Exception:
    """What the end of a child without an answer means."""
    fetch = "The file is damaged, or made to cost much: fetch it again from where it is published."
    if code == -signal.SIGXCPU:
        expected = f"files that are read within {limits.seconds} s of processor time {_RULE}"
        return InputError(where, "", expected, "no end by then", fetch)
    if code == -signal.SIGXFSZ:
        outer = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if 0 <= outer < limits.file_size:
            expected = f"tables of which no file is above this system's limit, {outer} bytes"
            return InputError(where, "", expected, "a larger one", "Raise it (ulimit -f).")
        expected = f"files of which at most {limits.file_size // _MB} MB are made at once"
        return InputError(where, "", expected, "more was written", fetch)
    if code == -signal.SIGBUS:
        found = "it changed or was cut off meanwhile"
        return InputError(where, "", "a file that stays as it is while it is read", found)
    printed.seek(max(printed.seek(0, os.SEEK_END) - _LONGEST_TEXT, 0))
    text = printed.read().decode(errors="replace")
    if code == -signal.SIGKILL:
        return _beyond_memory(limits, where, "its process was killed, most often for memory")
    if code == -signal.SIGABRT and re.search("memory allocation|bad_alloc", text):
        return _beyond_memory(limits, where, "more was needed")
    if code < 0:
        found = f"it crashed the library that reads it ({signal.Signals(-code).name})"
        return InputError(where, "", "a whole file", found, fetch)
    if code == 0:
        return InputError(where, "", "files that are read to the end", "no answer", fetch)
    return RuntimeError(f"the process that reads {where} ended with {code}:\n{text}")


def _beyond_memory(limits: Limits, where: Path, found: str) -> InputError:
    expected = f"files that are read within {limits.memory // _MB} MB of memory"
    return InputError(where, "", f"{expected} (10 x their size + 200 MB)", found)


# In the nursery and its children


def _nurse(parent: socket.socket) -> None:
    """Fork a child for every task, and tell how it ended; until the parent is gone."""
    while True:
        module, files, *_ = socket.recv_fds(parent, 1 << 10, 3)
        if not module:
            return
        with suppress(ImportError):  # the child says what is wrong with it
            import_module(module.decode())
        child = os.fork()
        if child == 0:
            parent.close()
            _die_with(os.getppid())
            given, printed, pipe = files
            for file in (1, 2):
                os.dup2(printed, file)
            _work(given, pipe)
            os._exit(0)
        for file in files:
            os.close(file)
        parent.send(_CODE.pack(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))


def _work(given: int, pipe: int) -> None:
    with os.fdopen(given, "rb") as file:
        task = _Task.from_json(file.read(), "the task")
    os.chdir(task.folder)
    sys.path[:] = task.search
    with os.fdopen(pipe, "wb") as told:
        logging.basicConfig(level=task.log_level, handlers=[_Teller(told)], format="%(message)s")
        logging.captureWarnings(True)
        _tell(told, _outcome(task))


def _outcome(task: _Task) -> _Message:
    try:
        function, argument_type = _named(task.function), _named(task.argument_type)
        argument = argument_type.from_json(task.argument, "the task")
        before = resource.getrlimit(resource.RLIMIT_DATA)
        _limit(task.limits)
        try:
            return _Message(answer=function(argument).to_json())
        finally:  # what has failed for memory needs some to say so
            resource.setrlimit(resource.RLIMIT_DATA, before)
    except Exception as error:
        if _is_for_memory(error):
            return _Message(out_of_memory=True)
        if isinstance(error, InputError):
            fields = (error.where, error.key, error.expected, error.found, error.remedy)
            untrusted = isinstance(error, UntrustedDataError)
            return _Message(refusal=_Refusal(untrusted=untrusted, fields=tuple(map(_text, fields))))
        return _Message(failure=_text(traceback.format_exc()[-_LONGEST_TEXT:]))


def _limit(limits: Limits) -> None:
    """Set the limits on top of what has been used to get here.

    Of memory, what is private and can be written counts (RLIMIT_DATA): RLIMIT_AS would count the
    files that are mapped, of which a reader looks at little, and the libraries.
    """
    for name, most in (
        ("RLIMIT_CORE", 0),
        ("RLIMIT_FSIZE", limits.file_size),
        ("RLIMIT_CPU", int(time.process_time() + limits.seconds)),
        ("RLIMIT_DATA", _data_in_use() + limits.memory),
    ):
        if hasattr(resource, name):
            before, hard = resource.getrlimit(getattr(resource, name))
            known = [limit for limit in (most, before, hard) if limit != resource.RLIM_INFINITY]
            resource.setrlimit(getattr(resource, name), (min(known), hard))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def _data_in_use() -> int:
    """Bytes that count as data by now; 0 where the system does not say."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the process that asked is gone")


def _named(place: str) -> Any:
    module, _, names = place.partition(":")
    return attrgetter(names)(import_module(module))


def _is_for_memory(error: BaseException | None) -> bool:
    """Whether there was no memory: a reader may take that for damage and say so."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__
    return False


class _Teller(logging.Handler):
    """Log records go to the parent."""

    def __init__(self, told: IO[bytes]) -> None:
        super().__init__()
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        text = printable(_text(self.format(record)))
        _tell(self._told, _Message(log=_Log(name=record.name, level=record.levelno, text=text)))


def _tell(told: IO[bytes], message: _Message) -> None:
    told.write(message.to_json().encode() + b"\n")
    told.flush()


def _text(value: str) -> str:
    """What JSON can hold: halves of surrogate pairs, as in odd file names, are escaped."""
    return value[:_LONGEST_TEXT].encode(errors="backslashreplace").decode()


if __name__ == "__main__":
    # What forks is this module by its own name, so that its classes are those of the tasks.
    _own = import_module("mmer.confined")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children by itself
    _own._die_with(int(sys.argv[2]))
    with socket.socket(fileno=int(sys.argv[1])) as _parent:
        _own._nurse(_parent)
