"""What a corpus is: readers of its official files, a synthetic corpus, published figures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from mmer.provenance import SourceFile, file_state
from mmer.samples.table import Features, Persons, Sample, Split
from mmer.schema import Record, Settings

_Name = TypeVar("_Name", bound=str)


def _each_once(names: tuple[_Name, ...]) -> tuple[_Name, ...]:
    if len(set(names)) < len(names):
        raise ValueError("expected each name once")
    return names


LabelNames = Annotated[tuple[_Name, ...], Field(min_length=1), AfterValidator(_each_once)]
"""Names of labels, in the order of a table's columns: `LabelNames[str]`, or of a `Literal`."""


class ValidationSplit(Settings):
    """The validation split of a corpus that has none: a share of the training split's groups."""

    share: float = Field(default=0.1, gt=0, lt=1)
    seed: NonNegativeInt = 1


class Ingestion(Settings):
    """How a corpus is read. Each corpus adds `reader` and, under every reader's name, its options.

    So the options of one reader do not meet another, whichever is chosen.

    Attributes:
        zeros_are_absent: A modality that is zero throughout a sample is absent from it: nothing was
            measured (no face was tracked, nobody spoke).
        processes: That align side by side; -1 for as many as there are cores.
        dask: Address of a running Dask scheduler whose workers align instead.
        constant_labels: Labels that may be the same in all training samples. No system can learn
            them, so any other that is stops the run.
    """

    reader: str
    validation: ValidationSplit = ValidationSplit()
    zeros_are_absent: bool = True
    processes: PositiveInt | Literal[-1] = 1
    dask: str | None = None
    constant_labels: tuple[str, ...] = ()

    @property
    def options(self) -> Settings:
        """Those of the chosen reader."""
        return getattr(self, self.reader)

    @property
    def decisive(self) -> dict[str, Any]:
        """The reader and what decides the samples, as JSON holds it."""
        return {
            "reader": self.reader,
            "zeros_are_absent": self.zeros_are_absent,
            **self.options.model_dump(mode="json"),
        }


_SUFFIXES = {".csd", ".parquet", ".pkl", ".pt", ".json", ".csv", ".txt"}


class RawCorpus(Record):
    """Where a corpus's files lie, before anything is opened.

    Attributes:
        path: The folder, or the file if the corpus is one file.
        synthetic: True if mmer wrote the files itself.
        bayes_optimal: Metric -> the best expected value, known of synthetic corpora.
    """

    path: Path
    synthetic: bool = False
    bayes_optimal: dict[str, float] = Field(default={})

    @property
    def folder(self) -> Path:
        """What the names of its files start from."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def size(self) -> int:
        """Bytes on the disk of the file, or of those in the folder that may be the corpus's."""
        return self.size_with(())

    def size_with(self, subfolders: Iterable[str]) -> int:
        """The same with all files below these folders in it that may be the corpus's."""
        if not self.path.is_dir():
            files = [self.path]
        else:
            below = (file for name in subfolders for file in (self.path / name).rglob("*"))
            every = chain(self.path.iterdir(), below)
            files = [file for file in every if file.suffix in _SUFFIXES]
        stats = [file.stat() for file in files if file.is_file()]
        # A file with holes is as large as what it holds.
        return sum(min(stat.st_size, 512 * stat.st_blocks) for stat in stats)


@dataclass(frozen=True)
class CorpusSource:
    """What every reader returns: a corpus that has been opened and checked; see also `TableInfo`.

    Attributes:
        files: All files that, with settings and groups, decide what the samples are.
        groups: Split -> the groups in it, in the order of their samples; "valid" may be missing.
        read: Split and some of its groups -> iterator over their samples, in the split's order.
            Nothing is read before it is iterated. A modality of which the source has nothing is
            None; one that is zero throughout is handed on as it is.
        groups_per_task: How many groups are worth a task of their own where several processes
            align; None where opening the files takes longer than reading all samples.
        notes: What a user should know of the files although they are right; logged when the corpus
            is opened, and repeated in the data report.
        one_label: As of `TableInfo`.
        task: Of files that hold several tasks, which one these samples are of. A synthetic corpus
            then knows a Bayes-optimal score of each, as `<task>: <metric>`.
    """

    labels: tuple[str, ...]
    features: dict[str, Features]
    alignment: Literal["word", "utterance", "none"]
    files: tuple[Path, ...]
    groups: dict[Split, tuple[str, ...]]
    read: Callable[[Split, Collection[str]], Iterator[Sample]]
    groups_per_task: int | None = None
    groups_known: bool = True
    persons: Persons | None = None
    notes: tuple[str, ...] = ()
    one_label: bool = False
    task: str | None = None


Reader = Callable[[Path, Any], CorpusSource]
"""Opens the files at a path with the reader's settings; raises InputError if they are not right."""


class PublishedScore(Record):
    """One row of published figures; where several people report it, their lowest and highest.

    Attributes:
        setting: "aligned" or "unaligned" features.
        accuracy: Intersection over union; None if not at hand.
        source: Who reports it, and how it was obtained.
    """

    system: str
    setting: str
    micro_f1: tuple[float, float]
    source: str
    accuracy: tuple[float, float] | None = None


class Published(Record):
    """What others have published on a corpus, as it stands in a file of its folder.

    Attributes:
        counts: What -> split -> count. What is "samples", "groups" or "samples with <label>"; the
            split may be "all".
        also_counted: Source -> counts that it has otherwise, which may account for a difference.
        caveats: What to know before comparing with the scores.
    """

    counts: dict[str, dict[str, int]] = Field(default={})
    also_counted: dict[str, dict[str, dict[str, int]]] = Field(default={})
    scores: tuple[PublishedScore, ...] = ()
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """All that the program knows of a corpus.

    Attributes:
        readers: Name -> reader, the names that `ingestion.reader` can have.
        synthetic: Settings of the synthetic corpus; all have defaults, `seed` among them.
        write_synthetic: Writes it in the official formats into an empty folder, and returns the
            Bayes-optimal score: metric -> value.
        download_instructions: Where the official files are to be had and where they go.
        modalities: Those of all of its readers; what is trained without one of them is compared
            with what has all.
        caveat: What has to be known where systems are judged on it, if anything.
        made: How the synthetic corpus is made, as a note of all that is read from it.
        persons: Whether its steps are of several persons, of whom something is known.
        subfolders: In which of its folder's folders its files are, if not in that alone; what they
            may cost to read follows from their size.
        family: Of corpora that are only of interest together, the name under which all of them are
            compared.
    """

    title: str
    ingestion: type[Ingestion]
    readers: dict[str, Reader]
    synthetic: type[Settings]
    write_synthetic: Callable[[Path, Any], dict[str, float]]
    download_instructions: str
    published: Published = field(default_factory=Published)
    modalities: tuple[str, ...] = ()
    family: str | None = None
    caveat: str = ""
    made: str = ""
    persons: bool = False
    subfolders: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """`module:name` where another process finds it: beside its class of settings.

        Raises:
            LookupError: It stands in no module under a name.
        """
        module = self.ingestion.__module__
        for name, value in vars(sys.modules[module]).items():
            if value is self:
                return f"{module}:{name}"
        raise LookupError(f"{self.title}: expected as a variable of {module}, for other processes")

    @classmethod
    def at(cls, place: str) -> Corpus:
        """The corpus of which this is the place."""
        module, _, name = place.partition(":")
        return getattr(import_module(module), name)


class Manifest(Record):
    """What ingestion found: all that alignment needs to make the sample tables.

    Attributes:
        corpus: Key in CORPORA.
        settings: Of its ingestion, as JSON holds them.
        splits: Split -> its groups.
        fingerprint: What the sample tables will carry.
        groups_per_task, notes: As of `CorpusSource`.
    """

    corpus: str
    raw: RawCorpus
    settings: dict[str, Any]
    files: tuple[SourceFile, ...]
    splits: dict[Split, tuple[str, ...]]
    fingerprint: str
    groups_per_task: int | None = None
    notes: tuple[str, ...] = ()

    def check_files(self) -> None:
        """Refuse files that have changed since, by an InputError."""
        for file in self.files:
            file.check(self.raw.folder)

    def states(self) -> tuple[tuple[int, ...], ...]:
        """`file_state` of every file: equal before and after reading, the same bytes were read."""
        return tuple(file_state(self.raw.folder / file.name) for file in self.files)
