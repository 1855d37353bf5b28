"""CMU-MOSEI's official computational sequences as samples: labelled segments of videos."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, PositiveInt, TypeAdapter, ValidationError, model_validator

from mmer.alignment.intervals import ImplausibleTimesError, shares_time
from mmer.corpora.corpus import CorpusSource
from mmer.corpora.mosei.entries import VideoEntries
from mmer.corpora.mosei.features import EXTRACTORS, MODALITIES, WIDTHS
from mmer.corpora.mosei.labels import (
    EMOTIONS,
    HIGHEST_INTENSITY,
    LABEL_COLUMNS,
    LabelColumns,
    LabelFile,
    SegmentLabels,
    read_labels,
)
from mmer.corpora.mosei.segments import (
    Sequences,
    Steps,
    frames_at_rates,
    words_as_cut,
    words_in_step,
    words_of_the_tool,
)
from mmer.errors import InputError
from mmer.formats.csd import ComputationalSequence
from mmer.samples.table import SPLITS, Features, Sample, Split
from mmer.schema import Settings

_STANDARD_FOLDS = Path(__file__).with_name("standard_folds.json")
_VIDEOS_PER_TASK = 64
_PURGE = "with a video that is not in every file it removes all whose ids begin with that one's"


class SequenceFile(NamedTuple):
    """One of the corpus's official files: its name, its one HDF5 group, the width of its rows."""

    name: str
    root_name: str
    width: int | None  # None where the rows are words

    def path(self, folder: Path) -> Path:
        """Where it is; the tool names files that it has aligned by their root."""
        official, aligned = folder / self.name, folder / f"{self.root_name}.csd"
        return aligned if aligned.is_file() and not official.is_file() else official

    def open(self, folder: Path) -> ComputationalSequence:
        return ComputationalSequence(self.path(folder), self.width)


FILES = {
    "text": SequenceFile("CMU_MOSEI_TimestampedWordVectors.csd", "glove_vectors", WIDTHS["text"]),
    "visual": SequenceFile("CMU_MOSEI_VisualFacet42.csd", "FACET 4.2", WIDTHS["visual"]),
    "audio": SequenceFile("CMU_MOSEI_COVAREP.csd", "COVAREP", WIDTHS["audio"]),
}
LABELS = SequenceFile("CMU_MOSEI_Labels.csd", "All Labels", len(LABEL_COLUMNS))
WORDS = SequenceFile("CMU_MOSEI_TimestampedWords.csd", "words", None)


class FrameRates(Settings):
    """Steps per second of unaligned frames; those of the published unaligned files by default."""

    visual: float = Field(default=15, gt=0, le=1000)
    audio: float = Field(default=20, gt=0, le=1000)


class CsdOptions(Settings):
    """How the official files become samples.

    Attributes:
        alignment: "word" averages FACET and COVAREP onto the words; "none" brings each of them to a
            rate of its own.
        arithmetic: Where frames are missing at a segment's border, or words overlap, the
            CMU-MultimodalSDK loses step between the modalities. "in_step" keeps them in step; "sdk"
            gives the tool's own result for the whole table, to the last bit: its tensors without
            the zeros in front that all modalities of a sample have in common.
        incomplete: "keep" keeps segments of which a modality has nothing; it is absent there.
            "drop" leaves them out, as the tool does: the published counts come from that. Segments
            that "word" finds no word in are left out either way. "sdk" always drops.
        folds: "standard" for the published folds, or a JSON file (a relative path starts at the
            corpus's folder) of three lists of video ids: train, valid, test.
        label_columns: What the columns of the label file are, if it does not name them in words
            that are understood; the present official order if nothing says otherwise.
        label_tolerance: Sentiment and intensities that are out of range by no more than this count
            as the nearest in range, and are counted; others are refused.
        emotion_threshold: An emotion is present if its intensity (0 to 3) is above this.
        max_words: Longer segments keep their last words, as the CMU-MultimodalSDK's tensors do.
        max_frames: Steps of any modality that an unaligned segment may have. A longer one, or one
            of more than `max_words`, is cut at its front: at one time for all modalities.
        frames_per_second: Of unaligned frames, each the mean over time of what it spans.
    """

    alignment: Literal["word", "none"] = "word"
    arithmetic: Literal["in_step", "sdk"] = "in_step"
    incomplete: Literal["keep", "drop"] = "keep"
    folds: str = "standard"
    label_columns: LabelColumns | None = None
    label_tolerance: float = Field(default=0.0, ge=0, le=1)
    emotion_threshold: float = Field(default=0.0, ge=0, lt=HIGHEST_INTENSITY)
    max_words: PositiveInt = 60
    max_frames: PositiveInt = 500
    frames_per_second: FrameRates = FrameRates()

    @model_validator(mode="after")
    def _the_tool_aligns_to_words(self) -> Self:
        if self.arithmetic == "sdk" and self.alignment != "word":
            raise ValueError("arithmetic sdk goes with alignment word")
        return self


def read_csd(folder: Path, options: CsdOptions) -> CorpusSource:
    """Open the official files in `folder`, check them, and offer the samples of each fold.

    Samples are labelled segments of videos that are in all files and in a fold. With `WORDS` among
    the files, samples know their words. Videos are read while the samples are iterated over, one at
    a time. Files that the CMU-MultimodalSDK has aligned are read as well: their entries are joined
    by video; where all of them are cut into the labelled segments, as those are.

    Raises:
        InputError: Files are missing, damaged or of another width, share no video, name labels
            that are not known or are out of range; a fold is empty.
    """
    files = _check_present(folder)
    folds = _read_folds(folder, options.folds)
    labels = read_labels(
        LABELS.path(folder),
        options.label_columns,
        options.emotion_threshold,
        options.label_tolerance,
    )
    videos = _videos(folder, labels)
    kept = videos.left_by_the_tool if options.arithmetic == "sdk" else videos.shared
    splits: dict[Split, tuple[str, ...]] = {
        s: tuple(dict.fromkeys(v for v in folds[s] if v in kept)) for s in SPLITS
    }
    for split, members in splits.items():
        if not members:
            expected = "videos that are in every file"
            found = "none" if kept == videos.shared else f"none that the tool leaves: {_PURGE}"
            raise InputError(folder, f"fold {split}", expected, found)
    return CorpusSource(
        labels=EMOTIONS,
        features=_features(options),
        alignment=options.alignment,
        files=files,
        groups=splits,
        read=partial(_stream, folder, options, labels, videos.cut, splits),
        groups_per_task=_VIDEOS_PER_TASK,
        notes=(*_notes(folds, videos, splits, labels, options), *labels.notes),
    )


def _features(options: CsdOptions) -> dict[str, Features]:
    rates = options.frames_per_second.model_dump() if options.alignment == "none" else {}
    how = {m: f", {rate:g} steps per second" for m, rate in rates.items()}
    return {m: Features(name=EXTRACTORS[m] + how.get(m, ""), width=WIDTHS[m]) for m in MODALITIES}


def _notes(
    folds: dict[Split, list[str]],
    videos: _Videos,
    splits: dict[Split, tuple[str, ...]],
    labels: LabelFile,
    options: CsdOptions,
) -> Iterator[str]:
    named, shared = set().union(*folds.values()), videos.shared
    if shared != named:
        yield (
            f"{len(shared)} videos are in every file, of which {len(shared - named)} are in no "
            f"fold; {len(named - shared)} of the folds' {len(named)} are not"
        )
    if options.arithmetic == "sdk" and (purged := shared - videos.left_by_the_tool):
        yield f"{len(purged)} of these videos are left out by the tool: {_PURGE}"
    counts = (
        f"{split} {sum(len(labels.names[video]) for video in members)}"
        for split, members in splits.items()
    )
    if options.incomplete == "drop" or options.arithmetic == "sdk":
        lacking = "that lack a modality"
    else:
        lacking = "without a word" if options.alignment == "word" else "in which nothing is"
    yield f"labelled segments: {', '.join(counts)}; those {lacking} give no sample"


def _check_present(folder: Path) -> tuple[Path, ...]:
    """Paths of the files, that of words with them if it is there."""
    needed = (*FILES.values(), LABELS)
    if missing := [file.name for file in needed if not file.path(folder).is_file()]:
        expected = f"the {len(needed)} files {', '.join(file.name for file in needed)}"
        remedy = "The CMU-MultimodalSDK (CMU-MultiComp-Lab on GitHub) downloads them."
        raise InputError(folder, "", expected, f"no {', '.join(missing)}", remedy)
    paths = (file.path(folder) for file in (*needed, WORDS))
    return tuple(path for path in paths if path.is_file())


def _read_folds(folder: Path, folds: str) -> dict[Split, list[str]]:
    path = _STANDARD_FOLDS if folds == "standard" else folder / folds
    expected = "a JSON object of three lists of video ids: train, valid, test"
    if path.exists() and not path.is_file():
        raise InputError(path, "", expected, "no file")
    try:
        content = TypeAdapter(dict[str, list[str]]).validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(path, "", expected, error) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(path, place, expected, first["msg"]) from error
    # The SDK calls them standard_train_fold and so on.
    named = {re.sub("^standard_|_fold$", "", key): videos for key, videos in content.items()}
    if set(named) != set(SPLITS) or len(content) != len(SPLITS):
        raise InputError(path, "", expected, f"the keys {', '.join(content)}")
    return {split: named[split] for split in SPLITS}


class _Videos(NamedTuple):
    """Which videos there are.

    Attributes:
        shared: Those in every file.
        left_by_the_tool: Of them, those that the CMU-MultimodalSDK does not remove.
        cut: Whether all files are cut into the labelled segments.
    """

    shared: set[str]
    left_by_the_tool: set[str]
    cut: bool


def _videos(folder: Path, labels: LabelFile) -> _Videos:
    """Compare the files; one video that they share is read from each, to see that it fits."""
    with ExitStack() as opened:
        files = {f: VideoEntries(opened.enter_context(f.open(folder))) for f in FILES.values()}
        ids = [set(entries.of_video) for entries in files.values()]
        shared = set(labels.videos).intersection(*ids)
        if not shared:
            examples = {f.path(folder).name: list(e.of_video)[:2] for f, e in files.items()}
            examples[LABELS.name] = list(labels.videos)[:2]
            raise InputError(folder, "", "videos that are in every file", f"none: {examples}")
        for entries in files.values():
            entries.read(min(shared))
        # The tool aligns to the words before the labels come in.
        left = _unified(_unified(*ids), set(labels.videos))
        cut = labels.numbered and all(entries.numbered for entries in files.values())
        return _Videos(shared, left, cut)


def _unified(*ids: set[str]) -> set[str]:
    """What the tool leaves: it removes what is not everywhere, and all ids that begin with it."""
    shared = set.intersection(*ids)
    removed = set.union(*ids) - shared
    return {v for v in shared if not any(v[:end] in removed for end in range(len(v)))}


def _stream(
    folder: Path,
    options: CsdOptions,
    labels: LabelFile,
    cut: bool,
    splits: dict[Split, tuple[str, ...]],
    split: Split,
    groups: Collection[str],
) -> Iterator[Sample]:
    chosen = set(groups)
    with ExitStack() as opened:
        files = {m: VideoEntries(opened.enter_context(f.open(folder))) for m, f in FILES.items()}
        has_words = WORDS.path(folder).is_file()
        words = VideoEntries(opened.enter_context(WORDS.open(folder))) if has_words else None
        for video in (video for video in splits[split] if video in chosen):
            segments, names = labels.videos[video], labels.names[video]
            spoken = _spoken(words, video)
            if cut:
                found = _as_cut(files, segments, names, options)
            else:
                sequences: Sequences = {m: entries.read(video) for m, entries in files.items()}
                found = _aligned(sequences, segments.intervals, options)
            for number, steps in enumerate(_plausible(folder, video, found)):
                if steps is not None:
                    yield Sample(
                        sample_id=names[number],
                        group_id=video,
                        features=steps.features,
                        labels=segments.emotions[number],
                        start=float(segments.intervals[number, 0]),
                        end=float(segments.intervals[number, 1]),
                        words=None if spoken is None else _words_at(steps.times, spoken),
                    )


def _plausible(folder: Path, video: str, found: Iterator[Steps | None]) -> Iterator[Steps | None]:
    """What was found, unless the files' times keep it from being found."""
    try:
        yield from found
    except ImplausibleTimesError as error:
        raise InputError(folder, video, "intervals of a recording", error) from error


def _aligned(
    sequences: Sequences, segments: np.ndarray, options: CsdOptions
) -> Iterator[Steps | None]:
    drop = options.incomplete == "drop"
    if options.alignment == "none":
        rates = options.frames_per_second.model_dump()
        most = {"text": options.max_words} | dict.fromkeys(rates, options.max_frames)
        return frames_at_rates(sequences, segments, rates, most, drop=drop)
    if options.arithmetic == "sdk":
        return words_of_the_tool(sequences, segments, options.max_words)
    return words_in_step(sequences, segments, options.max_words, drop=drop)


def _as_cut(
    files: dict[str, VideoEntries], segments: SegmentLabels, names: list[str], options: CsdOptions
) -> Iterator[Steps | None]:
    """As `_aligned`, of files in which every segment is an entry of its own."""
    for name, interval in zip(names, segments.intervals, strict=True):
        sequences: Sequences = {m: file.read_if_there(name) for m, file in files.items()}
        for modality, (_, times) in sequences.items():
            if len(times) and not shares_time(interval, times).any():
                path, expected = files[modality].file.path, f"time in the segment, {interval}"
                raise InputError(path, name, expected, f"{times[0, 0]} to {times[-1, 1]}")
        if options.alignment == "none":
            yield from _aligned(sequences, interval[None], options)
        else:
            drop, tool = options.incomplete == "drop", options.arithmetic == "sdk"
            yield words_as_cut(sequences, options.max_words, drop=drop, tool=tool)


def _spoken(words: VideoEntries | None, video: str) -> dict[tuple[float, ...], bytes] | None:
    """What was said when; None if nothing of that is known."""
    if words is None or video not in words.of_video:
        return None
    texts, times = words.read(video)
    return dict(zip(_keys(times), texts[:, 0].tolist(), strict=True))


def _words_at(times: np.ndarray, spoken: dict[tuple[float, ...], bytes]) -> list[str]:
    """What was said in each interval; "" where no word has just that interval."""
    return [spoken.get(key, b"").decode(errors="replace") for key in _keys(times)]


def _keys(times: np.ndarray) -> list[tuple[float, ...]]:
    return [tuple(row) for row in np.round(times, 4).tolist()]
