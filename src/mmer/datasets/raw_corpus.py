"""Kedro dataset for a corpus's raw files: a user's own, or synthetic ones written on demand."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset
from pydantic import TypeAdapter

from mmer.corpora.source import RawCorpus, fingerprint
from mmer.corpora.synthetic.m3ed import SyntheticM3ed, write_synthetic_m3ed
from mmer.corpora.synthetic.mosei import SyntheticMosei, write_synthetic_mosei
from mmer.errors import InputError

GENERATORS: dict[str, tuple[type, Callable[..., None]]] = {
    "mosei": (SyntheticMosei, write_synthetic_mosei),
    "m3ed": (SyntheticM3ed, write_synthetic_m3ed),
}

logger = logging.getLogger(__name__)


class RawFiles(AbstractDataset[None, RawCorpus]):
    """The official files of a corpus where the user put them; if not told where, synthetic ones.

    Synthetic files are written when they are first loaded, in a folder of their own for each set of
    settings and version of the generator, so none overwrites another.
    """

    def __init__(
        self,
        *,
        filepath: str | None = None,
        obtain: str = "",
        synthetic: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """
        Args:
            filepath: Folder, or file if the corpus is one file.
            obtain: Where the official files can be had, for the error if there are none.
            synthetic: What to write if there is no `filepath`: `corpus`, a key of `GENERATORS`;
                `folder` to write to; `settings` of the
                generator that differ from its defaults.
            metadata: Passed on to other tools.

        Raises:
            InputError: Neither is given, or the corpus is none that can be made.
        """
        self._obtain, self.metadata = obtain, metadata
        self._generate = None
        if filepath is not None:
            self._path = Path(filepath)
            return
        if synthetic is None or synthetic.get("corpus") not in GENERATORS:
            raise InputError(
                "catalog",
                "raw",
                f"a filepath, or synthetic.corpus of {list(GENERATORS)}",
                synthetic,
            )
        kind, self._generate = GENERATORS[synthetic["corpus"]]
        self._settings: Any = TypeAdapter(kind).validate_python(synthetic.get("settings", {}))
        version = fingerprint({}, asdict(self._settings))[:12]
        self._path = Path(synthetic["folder"]) / version

    def load(self) -> RawCorpus:
        if self._generate is None:
            if not self._path.exists():
                raise InputError(
                    self._path, "", "the corpus's official files", "nothing", self._obtain
                )
            return RawCorpus(self._path)
        if not self._path.exists():
            logger.info("writing a SYNTHETIC corpus to %s", self._path)
            self._generate(self._path, self._settings)
        ceiling = json.loads((self._path / "synthetic.json").read_text())["ceiling"]
        logger.warning(
            "SYNTHETIC corpus in %s: no score on it is a result. Its own noise bounds any system's "
            "expected scores by %s",
            self._path,
            ", ".join(f"{name} {value:.3f}" for name, value in ceiling.items()),
        )
        return RawCorpus(self._path, synthetic=True)

    def save(self, data: None) -> None:
        raise InputError(self._path, "", "raw files to be read only", "an attempt to write")

    def _exists(self) -> bool:
        return self._path.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path), "synthetic": self._generate is not None}
