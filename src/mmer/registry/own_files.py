"""What the files of a version have to be that scoring uses: their digests, in a file beside them.

Whoever loads the folder sees to it, MLflow's server too, which asks nobody else. It is against
accidents and careless edits: who means to forge a version can forge the list as well. What was
registered is told by the registry (`mmer.registry.evidence`).
"""

from __future__ import annotations

from pathlib import Path

from mmer.errors import InputError
from mmer.provenance import file_digest
from mmer.schema import Record

LIST = "digests.json"


class OwnFiles(Record):
    """Path in the folder -> SHA-256."""

    files: dict[str, str]


def write_list(folder: Path, used: tuple[str, ...]) -> None:
    """List the files in use, each named itself or by a folder that it is in."""
    paths = [path for name in used for path in (folder / name, *(folder / name).rglob("*"))]
    digests = {p.relative_to(folder).as_posix(): file_digest(p) for p in paths if p.is_file()}
    (folder / LIST).write_text(OwnFiles(files=digests).to_json(), encoding="utf-8")


def check_files(folder: Path) -> None:
    """See that the files of a folder are those of its list.

    Raises:
        InputError: One is gone, or another than it was; or there is no list.
    """
    if not (folder / LIST).is_file():
        expected = "the folder of a version, with the digests of its files"
        raise InputError(folder, LIST, expected, "no such file")
    remedy = "Fetch the version again."
    for name, expected in OwnFiles.read(folder / LIST).files.items():
        path = folder / name
        found = file_digest(path) if path.is_file() else "nothing"
        if found != expected:
            raise InputError(path, "", f"the file of digest {expected}", found, remedy)
