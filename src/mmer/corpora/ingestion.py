"""From a corpus's files to its sample tables, the same road for every corpus and reader.

`open_corpus` finds out what the files are and which groups stand in which split; `aligned_table`
makes a split's table from what it found, in the same process or in another one. The files of
strangers are read in processes with limits; what these have made is checked before it is used.
"""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from pathlib import Path

from mmer.confined import Limits, confined
from mmer.corpora import CORPORA
from mmer.corpora.corpus import Ingestion, Manifest, RawCorpus
from mmer.corpora.tasks import MANIFEST, AlignTask, OpenTask, Shard, open_files
from mmer.corpora.workers import Job, progress, workers
from mmer.errors import InputError
from mmer.files import locked, write_text
from mmer.samples.table import SampleTable, Split

_log = logging.getLogger(__name__)


def open_corpus(name: str, raw: RawCorpus, settings: Ingestion) -> Manifest:
    """Open a corpus of CORPORA, check it, and note down what its files are and which splits it has.

    Raises:
        InputError: A file is missing or not what the chosen reader expects, two splits share a
            group, or there are too few groups to draw a validation split.
        UntrustedDataError: A file asks for code to be run.
    """
    told = settings.model_dump(mode="json")
    task = OpenTask(corpus=name, place=CORPORA[name].place, raw=raw, settings=told)
    limits = Limits.of(raw.size_with(CORPORA[name].subfolders))
    opened = confined(open_files, task, limits, raw.path)
    return Manifest(corpus=name, raw=raw, settings=told, **dict(opened))


def aligned_table(manifest: Manifest, split: Split, folder: Path) -> SampleTable:
    """The sample table of a split, `<fingerprint>/<split>.arrow` under `folder`.

    It is made anew, from the files, which are opened again; or reused if it has been made before.
    While another run is making it, this one waits.

    Raises:
        InputError: A file or the code has changed since the corpus was opened, even while it was
            read; or a sample is not what the corpus's samples are.
    """
    folder, name = folder.resolve() / manifest.fingerprint, f"{manifest.corpus} {split}"
    path, shards, lock = (folder / f"{split}{end}" for end in (".arrow", ".shards", ".lock"))
    manifest.check_files()
    with locked(lock, f"{name}: another run is making it: waiting"):
        with suppress(InputError):  # no table, or not as it was written, or another
            table = SampleTable(path)
            table.expect(split, manifest.fingerprint)
            _log.info("%s: %d samples, up to date: reused", name, len(table))
            return table
        _make(manifest, split, shards, path)
        table = SampleTable(path)
        table.expect(split, manifest.fingerprint)
        _log.info("%s: %d samples, aligned", name, len(table))
        shutil.rmtree(shards, ignore_errors=True)
        return table


def _make(manifest: Manifest, split: Split, folder: Path, table: Path) -> None:
    """Make the shards of a split in `folder`, and `table` of them."""
    corpus, raw = CORPORA[manifest.corpus], manifest.raw
    settings = corpus.ingestion.model_validate(manifest.settings)
    shards = _shards(len(manifest.splits[split]), manifest.groups_per_task)
    # A worker may stand in another folder.
    found = manifest.model_copy(update={"raw": raw.model_copy(update={"path": raw.path.resolve()})})
    write_text(folder / MANIFEST, found.to_json())
    limits = Limits.of(raw.size_with(corpus.subfolders))
    every = AlignTask(place=corpus.place, folder=folder, split=split, shards=shards, table=table)
    with progress(f"{manifest.corpus} {split}", folder, len(shards)), workers(settings) as hired:

        def run(tasks: list[AlignTask]) -> None:
            hired.run([Job(task=task, limits=limits, where=raw.path) for task in tasks])

        count = min(hired.tasks, len(shards))
        if count > 1:
            parts = [shards[number::count] for number in range(count)]
            run([every.model_copy(update={"shards": part, "table": None}) for part in parts])
            every = every.model_copy(update={"made": True})
        run([every])


def _shards(groups: int, most: int | None) -> tuple[Shard, ...]:
    """Groups by position, at most so many in each."""
    step = most or groups
    return tuple(Shard(begin=at, end=min(at + step, groups)) for at in range(0, groups, step))
