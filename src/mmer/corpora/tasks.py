"""What is done with a corpus's files in processes of their own: opening them, and aligning.

A split is made in shards, tables of some of its groups each, which are then joined. Neither who
makes which shard nor where the cuts are can be seen from the table.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import pandas  # noqa: F401 - once: pyarrow would in every process that is forked
from pydantic import AfterValidator, Field

from mmer.corpora.corpus import Corpus, CorpusSource, Ingestion, Manifest, RawCorpus
from mmer.corpora.splits import split_groups
from mmer.errors import InputError
from mmer.provenance import SourceFile, fingerprint
from mmer.samples.joining import join_tables
from mmer.samples.table import Sample, SampleTable, Split, TableInfo, write_table
from mmer.schema import Record

MANIFEST = "manifest.json"

# Whoever is told of a corpus imports its module at once: what that takes is not the files' fault.
Place = Annotated[str, AfterValidator(lambda place: Corpus.at(place).place)]

_log = logging.getLogger(__name__)


class OpenTask(Record):
    """A corpus to open.

    Attributes:
        corpus: Key in CORPORA.
        place: As of `Corpus`.
        settings: Of its ingestion, as JSON holds them.
    """

    corpus: str
    place: Place
    raw: RawCorpus
    settings: dict[str, Any]


class Opened(Record):
    """What opening has found; attributes as of `Manifest`."""

    files: tuple[SourceFile, ...]
    splits: dict[Split, tuple[str, ...]]
    fingerprint: str = Field(pattern="^[0-9a-f]{64}$")
    groups_per_task: int | None = Field(ge=1)
    notes: tuple[str, ...]


class Shard(Record):
    """Some groups of a split, by position: the first, and the one after the last."""

    begin: int
    end: int

    @property
    def file_name(self) -> str:
        return f"{self.begin:06}-{self.end:06}.arrow"


class AlignTask(Record):
    """Shards to make, in a folder that also holds the manifest.

    Attributes:
        place: As of `Corpus`.
        table: Where the split's table goes if the shards are all that there are, to be joined;
            None if they are some of them.
        made: Whether the shards have been made by others, and only joining is left.
    """

    place: Place
    folder: Path
    split: Split
    shards: tuple[Shard, ...]
    table: Path | None = None
    made: bool = False


class Made(Record):
    """Names of the tables that were made, all in the folder of the task."""

    names: tuple[str, ...]


def open_files(task: OpenTask) -> Opened:
    """Open a corpus, check it, and note down what its files are and which splits it has.

    Raises:
        InputError: A file is missing or not what the chosen reader expects, two splits share a
            group, or there are too few groups to draw a validation split.
        UntrustedDataError: A file asks for code to be run.
    """
    corpus = Corpus.at(task.place)
    settings = corpus.ingestion.model_validate(task.settings)
    source = corpus.readers[settings.reader](task.raw.path, settings.options)
    made = (corpus.made,) if task.raw.synthetic and corpus.made else ()
    for note in (*made, *source.notes):
        _log.info("%s: %s", task.corpus, note)
    splits = split_groups(task.raw.path, source, settings.validation)
    if "valid" not in source.groups:
        _log.info("%s: validation takes %d training groups", task.corpus, len(splits["valid"]))
    files = tuple(SourceFile.of(task.raw.folder, path) for path in source.files)
    return Opened(
        files=files,
        splits=splits,
        fingerprint=_fingerprint(task.corpus, task.raw, settings, corpus, source, files),
        groups_per_task=source.groups_per_task,
        notes=(*made, *source.notes),
    )


def make_shards(task: AlignTask) -> Made:
    """Make the shards that are not there yet, and if all are there, the table.

    Raises:
        InputError: A file or the code has changed since the corpus was opened, even while it was
            read; or a sample is not what the corpus's samples are.
    """
    paths = [task.folder / shard.file_name for shard in task.shards]
    info = SampleTable(paths[0]).info if task.made else _write_shards(task, paths)
    if task.table:
        join_tables(task.table, info, paths)
    return Made(names=tuple(path.name for path in paths))


def _write_shards(task: AlignTask, paths: list[Path]) -> TableInfo:
    """Write the shards, and return what they say of themselves."""
    manifest, corpus = Manifest.read(task.folder / MANIFEST), Corpus.at(task.place)
    settings = corpus.ingestion.model_validate(manifest.settings)
    before = _states(manifest)
    source = _open_again(manifest, corpus, settings)
    info = _table_info(manifest, source, settings, task.split)
    for shard, path in zip(task.shards, paths, strict=True):
        if not _is_whole(path, info):
            samples = _samples(manifest, source, task.split, shard, before)
            write_table(path, info, samples, may_be_empty=True)
    return info


def _states(manifest: Manifest) -> tuple[tuple[int, ...], ...] | None:
    """States of all files; None if one is gone."""
    with suppress(OSError):
        return manifest.states()
    return None


def _fingerprint(
    name: str,
    raw: RawCorpus,
    settings: Ingestion,
    corpus: Corpus,
    source: CorpusSource,
    files: tuple[SourceFile, ...],
) -> str:
    decisive = {
        "corpus": name,
        "synthetic": raw.synthetic,
        "options": settings.decisive,
        "groups": source.groups,
        "validation": None if "valid" in source.groups else settings.validation.model_dump(),
    }
    return fingerprint(files, decisive, (corpus.readers[settings.reader], make_shards))


def _open_again(manifest: Manifest, corpus: Corpus, settings: Ingestion) -> CorpusSource:
    """The source that the manifest was made from, refused if it is another by now."""
    manifest.check_files()
    raw = manifest.raw
    source = corpus.readers[settings.reader](raw.path, settings.options)
    found = _fingerprint(manifest.corpus, raw, settings, corpus, source, manifest.files)
    if found != manifest.fingerprint:
        expected = f"the fingerprint {manifest.fingerprint} that it was opened with"
        raise InputError(raw.path, "", expected, found, "Run the ingestion stage again.")
    return source


def _table_info(
    manifest: Manifest, source: CorpusSource, settings: Ingestion, split: Split
) -> TableInfo:
    return TableInfo(
        corpus=manifest.corpus,
        split=split,
        labels=source.labels,
        features=source.features,
        alignment=source.alignment,
        synthetic=manifest.raw.synthetic,
        fingerprint=manifest.fingerprint,
        groups_known=source.groups_known,
        bayes_optimal=_of_task(manifest.raw.bayes_optimal, source.task),
        one_label=source.one_label,
        persons=source.persons,
        reading=settings.decisive,
        zeros_are_absent=settings.zeros_are_absent,
    )


def _of_task(scores: dict[str, float], task: str | None) -> dict[str, float]:
    """Metric -> score of one task; where there is but one, all are of it."""
    if task is None:
        return scores
    start = f"{task}: "
    return {n.removeprefix(start): score for n, score in scores.items() if n.startswith(start)}


def _samples(
    manifest: Manifest,
    source: CorpusSource,
    split: Split,
    shard: Shard,
    before: tuple[tuple[int, ...], ...] | None,
) -> Iterator[Sample]:
    """The samples of a shard; to its end the files must stay in the state that they had `before`.

    Not only their content must be the same in the end: another file could have stood there while
    they were read.
    """
    groups = manifest.splits[split][shard.begin : shard.end]
    read_from: Split = split if split in source.groups else "train"
    wanted = set(groups)
    for sample in source.read(read_from, groups):
        if sample.group_id not in wanted:
            expected = f"samples of the {len(wanted)} groups asked for"
            raise ValueError(f"the reader: expected {expected}, found one of {sample.group_id}")
        yield sample
    if before is None or _states(manifest) != before:
        expected = "files that stay as they are while they are read"
        raise InputError(manifest.raw.path, "", expected, "one that was changed or replaced")


def _is_whole(path: Path, info: TableInfo) -> bool:
    """Whether there is this table already, as a run that was ended before has left it."""
    with suppress(InputError):
        table = SampleTable(path)
        table.arrow()
        return table.info == info
    return False
