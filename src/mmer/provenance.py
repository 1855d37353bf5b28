"""What an artefact was made from: digests of files, settings and code.

Two artefacts of one fingerprint have the same content. Whoever is handed an artefact that was made
from something else than expected stops.
"""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from mmer.errors import InputError
from mmer.schema import Record

_PACKAGE = Path(__file__).resolve().parent
# Where and whether something is written, not what.
_DECIDES_NOTHING = {"mmer.confined", "mmer.errors", "mmer.files", "mmer.provenance", "mmer.schema"}


def file_state(path: Path) -> tuple[int, ...]:
    """Device, inode, size, and times of the last writing and the last change of any kind in ns.

    As long as it stays the same, so do the bytes: nobody can set the last of the times. An OSError
    if there is no such file.
    """
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


class SourceFile(Record):
    """A file that was read: its path within the corpus's folder, `file_state`, digest."""

    name: str
    state: tuple[int, ...]
    sha256: str

    @property
    def size(self) -> int:
        """Bytes."""
        return self.state[2]

    @classmethod
    def of(cls, folder: Path, path: Path) -> SourceFile:
        """Read the file through.

        Raises:
            InputError: There is no such file, or it changed meanwhile.
        """
        if not path.is_file():
            raise InputError(path, "", "a file", "nothing")
        state, found = file_state(path), file_digest(path)
        file = cls(name=str(path.relative_to(folder)), state=state, sha256=found)
        file.check(folder)
        return file

    def check(self, folder: Path) -> None:
        """Refuse a file whose bytes are others by now; only if its state is, it is read again.

        Raises:
            InputError: It is gone, or has changed.
        """
        path = folder / self.name
        expected = "the file as it was when the corpus was opened"
        remedy = "Run the ingestion stage again."
        if not path.is_file():
            raise InputError(path, "", expected, "nothing", remedy)
        state = file_state(path)
        if state != self.state and (state[2] != self.size or file_digest(path) != self.sha256):
            raise InputError(path, "", expected, "other content", remedy)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest(value: object) -> str:
    """SHA-256 of a value that JSON can hold; the order of keys does not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def fingerprint(
    files: Iterable[SourceFile], settings: Mapping[str, object], code: Iterable[Callable]
) -> str:
    """Digest of source files, settings, and the code that makes the artefact.

    Args:
        files: It is made from.
        settings: That decide what it is, as JSON holds them.
        code: Functions that make it. What counts is their modules and what these import of this
            package, directly or not: a change elsewhere leaves the fingerprint as it is.
    """
    sources = {file.name: file.sha256 for file in files}
    modules: dict[str, str] = {}
    for function in code:
        modules |= _code(_module_of(function))
    return digest({"sources": sources, "settings": dict(settings), "code": modules})


@cache
def package_digest() -> str:
    """Of all source files of this package, to the byte."""
    files = sorted(_PACKAGE.rglob("*.py"))
    return digest({str(path.relative_to(_PACKAGE)): file_digest(path) for path in files})


class Commit(NamedTuple):
    """The commit of a checkout, and whether its files are others than the commit's."""

    name: str
    changed: bool

    @classmethod
    def of(cls, project: Path) -> Commit | None:
        """That of a project; None where there is no git, or the folder is under none."""
        command = ["git", "-C", str(project), "status", "--porcelain=v2", "--branch"]
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return None
        name, *lines = said.splitlines()
        return cls(name.removeprefix("# branch.oid "), any(line[0] != "#" for line in lines))


def _module_of(function: Callable) -> str:
    while isinstance(function, partial):
        function = function.func
    return function.__module__


@cache
def _code(module: str) -> dict[str, str]:
    """Name -> digest of the statements, of a module and of all that it imports of this package."""
    found: dict[str, str] = {}
    waiting = {module: Path(sys.modules[module].__file__ or "")}
    while waiting:
        name, path = waiting.popitem()
        source = path.read_text(encoding="utf-8")
        found[name] = digest(_statements(source))
        imported = {name: _path(name) for name in _imported(source)}
        left_out = found.keys() | _DECIDES_NOTHING
        waiting |= {n: path for n, path in imported.items() if path and n not in left_out}
    return found


def _imported(source: str) -> Iterator[str]:
    """Names of modules that a source imports, and of what may be one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _path(module: str) -> Path | None:
    """The file of a module of this package; None of what is none, and of a package's folder.

    The folder's own statements tell who is in it, and are run whichever module of it is imported.
    """
    package, _, rest = module.partition(".")
    path = _PACKAGE.joinpath(*rest.split(".")).with_suffix(".py")
    return path if package == _PACKAGE.name and path.is_file() else None


def _statements(source: str) -> str:
    """What a source does: comments, docstrings and layout do not count."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return ast.dump(tree)
