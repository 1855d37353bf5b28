"""From a corpus's files to its sample tables, the same road for every corpus and reader.

`open_corpus` finds out what the files are and which groups stand in which split; `aligned_table`
makes a split's table from what it found, in the same process or in another one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import numpy as np

from mmer.corpora import CORPORA
from mmer.corpora.corpus import CorpusSource, Ingestion, Manifest, RawCorpus, ValidationSplit
from mmer.errors import InputError
from mmer.provenance import SourceFile, fingerprint
from mmer.samples.table import SPLITS, Sample, SampleTable, Split, TableInfo, write_table

_SHARED_CODE = (
    "corpora/corpus.py",
    "corpora/ingestion.py",
    "alignment",
    "formats",
    "samples/table.py",
)

_log = logging.getLogger(__name__)


def open_corpus(name: str, raw: RawCorpus, settings: Ingestion) -> Manifest:
    """Open a corpus of CORPORA, check it, and note down what its files are and which splits it has.

    Raises:
        InputError: A file is missing or not what the chosen reader expects, two splits share a
            group, or there are too few groups to draw a validation split.
        UntrustedDataError: A file asks for code to be run.
    """
    source = CORPORA[name].readers[settings.reader](raw.path, settings.options)
    for note in source.notes:
        _log.warning("%s: %s", name, note)
    splits = {split: tuple(dict.fromkeys(groups)) for split, groups in source.groups.items()}
    check_disjoint(raw.path, splits)
    if "valid" not in splits:
        chosen = _draw(raw.path, splits["train"], settings.validation)
        _log.info("%s: validation takes %d training groups", name, len(chosen))
        splits["valid"] = tuple(group for group in splits["train"] if group in chosen)
        splits["train"] = tuple(group for group in splits["train"] if group not in chosen)
    files = tuple(SourceFile.of(_folder(raw), path) for path in source.files)
    return Manifest(
        corpus=name,
        raw=raw,
        settings=settings.model_dump(mode="json"),
        files=files,
        splits={split: splits[split] for split in SPLITS},
        fingerprint=_fingerprint(name, raw, settings, source, files),
    )


def aligned_table(manifest: Manifest, split: Split, folder: Path) -> SampleTable:
    """The sample table of a split, `<fingerprint>/<split>.arrow` under `folder`.

    It is made anew, from the files, which are opened again; or reused if it has been made before.

    Raises:
        InputError: A file or the code has changed since the corpus was opened, even while it was
            read; or a sample is not what the corpus's samples are.
    """
    path, name = folder / manifest.fingerprint / f"{split}.arrow", f"{manifest.corpus} {split}"
    _check_unchanged(manifest)
    with suppress(InputError):  # no table, or half of one, or another
        table = SampleTable(path)
        table.expect(split, manifest.fingerprint)
        _log.info("%s: up to date: reused", name)
        return table
    source = _open_again(manifest)
    info = TableInfo(
        corpus=manifest.corpus,
        split=split,
        labels=source.labels,
        features=source.features,
        alignment=source.alignment,
        synthetic=manifest.raw.synthetic,
        fingerprint=manifest.fingerprint,
        groups_known=source.groups_known,
        bayes_optimal=manifest.raw.bayes_optimal,
        persons=source.persons,
    )
    table = write_table(path, info, _samples(manifest, source, split))
    _log.info("%s: %d samples, aligned", name, len(table))
    return table


def check_disjoint(where: object, groups: Mapping[Split, Iterable[str]]) -> None:
    """Refuse splits that share a group (a video, a dialogue) by an InputError."""
    for first, second in combinations(groups, 2):
        if shared := sorted(set(groups[first]) & set(groups[second])):
            found = f"{len(shared)} shared, such as {', '.join(shared[:3])}"
            key = f"splits {first} and {second}"
            raise InputError(where, key, "no group in both", found)


def _folder(raw: RawCorpus) -> Path:
    return raw.path if raw.path.is_dir() else raw.path.parent


def _draw(where: Path, groups: tuple[str, ...], validation: ValidationSplit) -> set[str]:
    """The groups that validation takes: the seed's share of them, at least one and not all."""
    if len(groups) < 2:
        expected = "at least 2 groups, of which validation takes some"
        raise InputError(where, "train", expected, len(groups))
    count = min(max(round(validation.share * len(groups)), 1), len(groups) - 1)
    shuffled = np.random.default_rng(validation.seed).permutation(sorted(groups))
    return set(shuffled[:count].tolist())


def _fingerprint(
    name: str,
    raw: RawCorpus,
    settings: Ingestion,
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
    return fingerprint(files, decisive, (*CORPORA[name].code, *_SHARED_CODE))


def _check_unchanged(manifest: Manifest) -> None:
    for file in manifest.files:
        file.check(_folder(manifest.raw))


def _open_again(manifest: Manifest) -> CorpusSource:
    """The source that the manifest was made from, refused if it is another by now."""
    name, raw = manifest.corpus, manifest.raw
    settings = CORPORA[name].ingestion.model_validate(manifest.settings)
    source = CORPORA[name].readers[settings.reader](raw.path, settings.options)
    found = _fingerprint(name, raw, settings, source, manifest.files)
    if found != manifest.fingerprint:
        expected = f"the fingerprint {manifest.fingerprint} that it was opened with"
        raise InputError(raw.path, "", expected, found, "Run the ingestion stage again.")
    return source


def _samples(manifest: Manifest, source: CorpusSource, split: Split) -> Iterator[Sample]:
    """The samples of a split, to the end of which the files must not have changed."""
    groups = set(manifest.splits[split])
    read_from: Split = split if split in source.groups else "train"
    yield from (sample for sample in source.read(read_from) if sample.group_id in groups)
    _check_unchanged(manifest)
