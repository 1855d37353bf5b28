"""Kedro dataset for a corpus's raw files: a user's own, or synthetic ones written on demand."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from mmer.corpora import CORPORA
from mmer.corpora.corpus import RawCorpus
from mmer.errors import InputError
from mmer.files import atomic_folder
from mmer.metrics.metrics import HEADLINE
from mmer.provenance import fingerprint
from mmer.schema import Record, Settings

_MARK = "synthetic.json"
_LARGEST_MARK = 100_000

logger = logging.getLogger(__name__)


class SyntheticMark(Record):
    """What stands in a folder of synthetic files, and makes everything from it synthetic."""

    note: str = "Written by mmer: no recording stands behind these numbers."
    settings: dict[str, Any]
    bayes_optimal: dict[str, float]


class RawFiles(AbstractDataset[NoReturn, RawCorpus]):
    """The official files of a corpus where the user put them; if not told where, synthetic ones.

    Synthetic files are written when they are first loaded, in a folder of their own for each set of
    settings and version of the generator. They stay synthetic wherever the folder is copied to.

    Args:
        corpus: Key in CORPORA.
        filepath: Folder, or file if the corpus is one file.
        synthetic: Without `filepath`: `path`, where the folders of synthetic files are, and
            `settings` of the generator that differ from its defaults.
    """

    def __init__(
        self,
        *,
        corpus: str,
        filepath: str | None = None,
        synthetic: dict[str, Any] | None = None,
        metadata: Any = None,
    ) -> None:
        if corpus not in CORPORA:
            raise InputError("catalog", "raw.corpus", f"one of {', '.join(CORPORA)}", corpus)
        if not (filepath or synthetic):
            raise InputError("catalog", f"{corpus}.raw", "filepath or synthetic", "neither")
        self._corpus, self.metadata = CORPORA[corpus], metadata
        self._path = Path(filepath).expanduser() if filepath else None
        self._synthetic = synthetic or {}

    def load(self) -> RawCorpus:
        path = self.place
        if self._path is None and not path.exists():
            self._write_synthetic(path)
        self.check()
        mark = (path if path.is_dir() else path.parent) / _MARK
        if not mark.is_file():
            return RawCorpus(path=path)
        if mark.stat().st_size > _LARGEST_MARK:
            raise InputError(mark, "", f"at most {_LARGEST_MARK} bytes", mark.stat().st_size)
        known = SyntheticMark.read(mark)
        best = known.bayes_optimal
        shown = ", ".join(f"{HEADLINE[name]} {best[name]:.3f}" for name in best if name in HEADLINE)
        logger.warning(
            "SYNTHETIC corpus in %s: no score on it is a result. Bayes-optimal: %s",
            path,
            shown or "another of each of its tasks",
        )
        return RawCorpus(path=path, synthetic=True, bayes_optimal=known.bayes_optimal)

    def save(self, data: NoReturn) -> None:
        raise DatasetError("Raw files are only read.")

    @property
    def place(self) -> Path:
        """Where the files are; synthetic ones, once they have been written."""
        if self._path:
            return self._path
        record = self._settings.model_dump(mode="json")
        name = fingerprint((), record, [self._corpus.write_synthetic])[:12]
        return Path(self._synthetic["path"]) / name

    @property
    def _settings(self) -> Settings:
        return self._corpus.synthetic.model_validate(self._synthetic.get("settings", {}))

    def _write_synthetic(self, folder: Path) -> None:
        logger.info("Writing a SYNTHETIC %s to %s", self._corpus.title, folder)
        with atomic_folder(folder) as partial:
            best = self._corpus.write_synthetic(partial, self._settings)
            record = self._settings.model_dump(mode="json")
            mark = SyntheticMark(settings=record, bayes_optimal=best)
            (partial / _MARK).write_text(mark.to_json() + "\n", encoding="utf-8")

    def check(self) -> None:
        """Look whether the files are there; synthetic ones may still have to be written.

        Raises:
            InputError: There is nothing where the user said, or where the environment says.
        """
        if not self._exists():
            expected = f"the official files of {self._corpus.title}"
            raise InputError(
                self.place, "", expected, "nothing", self._corpus.download_instructions
            )

    def _exists(self) -> bool:
        return self._path is None or self._path.exists()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path) if self._path else None, "synthetic": self._synthetic}
