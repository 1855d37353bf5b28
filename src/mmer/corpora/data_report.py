"""What a corpus' sample tables hold, and what of it a person must know before training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, combinations_with_replacement, islice
from typing import Literal

import numpy as np

from mmer.corpora.beside_published import CountBesidePublished, beside_published, split_of
from mmer.corpora.corpus import Corpus
from mmer.corpora.near_duplicates import feature_scales, near_duplicates, sketches
from mmer.corpora.split_report import Identities, SplitReport, count_split, label_counts
from mmer.corpora.splits import check_disjoint
from mmer.errors import InputError
from mmer.samples.table import SPLITS, SampleTable, Split, TableInfo
from mmer.schema import Record
from mmer.terminal import with_bar

Severity = Literal["warning", "note"]
What = Literal["id", "features", "near features", "words"]

_EXAMPLES = 5
_FREQUENT_LABELS = 30
_REPEATING: dict[What, str] = {
    "id": "repeat the id",
    "features": "repeat the features",
    "near features": "nearly repeat the features",
    "words": "repeat the words",
}

_log = logging.getLogger(__name__)


class Duplicates(Record):
    """Samples that repeat an earlier one of their split, or one of a split before.

    Attributes:
        splits: That of the samples repeated, and that of the `count` samples that repeat them.
        what: They repeat. "near features" (nearly the same, not the same) and "words" are looked
            for across splits only.
        examples: Sample ids of the first pairs.
    """

    splits: tuple[Split, Split]
    what: What
    count: int
    examples: tuple[tuple[str, str], ...]


class SharedPersons(Record):
    """Persons who appear in two splits; `count` of the `persons` in the second."""

    splits: tuple[Split, Split]
    count: int
    persons: int
    examples: tuple[str, ...]


class Finding(Record):
    """Something that a person should know before training.

    What makes results worthless is no finding: it stops the run.

    Attributes:
        severity: "warning" if results may mean something else than they seem to.
        split: The split, "train and test" of two, or "all".
    """

    severity: Severity
    split: str
    text: str


class DataReport(Record):
    """What the sample tables of a corpus hold.

    Attributes:
        info: Of the training table; what it says is common to the tables.
        frequent_labels: Those whose co-occurrence is counted: all, or the most frequent ones.
        findings: What of it deserves a look; warnings first.
    """

    info: TableInfo
    splits: dict[Split, SplitReport]
    frequent_labels: tuple[str, ...]
    duplicates: tuple[Duplicates, ...]
    shared_persons: tuple[SharedPersons, ...]
    published: tuple[CountBesidePublished, ...]
    findings: tuple[Finding, ...]


def data_report(
    tables: dict[Split, SampleTable],
    corpus: Corpus,
    notes: Sequence[str] = (),
    constant_labels: Sequence[str] = (),
) -> DataReport:
    """Describe the sample tables of a corpus, and warn of what deserves a look.

    The tables are read record batch by record batch, so that they may be larger than memory; what
    is kept per sample is its ids, lengths, digests and a sketch. Published counts stand beside
    those of a corpus that is not synthetic.

    Args:
        tables: One for each split.
        corpus: That they are of.
        notes: The reader's, as of `Manifest`.
        constant_labels: As of `Ingestion`.

    Raises:
        InputError: A split is missing or empty, the tables were not made together (of other files,
            settings, labels), two of them share a group, or a label that is not among
            `constant_labels` is the same in all training samples.
    """
    info = _common_info(tables)
    _check_learnable(tables["train"], constant_labels)
    frequent = _frequent_labels(tables["train"])
    counted = {split: count_split(table, frequent) for split, table in tables.items()}
    splits = {split: report for split, (report, _) in counted.items()}
    same = {split: identities for split, (_, identities) in counted.items()}
    check_disjoint(
        f"sample tables of {info.corpus}", {s: same[s].samples["group_id"] for s in same}
    )
    duplicates = (*_duplicates(same), *_almost_duplicates(tables, same))
    persons = tuple(_shared_persons(same))
    repeating = {one.splits[0]: one.count for one in duplicates if len({*one.splits}) == 1}
    real = not info.synthetic
    published = tuple(beside_published(info, corpus, splits, notes, repeating) if real else ())
    findings = [
        *_of_groups_and_persons(info, splits, persons),
        *_of_duplicates(duplicates),
        *_of_splits(info, splits),
        *_of_published(published),
        *_of_notes(notes),
    ]
    for finding in (warnings := [one for one in findings if one.severity == "warning"]):
        _log.warning("%s %s: %s", info.corpus, finding.split, finding.text)
    return DataReport(
        info=info,
        splits=splits,
        frequent_labels=frequent,
        duplicates=duplicates,
        shared_persons=persons,
        published=published,
        findings=(*warnings, *(one for one in findings if one.severity == "note")),
    )


def _common_info(tables: dict[Split, SampleTable]) -> TableInfo:
    if set(tables) != set(SPLITS):
        raise InputError("data report", "tables", f"one for each of {SPLITS}", list(tables))
    first = tables["train"].info
    for split, table in tables.items():
        for name, expected in first.model_copy(update={"split": split}):
            if (found := getattr(table.info, name)) != expected:
                expected = f"{expected}, as in the table of the training split"
                remedy = "Run the alignment stage again for all splits."
                raise InputError(table.path, name, expected, found, remedy)
        if len(table) == 0:
            remedy = "Give files or folds that have some."
            where = f"{first.corpus} {split}"
            raise InputError(where, "", "at least one sample", "none", remedy)
    return first


def _check_learnable(train: SampleTable, allowed: Sequence[str]) -> None:
    """Refuse labels that are the same in all training samples, but for those that are `allowed`."""
    info, parameter = train.info, f"{train.info.corpus}.ingestion.constant_labels"
    if unknown := sorted(set(allowed) - set(info.labels)):
        expected = f"labels of the corpus: {', '.join(info.labels)}"
        raise InputError("parameters", parameter, expected, ", ".join(unknown))
    counts = dict(zip(info.labels, label_counts(train).tolist(), strict=True))
    stuck = {name: count for name, count in counts.items() if count in (0, len(train))}
    if refused := [name for name in stuck if name not in allowed]:
        kinds = {
            "no sample with": [name for name in refused if not stuck[name]],
            "only samples with": [name for name in refused if stuck[name]],
        }
        found = " and ".join(f"{kind} {_some(names)}" for kind, names in kinds.items() if names)
        remedy = (
            "No system can learn these labels. Give files or folds that have such samples, or name "
            f"the labels in {parameter} to train nevertheless."
        )
        expected = "for each label, samples that have it and samples that do not"
        raise InputError(f"{info.corpus} train", "labels", expected, found, remedy)


def _frequent_labels(train: SampleTable) -> tuple[str, ...]:
    """The most frequent labels in training, in the order of the table's columns."""
    order = np.argsort(-label_counts(train), kind="stable")[:_FREQUENT_LABELS]
    return tuple(train.info.labels[column] for column in sorted(order))


def _duplicates(same: dict[Split, Identities]) -> Iterator[Duplicates]:
    kinds: dict[str, What] = {
        "sample_id": "id",
        "digest": "features",
        "words": "words",
    }
    for (first, one), (second, other) in combinations_with_replacement(same.items(), 2):
        for key, what in kinds.items():
            ours, theirs = one.samples.dropna(subset=key), other.samples.dropna(subset=key)
            earlier = ours.drop_duplicates(key).set_index(key, drop=False)["sample_id"]
            twins = theirs[key].map(earlier).dropna()
            if first == second:
                twins = twins[ours.duplicated(key)]
            if len(twins) and not (what == "words" and first == second):
                pairs = zip(twins, theirs["sample_id"][twins.index], strict=True)
                yield _repeating(first, second, what, list(pairs))


def _almost_duplicates(
    tables: dict[Split, SampleTable], same: dict[Split, Identities]
) -> Iterator[Duplicates]:
    scales = feature_scales(list(tables.values()))
    sketched = {split: sketches(table, scales) for split, table in tables.items()}
    for first, second in with_bar(list(combinations(tables, 2)), "samples nearly in two splits"):
        ours, theirs = same[first].samples, same[second].samples
        pairs = [
            (ours["sample_id"][one], theirs["sample_id"][other])
            for one, other in near_duplicates(
                tables[first], tables[second], (sketched[first], sketched[second]), scales
            )
            if ours["digest"][one] != theirs["digest"][other]
        ]
        if pairs:
            yield _repeating(first, second, "near features", pairs)


def _repeating(
    first: Split,
    second: Split,
    what: What,
    pairs: list[tuple[str, str]],
) -> Duplicates:
    examples = tuple(pairs[:_EXAMPLES])
    return Duplicates(splits=(first, second), what=what, count=len(pairs), examples=examples)


def _shared_persons(same: dict[Split, Identities]) -> Iterator[SharedPersons]:
    for (first, one), (second, other) in combinations(same.items(), 2):
        if shared := sorted(one.persons & other.persons):
            yield SharedPersons(
                splits=(first, second),
                count=len(shared),
                persons=len(other.persons),
                examples=tuple(shared[:_EXAMPLES]),
            )


def _of_groups_and_persons(
    info: TableInfo, splits: dict[Split, SplitReport], persons: Iterable[SharedPersons]
) -> Iterator[Finding]:
    if not info.groups_known:
        text = (
            "groups are unknown: the source does not say which samples belong to one recording. "
            "Each counts as a group of its own, so intervals and guarantees treat samples as "
            "independent and may promise too much, and splits may share recordings"
        )
        yield Finding(severity="warning", split="all", text=text)
    elif all(one.groups == one.samples for one in splits.values()):
        text = (
            "every sample is a group of its own, so intervals and guarantees treat samples as "
            "independent. If several come from one recording, the ids may say so: see what the "
            "reader's settings take as the group"
        )
        yield Finding(severity="warning", split="all", text=text)
    for row in persons:
        text = (
            f"{row.count} of the {row.persons} persons in {row.splits[1]} are in {row.splits[0]} "
            f"too ({_some(row.examples, row.count)}): figures on {row.splits[1]} do not tell how a "
            "system does on persons it has not met"
        )
        yield Finding(severity="warning", split=" and ".join(row.splits), text=text)


def _of_duplicates(duplicates: Iterable[Duplicates]) -> Iterator[Finding]:
    for row in duplicates:
        pairs = [" = ".join(dict.fromkeys(pair)) for pair in row.examples]
        text = f"{row.count} samples {_REPEATING[row.what]} of another: {_some(pairs, row.count)}"
        yield Finding(
            severity="note" if row.what == "words" else "warning",
            split=" and ".join(dict.fromkeys(row.splits)),
            text=text,
        )


def _of_splits(info: TableInfo, splits: dict[Split, SplitReport]) -> Iterator[Finding]:
    for split, counted in splits.items():
        for severity, text in _of_split(info, counted):
            yield Finding(severity=severity, split=split, text=text)


def _of_split(info: TableInfo, counted: SplitReport) -> Iterator[tuple[Severity, str]]:
    for count, kind in ((0, "no"), (counted.samples, "every")):
        if labels := [label for label, found in counted.label_counts.items() if found == count]:
            yield "warning", f"{kind} sample has the label {_some(labels)}"
    if counted.without_features:
        yield "warning", f"{counted.without_features} samples have no feature at all"
    for text in _absences(info, counted):
        yield "note", text
    if nowhere := [m for m, missing in counted.missing.items() if missing == counted.samples]:
        yield "warning", f"no sample has {', '.join(nowhere)}"
    for modality, width in info.widths.items():
        if cleaned := counted.cleaned_values[modality]:
            touched = counted.cleaned_samples[modality]
            yield "note", f"{cleaned} {modality} values were not finite, in {touched} samples"
        if constant := counted.constant_features[modality]:
            yield "note", f"{len(constant)} of {width} {modality} features never change"


def _absences(info: TableInfo, counted: SplitReport) -> Iterator[str]:
    for modality, missing in counted.missing.items():
        zero = counted.all_zero[modality]
        taken = zero if info.zeros_are_absent else 0
        if missing:
            why = {"of which the source has nothing": missing - taken, "zero throughout": taken}
            parts = ", ".join(f"{count} {text}" for text, count in why.items() if count)
            yield f"{missing} of {counted.samples} samples lack {modality}: {parts}"
        if zero and not info.zeros_are_absent:
            yield (
                f"{zero} of {counted.samples} samples have {modality} that is zero throughout; it "
                "is taken as it is (zeros_are_absent: false)"
            )


def _of_published(published: Iterable[CountBesidePublished]) -> Iterator[Finding]:
    for row in published:
        if row.difference:
            kind = "more" if row.difference > 0 else "fewer"
            why = "; ".join(row.explanations) or "nothing in tables and notes accounts for it"
            text = (
                f"{row.what}: {row.ours}, {abs(row.difference)} {kind} than the published "
                f"{row.published}: {why}"
            )
            severity: Severity = "note" if row.accounted else "warning"
            yield Finding(severity=severity, split=row.split, text=text)


def _of_notes(notes: Iterable[str]) -> Iterator[Finding]:
    """The reader's notes, by the split that they begin with."""
    for note in notes:
        split = split_of(note)
        yield Finding(severity="note", split=split, text=note.removeprefix(f"{split}: "))


def _some(names: Sequence[str], count: int = 0) -> str:
    """The first of `count` names."""
    more = max(count, len(names)) - len(shown := list(islice(names, _EXAMPLES)))
    return ", ".join(shown) + (f" and {more} more" if more else "")
