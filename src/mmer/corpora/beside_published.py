"""A corpus's counts beside the published ones, and what of a difference can be accounted for.

An explanation is computed from what is at hand: the tables, the reader's options and notes, other
published counts. Where nothing accounts for a difference, that is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from mmer.corpora.corpus import Corpus
from mmer.corpora.split_report import SplitReport
from mmer.samples.table import SPLITS, Split, TableInfo
from mmer.schema import Record

_SAMPLES, _GROUPS = "samples", "groups"


class CountBesidePublished(Record):
    """A count of ours beside the published one; see `Published`.

    Attributes:
        explanations: What may account for the difference, in words; empty if nothing does.
        accounted: Whether numbers bear one of them out.
    """

    what: str
    split: str
    ours: int
    published: int
    explanations: tuple[str, ...] = ()
    accounted: bool = False

    @property
    def difference(self) -> int:
        """Ours minus the published one."""
        return self.ours - self.published


def beside_published(
    info: TableInfo,
    corpus: Corpus,
    splits: dict[Split, SplitReport],
    notes: Sequence[str],
    repeating: Mapping[Split, int],
) -> Iterator[CountBesidePublished]:
    """Every count that is published of the corpus, in the order of publication.

    Args:
        info: Of the tables.
        corpus: Whose published counts are compared; groups are not, where they are unknown.
        splits: What the tables hold.
        notes: The reader's.
        repeating: Split -> samples that repeat another one of it.
    """
    ours = _counts(splits)
    options = _unusual_options(info, corpus)
    for what, published in corpus.published.counts.items():
        if what not in ours.index or (what == _GROUPS and not info.groups_known):
            continue
        for split, count in published.items():
            found = CountBesidePublished(
                what=what, split=split, ours=int(ours.loc[what, split]), published=count
            )
            if found.difference:
                reasons = [
                    *_published_elsewhere(found, corpus),
                    *_said_by_the_reader(found, notes),
                    *_divided_otherwise(found, ours, published),
                    *_repeated(found, repeating),
                    *_of_other_samples(found, ours, corpus),
                ]
                # Options may have to do with it, but no number tells.
                told = {"explanations": (*reasons, *options), "accounted": bool(reasons)}
                found = found.model_copy(update=told)
            yield found


def split_of(note: str) -> str:
    """The split that a reader's note begins with, "<split>: ..", or "all"."""
    split, separator, _ = note.partition(": ")
    return split if separator and split in SPLITS else "all"


def _counts(splits: dict[Split, SplitReport]) -> pd.DataFrame:
    """What -> split, and "all" of them, -> count."""
    counts = pd.DataFrame(
        {
            split: {_SAMPLES: counted.samples, _GROUPS: counted.groups}
            | {f"samples with {label}": count for label, count in counted.label_counts.items()}
            for split, counted in splits.items()
        }
    )
    return counts.assign(all=counts.sum(axis=1))


def _published_elsewhere(found: CountBesidePublished, corpus: Corpus) -> Iterator[str]:
    for source, counts in corpus.published.also_counted.items():
        if counts.get(found.what, {}).get(found.split) == found.ours:
            yield f"it is the count of {source}"


def _said_by_the_reader(found: CountBesidePublished, notes: Sequence[str]) -> Iterator[str]:
    number = re.compile(rf"(?<![\w.]){abs(found.difference)}(?!\.?\w)")
    for note in notes:
        of_other_split = split_of(note) not in ("all", found.split)
        if number.search(note) and not of_other_split:
            yield f'the reader names the same number: "{note}"'


def _divided_otherwise(
    found: CountBesidePublished, ours: pd.DataFrame, published: dict[str, int]
) -> Iterator[str]:
    splits = ours.columns.drop("all")
    if found.split not in splits or not set(splits) <= set(published):
        return
    if ours.loc[found.what, "all"] == sum(published[split] for split in splits):
        yield "all splits together have as many as published: they are divided otherwise"


def _repeated(found: CountBesidePublished, repeating: Mapping[Split, int]) -> Iterator[str]:
    if found.what == _SAMPLES and found.difference in (
        count for split, count in repeating.items() if split == found.split
    ):
        yield f"{found.difference} samples of the split repeat another one of it"


def _of_other_samples(
    found: CountBesidePublished, ours: pd.DataFrame, corpus: Corpus
) -> Iterator[str]:
    """A label's count can be off by as many as there are samples more or fewer."""
    published = corpus.published.counts.get(_SAMPLES, {}).get(found.split)
    if published is None or found.what in (_SAMPLES, _GROUPS):
        return
    more = int(ours.loc[_SAMPLES, found.split]) - published
    if more * found.difference > 0 and abs(found.difference) <= abs(more):
        kind = "more" if more > 0 else "fewer"
        yield f"the split has {abs(more)} samples {kind} than published, which is enough for it"


def _unusual_options(info: TableInfo, corpus: Corpus) -> list[str]:
    """Options of the reader that are not as by default."""
    reader = info.reading.get("reader")
    if reader is None or reader not in corpus.readers:
        return []
    usual = corpus.ingestion.model_validate({"reader": reader}).decisive
    return [
        f"perhaps because it was read with {name} {chosen} (by default {usual[name]})"
        for name, chosen in info.reading.items()
        if name in usual and chosen != usual[name]
    ]
