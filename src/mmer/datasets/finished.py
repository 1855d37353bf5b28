"""What earlier runs have finished, found again by what it was made from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from mmer.datasets.files import VersionedFile
from mmer.datasets.places import AddressError
from mmer.errors import InputError
from mmer.metrics.scores import Scores
from mmer.provenance import digest
from mmer.schema import Record
from mmer.systems.contract import FittedSystem

logger = logging.getLogger(__name__)


class Receipt(Record):
    """Says that work is finished; the last that is saved of it.

    Attributes:
        key: Digest of all that decides what comes out.
        content: Digest of each part that came out, in the order of the catalog's entry.
    """

    key: str
    content: tuple[str, ...]


def content_of(part: object) -> str:
    """Digest of a fitted system, of scores or of a record; equal ones have the same."""
    if isinstance(part, FittedSystem):
        return part.digest
    if isinstance(part, Scores):
        rows = [part.scores.tolist(), part.truth.tolist(), part.sample_ids, part.group_ids]
        return digest([part.info.to_json(), *rows])
    assert isinstance(part, Record)
    return digest(part.to_json())


@dataclass(frozen=True)
class Finished:
    """All versions of some parts and of the receipt that belongs to them.

    Attributes:
        files: Name of each part -> its dataset; the last is that of the receipt.
    """

    files: Mapping[str, VersionedFile]

    def find(self, key: str) -> tuple[Any, ...] | None:
        """All parts of the newest version with this key, the receipt at the end; None if there is
        none. What is not as it was saved is left out, and said.

        Raises:
            AddressError: The files are at an address that cannot be used now.
        """
        last = self.files[self._last]
        for version in last.place.versions():
            try:
                if (found := self._read(version, key)) is not None:
                    return found
            except AddressError:
                raise
            except (InputError, OSError, ValueError) as error:
                path = last.place.name(self._path(self._last, version))
                logger.warning("%s is not taken: %s", path, error)
        return None

    @property
    def _last(self) -> str:
        return list(self.files)[-1]

    def _path(self, name: str, version: str) -> PurePath:
        return self.files[name]._get_versioned_path(version)

    def _read(self, version: str, key: str) -> tuple[Any, ...] | None:
        last, path = self.files[self._last], self._path(self._last, version)
        receipt = last.load_from(path) if last.place.is_file(path) else None
        if receipt is None or receipt.key != key:
            return None
        *names, _ = self.files
        parts = [self.files[name].load_from(self._path(name, version)) for name in names]
        for name, part, expected in zip(names, parts, receipt.content, strict=True):
            if (found := content_of(part)) != expected:
                where = self.files[name].place.name(self._path(name, version))
                raise InputError(where, "content", expected, found)
        return (*parts, receipt)


class FinishedWork(AbstractDataset[NoReturn, Finished]):
    """The versions of some entries of the catalog.

    Args:
        parts: Name -> entry; the last is a `Receipt`.
    """

    def __init__(self, *, parts: dict[str, dict[str, Any]], metadata: Any = None) -> None:
        self.metadata = metadata
        self._files: dict[str, VersionedFile] = {}
        for name, entry in parts.items():
            given = {k: v for k, v in entry.items() if k not in ("versioned", "metadata")}
            made = AbstractDataset.from_config(name, given)
            if not isinstance(made, VersionedFile):
                raise InputError("catalog", f"parts.{name}", "a versioned file", entry.get("type"))
            self._files[name] = made

    def load(self) -> Finished:
        return Finished(self._files)

    def save(self, data: NoReturn) -> None:
        raise DatasetError("What is finished is saved under its own names.")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {"parts": ", ".join(self._files)}
