"""What an artefact was made from: digests of files, settings and code.

Two artefacts of one fingerprint have the same content. Whoever is handed an artefact that was made
from something else than expected stops.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from mmer.errors import InputError
from mmer.schema import Record

_PACKAGE = Path(__file__).resolve().parent


class SourceFile(Record):
    """A file that was read: its path within the corpus's folder, bytes, time of change in ns."""

    name: str
    size: int
    modified: int
    sha256: str

    @classmethod
    def of(cls, folder: Path, path: Path) -> SourceFile:
        """Read the file through.

        Raises:
            InputError: There is no such file.
        """
        if not path.is_file():
            raise InputError(path, "", "a file", "nothing")
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        stat = path.stat()
        return cls(
            name=str(path.relative_to(folder)),
            size=stat.st_size,
            modified=stat.st_mtime_ns,
            sha256=digest,
        )

    def check(self, folder: Path) -> None:
        """Refuse a file that has changed since.

        Raises:
            InputError: It is gone, or its size or time of change is another.
        """
        path = folder / self.name
        stat = path.stat() if path.is_file() else None
        if stat is None or (stat.st_size, stat.st_mtime_ns) != (self.size, self.modified):
            found = "nothing" if stat is None else "another size or time of change"
            expected = "the file as it was when the corpus was opened"
            raise InputError(path, "", expected, found, "Run the ingestion stage again.")


def digest(value: object) -> str:
    """SHA-256 of a value that JSON can hold; the order of keys does not count."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def fingerprint(
    files: Iterable[SourceFile], settings: Mapping[str, object], code: tuple[str, ...]
) -> str:
    """Digest of source files, settings, and code: folders or modules of this package."""
    sources = {file.name: file.sha256 for file in files}
    parts = {part: _code_digest(part) for part in code}
    return digest({"sources": sources, "settings": dict(settings), "code": parts})


@cache
def _code_digest(part: str) -> str:
    """Digest of the statements of modules: comments, docstrings and layout do not count."""
    path = _PACKAGE / part
    modules = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return digest([_statements(module.read_text(encoding="utf-8")) for module in modules])


def _statements(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return ast.dump(tree)
