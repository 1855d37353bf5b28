"""Corpora published as padded sequences: rows of zeros recognised and removed.

A step is padding where it stands before or after everything that is not zero. In aligned corpora
the modalities share their steps, so that a step is padding only where all three are zero: one
modality alone is zero wherever nothing was measured during a word. In unaligned corpora each
modality is judged by itself. Zeros inside a sequence are kept, whichever side is padded.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from mmer.corpora.mosei_labels import EMOTIONS
from mmer.corpora.source import CorpusSource, check_disjoint, file_digests, fingerprint
from mmer.corpora.unpickled import as_float32
from mmer.errors import InputError
from mmer.samples.table import MODALITIES, Features, Sample, TableInfo

MOSEI_FEATURES = {"text": "GloVe 300", "visual": "FACET 4.2", "audio": "COVAREP"}

Span = tuple[int, int]
Times = tuple[float | None, float | None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PaddedSettings:
    """How a corpus of padded sequences is read.

    Attributes:
        labels: Emotion names in the order of the table's columns. Files that name the same
            emotions in another order are re-mapped; files that name others are refused.
        widths: Feature width of each modality in the file.
        keep_padding: True keeps all steps, as the published programs do, which attend to them.

    Raises:
        InputError: No labels, a label twice, a modality without a width.
    """

    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    labels: tuple[str, ...] = EMOTIONS
    widths: dict[str, int] = field(default_factory=lambda: {"text": 300, "visual": 35, "audio": 74})
    keep_padding: bool = False

    def __post_init__(self) -> None:
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise InputError("settings", "labels", "one or more names, each once", self.labels)
        if set(self.widths) != set(MODALITIES) or min(self.widths.values()) < 1:
            expected = f"a positive width for {', '.join(MODALITIES)}"
            raise InputError("settings", "widths", expected, self.widths)


@dataclass(frozen=True)
class PaddedSplit:
    """One split of n samples, padded.

    Attributes:
        features: modality -> n arrays (T, D).
        labels: (n, L), 0 or 1.
        sample_ids: n names, each once.
        group_ids: n names of videos; the sample's own name where the file has none.
        times: n pairs of start and end in seconds; None where unknown.
        lengths: modality -> (n,) number of true steps, if the file states it.
        spans: modality -> (n, 2) first true step and the one after the last, if the file tells.
    """

    features: dict[str, list[np.ndarray]]
    labels: np.ndarray
    sample_ids: list[str]
    group_ids: list[str]
    times: list[Times]
    lengths: dict[str, np.ndarray] = field(default_factory=dict)
    spans: dict[str, np.ndarray] = field(default_factory=dict)


def padded_source(
    corpus: str,
    files: list[Path],
    settings: PaddedSettings,
    splits: dict[str, PaddedSplit],
    features: dict[str, str],
    *,
    aligned: bool,
    synthetic: bool,
) -> CorpusSource:
    """A corpus of padded splits, checked and ready to be streamed.

    Args:
        corpus: Its name.
        files: What it was read from; messages name the first.
        settings: As it was read.
        splits: Split name -> its samples.
        features: modality -> name of the feature extractor.
        aligned: Whether the modalities share their steps.
        synthetic: Whether mmer wrote the files itself.

    Raises:
        InputError: The parts of a split differ in number, a sample's name stands twice, or two
            splits share a video.
    """
    for name, split in splits.items():
        _check_split(files[0], name, split, aligned)
    check_disjoint(files[0], {name: split.group_ids for name, split in splits.items()})
    sources = file_digests(files)
    info = TableInfo(
        corpus=corpus,
        labels=settings.labels,
        features={m: Features(features[m], settings.widths[m]) for m in MODALITIES},
        alignment="word" if aligned else "none",
        synthetic=synthetic,
        sources=sources,
        fingerprint=fingerprint(
            sources, {"aligned": aligned, "synthetic": synthetic, **asdict(settings)}
        ),
    )
    return CorpusSource(
        info, lambda name: padded_samples(splits[name], aligned, settings.keep_padding)
    )


def _check_split(where: Path, name: str, split: PaddedSplit, aligned: bool) -> None:
    counts = {m: len(split.features[m]) for m in MODALITIES} | {"labels": len(split.labels)}
    if len(set(counts.values())) > 1:
        raise InputError(where, name, "as many samples in each modality as labels", counts)
    [(sample_id, times)] = Counter(split.sample_ids).most_common(1)
    if times > 1:
        raise InputError(where, f"{name} ids", "each sample once", f"{sample_id} {times} times")
    if aligned:
        for i, rows in enumerate(zip(*(split.features[m] for m in MODALITIES), strict=True)):
            if len({len(r) for r in rows}) > 1:
                found = {m: len(r) for m, r in zip(MODALITIES, rows, strict=True)}
                raise InputError(where, f"{name}[{i}]", "as many steps in each modality", found)


def padded_samples(split: PaddedSplit, aligned: bool, keep_padding: bool) -> Iterator[Sample]:
    """The samples of a split without their padding.

    A modality that is zero throughout is absent; a sample without any modality is left out, and
    the log says how many.
    """
    empty = 0
    for i, sample_id in enumerate(split.sample_ids):
        padded = {m: as_float32(split.features[m][i]) for m in MODALITIES}
        features = padded if keep_padding else _without_padding(split, i, padded, aligned)
        if all(rows is None for rows in features.values()):
            empty += 1
            continue
        start, end = split.times[i]
        yield Sample(sample_id, split.group_ids[i], dict(features), split.labels[i], start, end)
    if empty:
        _log.warning("%d samples are zero throughout and were left out", empty)


def _without_padding(
    split: PaddedSplit, i: int, padded: Mapping[str, np.ndarray], aligned: bool
) -> Mapping[str, np.ndarray | None]:
    spans = {m: _true_span(split, i, m, rows) for m, rows in padded.items()}
    if aligned:
        used = [span for span in spans.values() if span[0] < span[1]] or [(0, 0)]
        shared = min(begin for begin, _ in used), max(end for _, end in used)
        spans = dict.fromkeys(spans, shared)
    return {
        m: rows[slice(*spans[m])] if rows[slice(*spans[m])].any() else None
        for m, rows in padded.items()
    }


def _true_span(split: PaddedSplit, i: int, modality: str, rows: np.ndarray) -> Span:
    if modality in split.spans:
        begin, end = split.spans[modality][i]
        return int(begin), int(end)
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
