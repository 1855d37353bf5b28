"""Kedro datasets of prediction: the files to score, the model that scores, what it says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
from kedro.io import AbstractDataset, DatasetError

from mmer.datasets.files import VersionedFile
from mmer.datasets.places import Address
from mmer.datasets.raw_corpus import RawFiles
from mmer.errors import InputError
from mmer.terminal import bar

if TYPE_CHECKING:
    from mmer.registry.loading import RegisteredVersion
    from mmer.registry.new_samples import NewFiles
    from mmer.registry.predictions import PredictionStream


class FilesToScore(AbstractDataset[NoReturn, "NewFiles"]):
    """The files that a user wants scored.

    Args:
        corpus: Key in CORPORA.
        files: Files, folders or patterns (`new/*.parquet`), with ":" between several; or a list.
    """

    def __init__(
        self, *, corpus: str, files: str | list[str] | None = None, metadata: Any = None
    ) -> None:
        self._corpus, self.metadata = corpus, metadata
        self._files = files.split(os.pathsep) if isinstance(files, str) else list(files or [])

    def load(self) -> NewFiles:
        """Those that there are.

        Raises:
            InputError: None was named, or one is missing.
        """
        from mmer.registry.new_samples import NewFiles

        if not self._files:
            expected = "files to score"
            remedy = "Name them: --params=files=PATH, with ':' between several."
            raise InputError("--params", "files", expected, "none", remedy)
        paths = [path for name in self._files for path in _matching(name)]
        raw = [RawFiles(corpus=self._corpus, filepath=str(path)).load() for path in paths]
        return NewFiles(raw=tuple(raw))

    def save(self, data: NoReturn) -> None:
        raise DatasetError("Files to score are only read.")

    def _exists(self) -> bool:
        return bool(self._files)

    def _describe(self) -> dict[str, Any]:
        return {"corpus": self._corpus, "files": self._files}


class ServingModel(AbstractDataset[NoReturn, "RegisteredVersion"]):
    """A version of a registered model, fetched and ready to score on the fastest device at hand.

    Args:
        name, environment: As of `mmer.datasets.registered_model`.
        which: An alias, or a version's number.
    """

    def __init__(
        self,
        *,
        name: str,
        environment: str = "base",
        which: str | int = "champion",
        metadata: Any = None,
    ) -> None:
        self._name = name if environment == "base" else f"{name}-{environment}"
        self._which, self.metadata = str(which), metadata

    def load(self) -> RegisteredVersion:
        import torch

        from mmer.registry.loading import load_version

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            return load_version(self._name, self._which, device)
        except InputError as error:
            choose = "Or name another: --params=version=candidate, or version=NUMBER."
            remedy = " ".join(filter(None, [error.remedy, choose]))
            told = error.where, error.key, error.expected, error.found, remedy
            raise InputError(*told) from error

    def save(self, data: NoReturn) -> None:
        raise DatasetError("A registered model is only read.")

    def _exists(self) -> bool:
        from mmer.registry import versions

        return versions.exists(self._name, self._which)

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name, "which": self._which}


class PredictionsFile(VersionedFile["PredictionStream"]):
    """Predictions in a Parquet file, which are made while they are written.

    They are read while they are used: from a copy that stays, if the file is at an address.
    """

    @contextmanager
    def on_disk(self, path: PurePath) -> Iterator[Path]:
        yield self.place.kept(path) if isinstance(self.place, Address) else Path(path)

    def read(self, path: Path) -> PredictionStream:
        from mmer.registry.predictions import PredictionStream

        def batches() -> Iterator[pa.RecordBatch]:
            yield from pq.ParquetFile(path).iter_batches()

        file = pq.ParquetFile(path)
        return PredictionStream(file.schema_arrow, file.metadata.num_rows, batches)

    def write(self, path: Path, data: PredictionStream) -> None:
        with pq.ParquetWriter(path, data.schema) as writer, _progress(data.rows) as advance:
            for batch in advance(data.batches()):
                writer.write_batch(batch)


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """Hands batches on; on a terminal, with a bar of their rows."""
    with bar("samples scored", total) as shown:

        def counted(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                yield batch
                shown.advance(batch.num_rows)

        yield counted


def _matching(name: str) -> list[Path]:
    """What a pattern stands for, in order; a name without one stands for itself."""
    path = Path(name).expanduser()
    if path.exists() or not set("*?[") & set(name):
        return [path]
    found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if not found:
        raise InputError(name, "", "files of this pattern", "none")
    return found
