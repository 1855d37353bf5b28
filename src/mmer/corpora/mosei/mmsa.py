"""CMU-MOSEI in MMSA's files, `aligned_50.pkl` and `unaligned_50.pkl`.

A pickle: per split `id` ("video$_$clip"), `raw_text`, `text` (n, 50, 768), `text_bert` (n, 3, 50;
its second row is 1 where there is a token), `audio` (n, T, 74), `vision` (n, T, 35),
`regression_labels`, and in unaligned files `audio_lengths` and `vision_lengths`. It holds sentiment
only; emotions, start and end are joined from the label file of the CMU-MultimodalSDK. Files whose
modalities all have equally many steps are aligned.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field

from mmer.corpora.corpus import CorpusSource, LabelNames
from mmer.corpora.mosei import csd
from mmer.corpora.mosei.clip_join import MOST_IN_A_VIDEO, Clips, Segments, join
from mmer.corpora.mosei.features import EXTRACTORS, WIDTHS, Modality
from mmer.corpora.mosei.labels import (
    EMOTIONS,
    Emotion,
    LabelColumns,
    SegmentLabels,
    read_labels,
)
from mmer.corpora.mosei.noalign import FIELDS
from mmer.corpora.mosei.padded import (
    PaddedOptions,
    PaddedSplit,
    Times,
    Widths,
    padded_source,
    split_features,
)
from mmer.errors import InputError
from mmer.formats import plain
from mmer.formats.csd import ComputationalSequence
from mmer.formats.restricted_pickle import read_pickle
from mmer.samples.table import SPLITS

_LENGTHS = {"visual": "vision_lengths", "audio": "audio_lengths"}
_WIDTHS: dict[Modality, int] = {**WIDTHS, "text": 768}
_CLIP_ID = re.compile(r"(.+)\$_\$(\d{1,9})")
_PAUSE = b"sp"

_SegmentsOf = Callable[[str], Segments | None]


class MmsaOptions(PaddedOptions):
    """How MMSA's files are read; see also `PaddedOptions`.

    Attributes:
        labels: Some or all of the label file's emotions, in the order of the table's columns.
        label_columns: As of `CsdOptions`, and so is `label_tolerance`.
        most_unjoined: Share of a split's clips that may be left out because no segment of the
            label file, or no single one, can be theirs.
    """

    labels: LabelNames[Emotion] = EMOTIONS
    widths: Widths = _WIDTHS
    label_columns: LabelColumns | None = None
    label_tolerance: float = Field(default=0.0, ge=0, le=1)
    most_unjoined: float = Field(default=0.05, ge=0, le=1)


def read_mmsa(name: str, folder: Path, options: MmsaOptions) -> CorpusSource:
    """Open MMSA's file of this name, join the emotions of the labelled segments, offer the samples.

    The ids name a video and a number, not a segment: see `clip_join` for how clips are matched.
    Clips for which that leaves no segment, or several, are left out. If the corpus's file of words
    is at hand, the clips' texts must fit as well.

    Raises:
        InputError: A file is missing, damaged or not what the options say, or more clips than
            `most_unjoined` could not be joined.
        UntrustedDataError: A file asks for code to be run.
    """
    features, labels, words = folder / name, csd.LABELS.path(folder), csd.WORDS.path(folder)
    files = (features, labels, *([words] if words.is_file() else []))
    content = read_pickle(features)
    with ComputationalSequence(words, None) if words in files else nullcontext() as word_file:
        columns = [EMOTIONS.index(label) for label in options.labels]
        known = read_labels(labels, options.label_columns, tolerance=options.label_tolerance)
        for video, found in known.videos.items():
            _check_count(labels, "", video, len(found.intervals))
        segments = partial(_segments, known.videos, word_file, columns)
        splits = {s: _split(features, content, s, options, segments) for s in SPLITS}
    aligned = all(
        len({len(rows) for rows in sample}) == 1
        for split in splits.values()
        for sample in zip(*split.features.values(), strict=True)
    )
    extractors: dict[Modality, str] = {**EXTRACTORS, "text": "BERT"}
    return padded_source(files, options, splits, extractors, aligned=aligned, notes=known.notes)


def _check_count(where: Path, key: str, video: str, count: int) -> None:
    if count > MOST_IN_A_VIDEO:
        found = f"{count} of {plain.describe(video)}"
        raise InputError(where, key, f"at most {MOST_IN_A_VIDEO} samples of one video", found)


def _segments(
    labels: dict[str, SegmentLabels],
    word_file: ComputationalSequence | None,
    columns: list[int],
    video: str,
) -> Segments | None:
    """A video's segments, with their words where these are known; None if it has no labels."""
    if video not in labels or len(labels[video].intervals) == 0:
        return None
    intervals, sentiment, emotions = labels[video]
    words = None
    if word_file and video in word_file:
        (spoken, times), (starts, ends) = word_file.read(video), intervals.T[:, :, None]
        texts, middles = spoken[:, 0], times.mean(axis=1)
        inside = (starts <= middles) & (middles < ends) & (texts != _PAUSE)
        words = [b" ".join(texts[one].tolist()).decode(errors="replace") for one in inside]
    return Segments(intervals, sentiment, emotions[:, columns], words)


def _split(
    where: Path, content: object, split: str, options: MmsaOptions, segments: _SegmentsOf
) -> PaddedSplit:
    record = plain.field(where, content, split)
    features = split_features(where, content, split, FIELDS, options)
    count = len(features["text"])
    if {len(rows) for rows in features.values()} != {count}:
        found = {m: len(rows) for m, rows in features.items()}
        raise InputError(where, split, "as many samples in each modality", found)
    names = plain.texts(where, f"{split}/id", record.get("id"), count)
    ids = [_clip_id(where, split, name) for name in names]
    matches = _matches(where, split, record, ids, segments)
    left_out, rows = count - len(matches), sorted(matches)
    if left_out > options.most_unjoined * count or not rows:
        raise InputError(
            where,
            f"{split}/id",
            f"clips of which at least {1 - options.most_unjoined:.0%} fit the label file",
            f"{len(rows)} of {count} that do",
            "Give the file of words too, and see that both files are of the same release.",
        )
    note = f"{left_out} of {count} clips fit no segment of the label file, or several: left out"
    return PaddedSplit(
        features={m: [sequence[row] for row in rows] for m, sequence in features.items()},
        labels=np.array([matches[row][0] for row in rows], np.uint8),
        sample_ids=[names[row] for row in rows],
        group_ids=[ids[row][0] for row in rows],
        times=[matches[row][1] for row in rows],
        lengths={
            m: plain.numbers(where, f"{split}/{name}", record[name], count)[rows]
            for m, name in _LENGTHS.items()
            if name in record
        },
        spans=_token_spans(where, split, record, features["text"], rows),
        note=note if left_out else "",
    )


def _clip_id(where: Path, split: str, name: str) -> tuple[str, int]:
    """Video and number of a clip."""
    parts = _CLIP_ID.fullmatch(name)
    if parts is None:
        raise InputError(where, f"{split}/id", "ids like video$_$3", plain.describe(name))
    return parts[1], int(parts[2])


def _matches(
    where: Path, split: str, record: dict, ids: list[tuple[str, int]], segments: _SegmentsOf
) -> dict[int, tuple[np.ndarray, Times]]:
    """Row of each clip that was joined -> emotions (L,) and start and end of its segment."""
    key, count = f"{split}/regression_labels", len(ids)
    sentiment = plain.numbers(where, key, record.get("regression_labels"), count)
    spoken = plain.texts(where, f"{split}/raw_text", record.get("raw_text"), count)
    rows_of = defaultdict(list)
    for row, (video, _) in enumerate(ids):
        rows_of[video].append(row)
    matches: dict[int, tuple[np.ndarray, Times]] = {}
    for video, rows in rows_of.items():
        _check_count(where, f"{split}/id", video, len(rows))
        if (found := segments(video)) is None:
            continue
        numbers = np.array([ids[row][1] for row in rows])
        clips = Clips(numbers, sentiment[rows], [spoken[row] for row in rows])
        for row, at in zip(rows, join(clips, found), strict=True):
            if at >= 0:
                start, end = found.intervals[at].tolist()
                matches[row] = found.emotions[at], (start, end)
    return matches


def _token_spans(
    where: Path, split: str, record: dict, text: list[np.ndarray], rows: list[int]
) -> dict[str, np.ndarray]:
    """First token and the one behind the last of each text, from `text_bert`; empty without it."""
    if "text_bert" not in record:
        return {}
    tokens, shape = record["text_bert"], (len(text), 3, len(text[0]))
    if not plain.is_numeric(tokens) or tokens.shape != shape:
        expected = f"numbers of shape {shape}"
        raise InputError(where, f"{split}/text_bert", expected, plain.describe(tokens))
    filled = tokens[rows, 1] > 0  # (n, tokens)
    last = filled.shape[1] - filled[:, ::-1].argmax(axis=1)
    spans = np.stack([filled.argmax(axis=1), last], axis=1)
    spans[~filled.any(axis=1)] = 0
    return {"text": spans}
