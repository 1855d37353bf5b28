"""CMU-MOSEI in MMSA's files, `aligned_50.pkl` and `unaligned_50.pkl`.

A pickle: per split `id` ("video$_$clip"), `raw_text`, `text` (n, 50, 768), `text_bert` (n, 3, 50;
its second row is 1 where there is a token), `audio` (n, T, 74), `vision` (n, T, 35),
`regression_labels`, and in unaligned files `audio_lengths` and `vision_lengths`. It holds sentiment
only; emotions, start and end are joined from the label file of the CMU-MultimodalSDK. Files whose
modalities all have equally many steps are aligned.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmer.corpora import unpickled
from mmer.corpora.clip_join import Clips, Segments, join
from mmer.corpora.formats.csd import ComputationalSequence
from mmer.corpora.formats.restricted_pickle import read_pickle
from mmer.corpora.mosei_labels import (
    EMOTIONS,
    LABEL_COLUMNS,
    check_columns,
    read_segment_labels,
)
from mmer.corpora.padded import MOSEI_FEATURES, PaddedSettings, PaddedSplit, Times, padded_source
from mmer.corpora.source import CorpusSource
from mmer.errors import InputError
from mmer.samples.table import MODALITIES, SPLITS

_FIELDS = {"text": "text", "visual": "vision", "audio": "audio"}
_LENGTHS = {"visual": "vision_lengths", "audio": "audio_lengths"}
_WIDTHS = {"text": 768, "visual": 35, "audio": 74}
_CLIP_ID = re.compile(r"(.+)\$_\$(\d{1,9})")
_PAUSE = b"sp"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MmsaSettings(PaddedSettings):
    """How MMSA's files are read; see also `PaddedSettings`.

    Attributes:
        label_columns: What the columns of the label file are, where it does not name them.
        most_unjoined: Share of a split's clips that may be left out because no segment of the
            label file, or no single one, can be theirs.

    Raises:
        InputError: As `PaddedSettings`; or labels or columns are not those of the label file.
    """

    widths: dict[str, int] = field(default_factory=lambda: dict(_WIDTHS))
    label_columns: tuple[str, ...] = LABEL_COLUMNS
    most_unjoined: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if unknown := set(self.labels) - set(EMOTIONS):
            expected = f"some of {', '.join(EMOTIONS)}"
            raise InputError("settings", "labels", expected, ", ".join(sorted(unknown)))
        check_columns("settings", "label_columns", self.label_columns)
        if not 0 <= self.most_unjoined <= 1:
            raise InputError("settings", "most_unjoined", "a share, 0 to 1", self.most_unjoined)


def read_mmsa(
    features: Path,
    labels: Path,
    settings: MmsaSettings,
    *,
    corpus: str,
    words: Path | None = None,
    synthetic: bool = False,
) -> CorpusSource:
    """Open MMSA's features, join the emotions of the labelled segments, offer the samples.

    The ids name a video and a number, not a segment: see `clip_join` for how clips are matched.
    Clips for which that leaves no segment, or several, are left out, and the log says how many.

    Args:
        features: `aligned_50.pkl` or `unaligned_50.pkl`.
        labels: `CMU_MOSEI_Labels.csd`.
        settings: How they are read.
        corpus: Name of the corpus.
        words: `CMU_MOSEI_TimestampedWords.csd`; with it the clips' texts must fit as well.
        synthetic: True if mmer wrote the files itself.

    Raises:
        InputError: A file is missing, damaged or not what `settings` say, or more clips than
            `settings.most_unjoined` could not be joined.
        UntrustedDataError: A file asks for code to be run.
    """
    content = read_pickle(features)
    with ComputationalSequence(words, None) if words else nullcontext() as word_file:
        segments = _SegmentReader(labels, word_file, settings)
        splits = {s: _split(features, content, s, settings, segments) for s in SPLITS}
    aligned = all(
        len({len(rows) for rows in sample}) == 1
        for split in splits.values()
        for sample in zip(*(split.features[m] for m in MODALITIES), strict=True)
    )
    return padded_source(
        corpus,
        [features, labels, *([words] if words else [])],
        settings,
        splits,
        MOSEI_FEATURES | {"text": "BERT"},
        aligned=aligned,
        synthetic=synthetic,
    )


class _SegmentReader:
    """The labelled segments of a video, with their words where these are known."""

    def __init__(
        self, labels: Path, words: ComputationalSequence | None, settings: MmsaSettings
    ) -> None:
        self.labels = read_segment_labels(labels, settings.label_columns)
        self.words = words
        self.emotions = [EMOTIONS.index(label) for label in settings.labels]

    def read(self, video: str) -> Segments | None:
        """None if the label file does not have the video."""
        if video not in self.labels or len(self.labels[video].intervals) == 0:
            return None
        intervals, sentiment, emotions = self.labels[video]
        words = None
        if self.words and video in self.words:
            spoken, times = self.words.read(video)
            words = _words_within(intervals, spoken[:, 0], times.mean(axis=1))
        return Segments(intervals, sentiment, emotions[:, self.emotions], words)


def _words_within(intervals: np.ndarray, words: np.ndarray, middles: np.ndarray) -> list[str]:
    """Per interval, the words whose middle lies in it."""
    inside = (intervals[:, :1] <= middles) & (middles < intervals[:, 1:]) & (words != _PAUSE)
    return [b" ".join(words[chosen].tolist()).decode(errors="replace") for chosen in inside]


def _split(
    where: Path, content: object, split: str, settings: MmsaSettings, segments: _SegmentReader
) -> PaddedSplit:
    record = unpickled.field(where, content, split)
    features = {
        m: unpickled.sequences(
            where, f"{split}/{name}", unpickled.field(where, record, name), settings.widths[m]
        )
        for m, name in _FIELDS.items()
    }
    count = len(features["text"])
    if {len(rows) for rows in features.values()} != {count}:
        found = {m: len(rows) for m, rows in features.items()}
        raise InputError(where, split, "as many samples in each modality", found)
    names = unpickled.texts(where, f"{split}/id", record.get("id"), count)
    ids = [_clip_id(where, split, name) for name in names]
    matches = _matches(where, split, record, ids, segments)
    _report_unjoined(where, split, settings, count, len(matches))
    rows = sorted(matches)
    return PaddedSplit(
        features={m: [sequence[row] for row in rows] for m, sequence in features.items()},
        labels=np.array([matches[row][0] for row in rows], np.uint8),
        sample_ids=[names[row] for row in rows],
        group_ids=[ids[row][0] for row in rows],
        times=[matches[row][1] for row in rows],
        lengths={
            m: unpickled.numbers(where, f"{split}/{name}", record[name], count)[rows]
            for m, name in _LENGTHS.items()
            if name in record
        },
        spans=_token_spans(where, split, record, features["text"], rows),
    )


def _clip_id(where: Path, split: str, name: str) -> tuple[str, int]:
    """Video and number of a clip."""
    parts = _CLIP_ID.fullmatch(name)
    if parts is None:
        raise InputError(where, f"{split}/id", "ids like video$_$3", unpickled.describe(name))
    return parts[1], int(parts[2])


def _matches(
    where: Path, split: str, record: dict, ids: list[tuple[str, int]], segments: _SegmentReader
) -> dict[int, tuple[np.ndarray, Times]]:
    """Row of each clip that was joined -> emotions (L,) and start and end of its segment."""
    key, count = f"{split}/regression_labels", len(ids)
    sentiment = unpickled.numbers(where, key, record.get("regression_labels"), count)
    spoken = unpickled.texts(where, f"{split}/raw_text", record.get("raw_text"), count)
    rows_of = defaultdict(list)
    for row, (video, _) in enumerate(ids):
        rows_of[video].append(row)
    matches: dict[int, tuple[np.ndarray, Times]] = {}
    for video, rows in rows_of.items():
        found = segments.read(video)
        if found is None:
            continue
        numbers = np.array([ids[row][1] for row in rows])
        clips = Clips(numbers, sentiment[rows], [spoken[row] for row in rows])
        for row, at in zip(rows, join(clips, found), strict=True):
            if at >= 0:
                start, end = map(float, found.intervals[at])
                matches[row] = found.emotions[at], (start, end)
    return matches


def _report_unjoined(
    where: Path, split: str, settings: MmsaSettings, count: int, joined: int
) -> None:
    left_out = count - joined
    if left_out > settings.most_unjoined * count or joined == 0:
        raise InputError(
            where,
            f"{split}/id",
            f"clips of which at least {1 - settings.most_unjoined:.0%} fit the label file",
            f"{joined} of {count} that do",
            "Give the file of words too, and see that both files are of the same release.",
        )
    if left_out:
        _log.warning(
            "%s, %s: %d of %d clips left out: no segment of the label file, or more than one, fits",
            where,
            split,
            left_out,
            count,
        )


def _token_spans(
    where: Path, split: str, record: dict, text: list[np.ndarray], rows: list[int]
) -> dict[str, np.ndarray]:
    """First token and the one behind the last of each text, from `text_bert`; empty without it."""
    if "text_bert" not in record:
        return {}
    tokens, shape = record["text_bert"], (len(text), 3, len(text[0]))
    if not unpickled.is_numeric(tokens) or tokens.shape != shape:
        expected = f"numbers of shape {shape}"
        raise InputError(where, f"{split}/text_bert", expected, unpickled.describe(tokens))
    filled = tokens[rows, 1] > 0  # (n, tokens)
    last = filled.shape[1] - filled[:, ::-1].argmax(axis=1)
    spans = np.stack([filled.argmax(axis=1), last], axis=1)
    spans[~filled.any(axis=1)] = 0
    return {"text": spans}
