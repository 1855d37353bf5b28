"""Corpora published as padded sequences: rows of zeros recognised and removed.

A step is padding where it stands before or after everything that is not zero. In aligned corpora
the modalities share their steps, so that a step is padding only where all three are zero: one
modality alone is zero wherever nothing was measured during a word. In unaligned corpora each
modality is judged by itself. Zeros inside a sequence are kept, whichever side is padded, and so is
a sequence that is zero throughout: nobody can tell its padding from what was not measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveInt

from mmer.corpora.corpus import CorpusSource, LabelNames
from mmer.corpora.mosei.features import MODALITIES, WIDTHS, Modality
from mmer.corpora.mosei.labels import EMOTIONS
from mmer.errors import InputError
from mmer.formats import plain
from mmer.samples.table import Features, Sample, Split
from mmer.schema import Settings

Span = tuple[int, int]
Times = tuple[float | None, float | None]
Widths = Annotated[dict[Modality, PositiveInt], Field(min_length=len(MODALITIES))]
"""Modality -> width D of its features; of every modality."""


class PaddedOptions(Settings):
    """How files of padded sequences are read.

    Attributes:
        labels: Emotion names in the order of the table's columns. Files that name the same
            emotions in another order are re-mapped; files that name others are refused.
        keep_padding: True keeps all steps, as the published programs do, which attend to them.
    """

    labels: LabelNames[str] = EMOTIONS
    widths: Widths = WIDTHS
    keep_padding: bool = False


@dataclass(frozen=True)
class PaddedSplit:
    """One split of n samples, padded.

    Attributes:
        features: Modality -> n arrays (T, D).
        labels: (n, L), 0 or 1.
        group_ids: n names of videos; None where the file has none.
        times: n pairs of start and end in seconds; None where unknown.
        lengths: Modality -> (n,) number of true steps, if the file states it.
        spans: Modality -> (n, 2) first true step and the one after the last, if the file tells.
        note: What a user should know of it; see `CorpusSource`.
    """

    features: dict[Modality, list[np.ndarray]]
    labels: np.ndarray
    sample_ids: list[str]
    group_ids: list[str] | None
    times: list[Times]
    lengths: dict[str, np.ndarray] = field(default_factory=dict)
    spans: dict[str, np.ndarray] = field(default_factory=dict)
    note: str = ""

    @property
    def groups(self) -> list[str]:
        """What each sample belongs to; its own name where that is not known."""
        return self.group_ids or self.sample_ids


def split_features(
    where: Path, content: object, split: str, names: dict[Modality, str], options: PaddedOptions
) -> dict[Modality, list[np.ndarray]]:
    """Each modality's sequences, which stand under its name in a split of a file's content."""
    stored = {m: plain.field(where, content, split, name) for m, name in names.items()}
    return {
        m: plain.sequences(where, f"{split}/{names[m]}", value, options.widths[m])
        for m, value in stored.items()
    }


def padded_source(
    files: tuple[Path, ...],
    options: PaddedOptions,
    splits: dict[Split, PaddedSplit],
    extractors: dict[Modality, str],
    *,
    aligned: bool,
    notes: tuple[str, ...] = (),
) -> CorpusSource:
    """A corpus of padded splits, checked and ready to be streamed.

    Args:
        files: What it was read from; messages name the first.
        options: As it was read.
        splits: Of the corpus.
        extractors: Modality -> name of what made its features.
        aligned: Whether the modalities share their steps.
        notes: On the files; see `CorpusSource`.

    Raises:
        InputError: The parts of a split differ in number, or a sample's name stands twice.
    """
    for name, split in splits.items():
        _check_split(files[0], name, split, aligned)
    return CorpusSource(
        labels=options.labels,
        features={m: Features(name=extractors[m], width=options.widths[m]) for m in MODALITIES},
        alignment="word" if aligned else "none",
        files=files,
        groups={name: tuple(split.groups) for name, split in splits.items()},
        read=lambda name, groups: padded_samples(
            splits[name], groups, aligned, options.keep_padding
        ),
        groups_known=all(split.group_ids is not None for split in splits.values()),
        notes=(*notes, *(f"{name}: {split.note}" for name, split in splits.items() if split.note)),
    )


def _check_split(where: Path, name: str, split: PaddedSplit, aligned: bool) -> None:
    counts = {m: len(split.features[m]) for m in MODALITIES} | {"labels": len(split.labels)}
    if len(set(counts.values())) > 1:
        raise InputError(where, name, "as many samples in each modality as labels", counts)
    [(sample_id, times)] = Counter(split.sample_ids).most_common(1)
    if times > 1:
        raise InputError(where, f"{name} ids", "each sample once", f"{sample_id} {times} times")
    for i in range(len(split.labels) if aligned else 0):
        steps = {m: len(split.features[m][i]) for m in MODALITIES}
        if len(set(steps.values())) > 1:
            raise InputError(where, f"{name}[{i}]", "as many steps in each modality", steps)


def padded_samples(
    split: PaddedSplit, groups: Collection[str], aligned: bool, keep_padding: bool
) -> Iterator[Sample]:
    """The samples of some of a split's groups, in the split's order, without their padding."""
    for i, (sample_id, group) in enumerate(zip(split.sample_ids, split.groups, strict=True)):
        if group in groups:
            features = _features(split, i, aligned, keep_padding)
            yield Sample(sample_id, group, features, split.labels[i], *split.times[i])


def _features(
    split: PaddedSplit, i: int, aligned: bool, keep_padding: bool
) -> dict[str, np.ndarray | None]:
    padded: dict[str, np.ndarray] = {m: plain.as_float32(split.features[m][i]) for m in MODALITIES}
    if keep_padding:
        return {**padded}
    spans = {m: _true_span(split, i, m, rows) for m, rows in padded.items()}
    filled = [(begin, end) for begin, end in spans.values() if begin < end]
    if aligned and filled:
        shared = min(begin for begin, _ in filled), max(end for _, end in filled)
        return {m: rows[slice(*shared)] for m, rows in padded.items()}
    return {m: _cut(rows, spans[m]) for m, rows in padded.items()}


def _cut(rows: np.ndarray, span: Span) -> np.ndarray | None:
    """The rows of a span; all of them if they are zero throughout, None if the file has none."""
    if rows.any():
        return rows[slice(*span)] if span[0] < span[1] else None
    return rows


def _true_span(split: PaddedSplit, i: int, modality: str, rows: np.ndarray) -> Span:
    if modality in split.spans:
        return tuple(split.spans[modality][i])
    content = nonzero_span(rows)
    if modality in split.lengths:
        return stated_span(content, len(rows), int(split.lengths[modality][i]))
    return content


def nonzero_span(rows: np.ndarray) -> Span:
    """First row of (T, D) that is not all zero, and the one after the last; (0, 0) if none."""
    filled = np.flatnonzero(rows.any(axis=1))
    return (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)


def stated_span(content: Span, steps: int, length: int) -> Span:
    """The span of `length` steps, before or behind the padding, that covers the content.

    A true step may be zero, so that a stated length says more than the zeros. Where neither side
    fits, the length is not about these rows and the content alone decides.
    """
    if content[1] <= length <= steps:
        return 0, length
    if 0 <= steps - length <= content[0]:
        return steps - length, steps
    return content
