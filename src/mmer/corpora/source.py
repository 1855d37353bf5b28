"""A corpus that has been opened and checked, ready to be streamed into sample tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmer.errors import InputError
from mmer.samples.table import Sample, TableInfo

_PACKAGE = Path(__file__).resolve().parents[1]
_CODE_THAT_MAKES_TABLES = ("corpora", "alignment", "samples/table.py")


@dataclass(frozen=True)
class RawCorpus:
    """Where a corpus's official files lie, before anything is opened.

    Attributes:
        path: The folder, or the file if the corpus is one file.
        synthetic: True if mmer wrote the files itself.
    """

    path: Path
    synthetic: bool = False


@dataclass(frozen=True)
class CorpusSource:
    """What every reader returns.

    Attributes:
        info: What the sample tables will hold, with the fingerprint that tells whether an existing
            table is still the one that would be made.
        read: Split name -> iterator over its samples. Nothing is read before it is iterated.
    """

    info: TableInfo
    read: Callable[[str], Iterator[Sample]]


@dataclass(frozen=True)
class SampleStream:
    """One split on its way into a table: described, not yet read."""

    info: TableInfo
    samples: Iterable[Sample]


def file_digests(files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file's bytes, by file name.

    Raises:
        InputError: A file is missing.
    """
    digests = {}
    for path in files:
        if not path.is_file():
            raise InputError(path, "", "a file", "nothing")
        with path.open("rb") as handle:
            digests[path.name] = hashlib.file_digest(handle, "sha256").hexdigest()
    return digests


def fingerprint(sources: dict[str, str], settings: dict[str, object]) -> str:
    """Digest of source files, settings and the code that makes tables out of them."""
    code = hashlib.sha256()
    for part in _CODE_THAT_MAKES_TABLES:
        path = _PACKAGE / part
        for module in [path] if path.is_file() else sorted(path.rglob("*.py")):
            code.update(module.read_bytes())
    record = {"sources": sources, "settings": settings, "code": code.hexdigest()}
    return hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()


def check_disjoint(where: object, groups: dict[str, Iterable[str]]) -> None:
    """Refuse splits that share a group (a video, a dialogue).

    Raises:
        InputError: Names the splits and the first groups that they share.
    """
    splits = {split: set(members) for split, members in groups.items()}
    names = list(splits)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            if shared := sorted(splits[first] & splits[second]):
                raise InputError(
                    where,
                    f"splits {first} and {second}",
                    "no group in both",
                    f"{len(shared)} shared, such as {', '.join(map(str, shared[:3]))}",
                )
