"""CMU-MOSEI in MMSA's files, `aligned_50.pkl` and `unaligned_50.pkl`.

A pickle: per split `id` ("video$_$clip"), `raw_text`, `text` (n, 50, 768), `text_bert` (n, 3, 50;
its second row is 1 where there is a token), `audio` (n, T, 74), `vision` (n, T, 35),
`regression_labels`, and in unaligned files `audio_lengths` and `vision_lengths`. It holds sentiment
only; emotions, start and end are joined from the label file of the CMU-MultimodalSDK. Files whose
modalities all have equally many steps are aligned.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from mmer.corpora.corpus import CorpusSource, LabelNames
from mmer.corpora.mosei import csd
from mmer.corpora.mosei.clip_join import Clips, Segments, join
from mmer.corpora.mosei.features import EXTRACTORS, WIDTHS, Modality
from mmer.corpora.mosei.labels import (
    EMOTIONS,
    LABEL_COLUMNS,
    Emotion,
    LabelColumns,
    read_segment_labels,
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
_CLIP_ID = r"\A(.+)\$_\$(\d{1,9})\Z"
_PAUSE = b"sp"


class MmsaOptions(PaddedOptions):
    """How MMSA's files are read; see also `PaddedOptions`.

    Attributes:
        labels: Some or all of the label file's emotions, in the order of the table's columns.
        most_unjoined: Share of a split's clips that may be left out because no segment of the
            label file, or no single one, can be theirs.
    """

    labels: LabelNames[Emotion] = EMOTIONS
    widths: Widths = _WIDTHS
    label_columns: LabelColumns = LABEL_COLUMNS
    most_unjoined: float = Field(default=0.05, ge=0, le=1)


def read_mmsa_aligned(folder: Path, options: MmsaOptions) -> CorpusSource:
    """Open `aligned_50.pkl`; see `_read_mmsa`."""
    return _read_mmsa(folder, "aligned_50.pkl", options)


def read_mmsa_unaligned(folder: Path, options: MmsaOptions) -> CorpusSource:
    """Open `unaligned_50.pkl`; see `_read_mmsa`."""
    return _read_mmsa(folder, "unaligned_50.pkl", options)


def _read_mmsa(folder: Path, name: str, options: MmsaOptions) -> CorpusSource:
    """Open MMSA's features, join the emotions of the labelled segments, offer the samples.

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
        segments = _SegmentReader(labels, word_file, options)
        splits = {s: _split(features, content, s, options, segments) for s in SPLITS}
    aligned = all(
        len({len(rows) for rows in sample}) == 1
        for split in splits.values()
        for sample in zip(*split.features.values(), strict=True)
    )
    return padded_source(files, options, splits, EXTRACTORS | {"text": "BERT"}, aligned=aligned)


class _SegmentReader:
    """The labelled segments of a video, with their words where these are known."""

    def __init__(
        self, labels: Path, words: ComputationalSequence | None, options: MmsaOptions
    ) -> None:
        self.labels = read_segment_labels(labels, options.label_columns)
        self.words = words
        self.emotions = [EMOTIONS.index(label) for label in options.labels]

    def read(self, video: str) -> Segments | None:
        """None if the label file does not have the video."""
        if video not in self.labels or len(self.labels[video].intervals) == 0:
            return None
        intervals, sentiment, emotions = self.labels[video]
        words = None
        if self.words and video in self.words:
            (spoken, times), (starts, ends) = self.words.read(video), intervals.T[:, :, None]
            texts, middles = spoken[:, 0], times.mean(axis=1)
            inside = (starts <= middles) & (middles < ends) & (texts != _PAUSE)
            words = [b" ".join(texts[one].tolist()).decode(errors="replace") for one in inside]
        return Segments(intervals, sentiment, emotions[:, self.emotions], words)


def _split(
    where: Path, content: object, split: str, options: MmsaOptions, segments: _SegmentReader
) -> PaddedSplit:
    record = plain.field(where, content, split)
    features = split_features(where, content, split, FIELDS, options)
    count = len(features["text"])
    if {len(rows) for rows in features.values()} != {count}:
        found = {m: len(rows) for m, rows in features.items()}
        raise InputError(where, split, "as many samples in each modality", found)
    clips = _clips(where, split, record, count)
    matches = _matches(clips, segments)
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
        sample_ids=clips["id"][rows].tolist(),
        group_ids=clips["video"][rows].tolist(),
        times=[matches[row][1] for row in rows],
        lengths={
            m: plain.numbers(where, f"{split}/{name}", record[name], count)[rows]
            for m, name in _LENGTHS.items()
            if name in record
        },
        spans=_token_spans(where, split, record, features["text"], rows),
        note=note if left_out else "",
    )


def _clips(where: Path, split: str, record: dict, count: int) -> pd.DataFrame:
    """Id, video, number, sentiment and text of each clip."""
    ids = plain.texts(where, f"{split}/id", record.get("id"), count)
    sentiment = record.get("regression_labels")
    clips = pd.DataFrame(
        {
            "id": ids,
            "sentiment": plain.numbers(where, f"{split}/regression_labels", sentiment, count),
            "text": plain.texts(where, f"{split}/raw_text", record.get("raw_text"), count),
        }
    )
    clips[["video", "number"]] = clips["id"].str.extract(_CLIP_ID)
    if (unknown := clips["video"].isna()).any():
        found = plain.describe(ids[unknown.argmax()])
        raise InputError(where, f"{split}/id", "ids like video$_$3", found)
    return clips.astype({"number": int})


def _matches(clips: pd.DataFrame, segments: _SegmentReader) -> dict[int, tuple[np.ndarray, Times]]:
    """Row of each clip that was joined -> emotions (L,) and start and end of its segment."""
    matches: dict[int, tuple[np.ndarray, Times]] = {}
    for video, rows in clips.groupby("video"):
        found = segments.read(video)
        if found is None:
            continue
        numbers, sentiment = rows["number"].to_numpy(), rows["sentiment"].to_numpy()
        joined = join(Clips(numbers, sentiment, rows["text"].tolist()), found)
        for row, at in zip(rows.index, joined, strict=True):
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
