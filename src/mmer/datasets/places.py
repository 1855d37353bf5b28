"""Where a file of the catalog lies: in a folder, or at an address that fsspec understands.

In a folder, files are written by `mmer.files`. At an address, a file is put under a hidden name of
its own first, "unfinished", and moved at the end. Moving is renaming there, or copying by the
store itself, whose copies appear when they are whole; so a reader never sees a half.

Who the user is, and where the server, says fsspec's own configuration (its file, and variables such
as FSSPEC_S3_KEY) and that of the package behind it. Every machine has its own.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from tempfile import NamedTemporaryFile, TemporaryDirectory
from urllib.parse import urlsplit
from uuid import uuid4

import fsspec
from fsspec.core import split_protocol, url_to_fs
from fsspec.implementations.local import LocalFileSystem
from kedro.io.core import HTTP_PROTOCOLS

from mmer.errors import InputError
from mmer.files import atomic_file, locked
from mmer.provenance import digest
from mmer.registry.tracking import first_line

_LOCAL = (None, "file", "local")
_UNFINISHED = "unfinished"
# What file systems tell of a file that changes when it is read.
_OF_READING = {"time", "atime", "accesstime", "last_accessed", "last_accessed_on"}
_SECONDS_UNTIL_ABANDONED = 3600.0
_SECONDS_UNTIL_FORGOTTEN = 86_400.0


class AddressError(InputError):
    """An address that is none, or that cannot be used now."""


def place_of(filepath: str) -> Disk | Address:
    """Where the catalog says that a file is.

    Raises:
        AddressError: An address whose protocol is not known, or lacks its package, or is read only.
    """
    protocol, _ = split_protocol(filepath)
    if protocol not in _LOCAL:
        return Address.of(filepath)
    path = LocalFileSystem._strip_protocol(filepath) if protocol else filepath
    # Kedro puts the project's folder before what does not begin with a slash.
    before, home, rest = path.partition("/~/")
    return Disk(PurePosixPath(Path.home(), rest) if home and before else PurePosixPath(path))


@dataclass(frozen=True)
class Disk:
    """A file in a folder of this machine, or of one that it shares."""

    path: PurePosixPath
    exists: Callable[[str], bool] | None = None  # Kedro's own
    glob: Callable[[str], list[str]] | None = None

    @property
    def files(self) -> fsspec.AbstractFileSystem:
        """The file system."""
        return fsspec.filesystem("file")

    def name(self, path: PurePath) -> str:
        """What a person calls a file."""
        return str(path)

    def is_file(self, path: PurePath) -> bool:
        """Whether there is a file."""
        return Path(path).is_file()

    def state(self, path: PurePath) -> object:
        """What tells a file from the one that was there before; None if there is none."""
        stat = Path(path).stat() if Path(path).exists() else None
        return stat and (stat.st_ino, stat.st_mtime_ns, stat.st_size)

    def versions(self) -> list[str]:
        """Names of the versions of the file, latest first."""
        return sorted((path.name for path in Path(self.path).glob("*/")), reverse=True)

    @contextmanager
    def fetched(self, path: PurePath) -> Iterator[Path]:
        """The file, to be read."""
        yield Path(path)


@dataclass(frozen=True)
class Address:
    """A file at an address that fsspec understands.

    Processes may be sent it; every process, and every thread where that matters, has connections of
    its own. Whatever is asked is asked anew: other machines write there too.

    Attributes:
        url: As the catalog gives it.
        path: What the file system there calls it.

    Raises:
        AddressError: In every method: the store does not answer, or does not let us.
    """

    url: str
    path: PurePosixPath

    @classmethod
    def of(cls, url: str) -> Address:
        """The address; a slash too many makes no other."""
        scheme, mark, rest = url.rpartition("://")
        url = scheme + mark + re.sub("/{2,}", "/", rest)
        named = cls(url, PurePosixPath(rest))
        if split_protocol(url)[0] in HTTP_PROTOCOLS:
            expected = "an address that files can be written to"
            raise AddressError(named.name(named.path), "", expected, "one that is only read")
        try:
            return cls(url, PurePosixPath(url_to_fs(url)[1]))
        except (ImportError, ValueError) as error:
            expected = "an address that fsspec can open on this machine"
            remedy = "Install what it lacks, or correct the address."
            found = first_line(error)
            raise AddressError(named.name(named.path), "", expected, found, remedy) from error
        except Exception as error:
            raise named._unusable(named.path, error) from error

    @property
    def files(self) -> fsspec.AbstractFileSystem:
        """The file system, which remembers nothing of what it has seen before."""
        files: fsspec.AbstractFileSystem = url_to_fs(self.url)[0]
        files.invalidate_cache()
        return files

    def name(self, path: PurePath) -> str:
        """The address of a file, without what gives access to it."""
        user, at, host = urlsplit(self.url).netloc.rpartition("@")
        shown = self.url.replace(f"{user}{at}{host}", host, 1) if at else self.url
        return shown + str(path).removeprefix(str(self.path))

    def exists(self, path: str) -> bool:
        """Whether there is anything."""
        with self._using(PurePosixPath(path)) as files:
            return bool(files.exists(path))

    def glob(self, pattern: str) -> list[str]:
        """Paths of this pattern."""
        with self._using(self.path) as files:
            return list(files.glob(pattern))

    def is_file(self, path: PurePath) -> bool:
        """Whether there is a file."""
        return self.state(path) is not None

    def state(self, path: PurePath) -> str | None:
        """What tells a file from the one that was there before; None if there is none."""
        with self._using(path) as files:
            try:
                known = files.info(str(path))
            except FileNotFoundError:
                return None
        if known["type"] != "file":
            return None
        kept = {key: value for key, value in known.items() if key.lower() not in _OF_READING}
        return digest(sorted(map(repr, kept.items())))

    def versions(self) -> list[str]:
        """Names of the versions of the file, latest first."""
        found = self.glob(f"{self.path}/*/{self.path.name}")
        return sorted((PurePosixPath(path).parent.name for path in found), reverse=True)

    @contextmanager
    def fetched(self, path: PurePath) -> Iterator[Path]:
        """A copy on this machine, to be read.

        Raises:
            FileNotFoundError: There is no such file.
        """
        self._state_of_what_is_there(path)
        with TemporaryDirectory(prefix="mmer-") as folder:
            file = Path(folder, path.name)
            self._get(path, file)
            yield file

    def kept(self, path: PurePath) -> Path:
        """A copy that stays on this machine, fetched once for each state of the file there.

        Of processes that ask at once, one fetches it. Copies of earlier states are removed once
        nobody has read them for a day.

        Raises:
            FileNotFoundError: There is no such file.
        """
        state, name = self._state_of_what_is_there(path), self.name(path)
        file = _cache() / digest(name)[:16] / f"{state[:16]}{path.suffix}"
        if not file.exists():
            with locked(file.with_name("lock"), f"Waiting for a process that fetches {name}"):
                if not file.exists():
                    with atomic_file(file) as partial:
                        self._get(path, partial)
                        if self.state(path) != state:
                            expected, found = "a file that stays while it is fetched", "another"
                            raise AddressError(name, "", expected, found, "Run it again.")
                    _forget_others(file)
        return file

    def put(self, file: Path, path: PurePath) -> None:
        """Copy a file there; it appears when it is whole."""
        unfinished = str(_unfinished(path))
        with self._using(path) as files:
            self._sweep(files, path)
            try:
                files.put_file(str(file), unfinished)
                files.mv(unfinished, str(path))
            except BaseException:
                with suppress(Exception):
                    files.rm_file(unfinished)
                raise

    def check(self) -> None:
        """Refuse a folder in which nothing can be written, before there is anything to write."""
        probe = str(_unfinished(self.path))
        with NamedTemporaryFile() as nothing, self._using(self.path) as files:
            files.put_file(nothing.name, probe)
            files.rm_file(probe)

    def _state_of_what_is_there(self, path: PurePath) -> str:
        if (state := self.state(path)) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.name(path))
        return state

    def _get(self, path: PurePath, file: Path) -> None:
        with self._using(path) as files:
            files.get_file(str(path), str(file))

    def _sweep(self, files: fsspec.AbstractFileSystem, path: PurePath) -> None:
        """Remove what killed writers have left, where the store says how old it is."""
        folder = path.parent if path == self.path else self.path / "*"
        for left in files.glob(str(_unfinished(folder / path.name, "*"))):
            with suppress(Exception):  # another sweeps as well, or it is not said
                if time.time() - files.modified(left).timestamp() > _SECONDS_UNTIL_ABANDONED:
                    files.rm_file(left)

    @contextmanager
    def _using(self, path: PurePath) -> Iterator[fsspec.AbstractFileSystem]:
        try:
            yield self.files
        except Exception as error:  # every store has errors of its own
            raise self._unusable(path, error) from error

    def _unusable(self, path: PurePath, error: Exception) -> AddressError:
        expected = "a store that answers, with the right to read and write there"
        remedy = "Look at the address, at its server, and at what gives access to it (README)."
        return AddressError(self.name(path), "", expected, first_line(error), remedy)


def _unfinished(path: PurePath, which: str = "") -> PurePath:
    return path.with_name(f".{path.name}.{which or uuid4().hex}.{_UNFINISHED}")


def _cache() -> Path:
    """Where this user's copies are."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "mmer")


def _forget_others(file: Path) -> None:
    for other in file.parent.glob(f"*{file.suffix}"):
        with suppress(OSError):  # another process does the same
            stat = other.stat()
            unread = time.time() - max(stat.st_atime, stat.st_mtime)
            if other != file and unread > _SECONDS_UNTIL_FORGOTTEN:
                other.unlink()
