"""What a corpus is: readers of its official files, a synthetic corpus, published figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, NonNegativeInt

from mmer.provenance import SourceFile
from mmer.samples.table import Features, Persons, Sample, Split
from mmer.schema import Record, Settings

LEAVES_NO_TRACE = "leaves no trace"
"""Marks options on which no sample depends: `Annotated[int, LEAVES_NO_TRACE]`."""

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
    """

    reader: str
    validation: ValidationSplit = ValidationSplit()

    @property
    def options(self) -> Settings:
        """Those of the chosen reader."""
        return getattr(self, self.reader)

    @property
    def decisive(self) -> dict[str, Any]:
        """The reader and what of its options decides the samples, as JSON holds them."""
        fields = type(self.options).model_fields.items()
        kept = {name for name, info in fields if LEAVES_NO_TRACE not in info.metadata}
        return {"reader": self.reader, **self.options.model_dump(mode="json", include=kept)}


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


@dataclass(frozen=True)
class CorpusSource:
    """What every reader returns: a corpus that has been opened and checked; see also `TableInfo`.

    Attributes:
        files: All files that, with settings and groups, decide what the samples are.
        groups: Split -> the groups in it, in the order of their samples; "valid" may be missing.
        read: Split -> iterator over its samples. Nothing is read before it is iterated.
        notes: What a user should know of the files although they are right; logged when the corpus
            is opened.
    """

    labels: tuple[str, ...]
    features: dict[str, Features]
    alignment: Literal["word", "utterance", "none"]
    files: tuple[Path, ...]
    groups: dict[Split, tuple[str, ...]]
    read: Callable[[Split], Iterator[Sample]]
    groups_known: bool = True
    persons: Persons | None = None
    notes: tuple[str, ...] = ()


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
        caveats: What to know before comparing with the scores.
    """

    counts: dict[str, dict[str, int]] = Field(default={})
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
        code: Folders or modules of this package that make its samples, besides what all corpora
            share; see `fingerprint`.
    """

    title: str
    ingestion: type[Ingestion]
    readers: dict[str, Reader]
    synthetic: type[Settings]
    write_synthetic: Callable[[Path, Any], dict[str, float]]
    download_instructions: str
    code: tuple[str, ...]
    published: Published = field(default_factory=Published)


class Manifest(Record):
    """What ingestion found: all that alignment needs to make the sample tables.

    Attributes:
        corpus: Key in CORPORA.
        settings: Of its ingestion, as JSON holds them.
        splits: Split -> its groups.
        fingerprint: What the sample tables will carry.
    """

    corpus: str
    raw: RawCorpus
    settings: dict[str, Any]
    files: tuple[SourceFile, ...]
    splits: dict[Split, tuple[str, ...]]
    fingerprint: str
