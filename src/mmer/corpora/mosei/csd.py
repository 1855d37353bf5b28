"""CMU-MOSEI's official computational sequences as samples: labelled segments of videos."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import joblib
import numpy as np
from pydantic import Field, PositiveInt, TypeAdapter, ValidationError

from mmer.alignment.video import TimedFeatures, align_frames, align_words
from mmer.corpora.corpus import LEAVES_NO_TRACE, CorpusSource
from mmer.corpora.mosei.features import EXTRACTORS, MODALITIES, WIDTHS
from mmer.corpora.mosei.labels import (
    EMOTIONS,
    HIGHEST_INTENSITY,
    LABEL_COLUMNS,
    LabelColumns,
    SegmentLabels,
    read_segment_labels,
)
from mmer.errors import InputError
from mmer.formats.csd import ComputationalSequence
from mmer.samples.table import SPLITS, Features, Sample, Split
from mmer.schema import Settings

_STANDARD_FOLDS = Path(__file__).with_name("standard_folds.json")
_VIDEOS_PER_TASK = 16
_TASKS_PER_PROCESS = 2

_log = logging.getLogger(__name__)


class SequenceFile(NamedTuple):
    """One of the corpus's official files: its name, its one HDF5 group, the width of its rows."""

    name: str
    root_name: str
    width: int | None  # None where the rows are words

    def path(self, folder: Path) -> Path:
        return folder / self.name

    def open(self, folder: Path) -> ComputationalSequence:
        return ComputationalSequence(self.path(folder), self.width)


FILES = {
    "text": SequenceFile("CMU_MOSEI_TimestampedWordVectors.csd", "glove_vectors", WIDTHS["text"]),
    "visual": SequenceFile("CMU_MOSEI_VisualFacet42.csd", "FACET 4.2", WIDTHS["visual"]),
    "audio": SequenceFile("CMU_MOSEI_COVAREP.csd", "COVAREP", WIDTHS["audio"]),
}
LABELS = SequenceFile("CMU_MOSEI_Labels.csd", "All Labels", len(LABEL_COLUMNS))
WORDS = SequenceFile("CMU_MOSEI_TimestampedWords.csd", "words", None)


class CsdOptions(Settings):
    """How the official files become samples.

    Attributes:
        alignment: "word" averages FACET and COVAREP onto the words; "none" keeps their frames.
        folds: "standard" for the published folds, or a JSON file (a relative path starts at the
            corpus's folder) of three lists of video ids: train, valid, test.
        label_columns: What the columns of the label file are, where it does not name them.
        emotion_threshold: An emotion is present if its intensity (0 to 3) is above this.
        max_words: Longer segments keep their last words, as the CMU-MultimodalSDK's tensors do.
        max_frames: Where an unaligned segment has more frames, every second, third, .. is kept.
        n_jobs: Processes; -1 for as many as there are cores. The samples do not depend on it.
    """

    alignment: Literal["word", "none"] = "word"
    folds: str = "standard"
    label_columns: LabelColumns = LABEL_COLUMNS
    emotion_threshold: float = Field(default=0.0, ge=0, lt=HIGHEST_INTENSITY)
    max_words: PositiveInt = 60
    max_frames: PositiveInt = 500
    n_jobs: Annotated[PositiveInt | Literal[-1], LEAVES_NO_TRACE] = 1


def read_csd(folder: Path, options: CsdOptions) -> CorpusSource:
    """Open the official files in `folder`, check them, and offer the samples of each fold.

    Samples are the segments in which every modality has something, of videos that are in all files
    and in a fold. With `WORDS` among the files, samples know their words. Videos are read while the
    samples are iterated over; those of some 30 videos per process are in memory at a time.

    Raises:
        InputError: Files are missing, damaged or of another width, share no video, name labels
            that are not known or are out of range; a fold is empty.
    """
    files = _check_present(folder)
    folds = _read_folds(folder, options.folds)
    labels = read_segment_labels(
        LABELS.path(folder), options.label_columns, options.emotion_threshold
    )
    shared = _shared_videos(folder, labels)
    splits: dict[Split, dict[str, SegmentLabels]] = {
        s: {v: labels[v] for v in folds[s] if v in shared} for s in SPLITS
    }
    for split, videos in splits.items():
        if not videos:
            raise InputError(folder, f"fold {split}", "videos that are in every file", "none")
    named = set().union(*folds.values())
    note = (
        f"{len(shared)} videos are in every file, of which {len(shared - named)} are in no fold; "
        f"{len(named - shared)} of the folds' {len(named)} are not"
    )
    return CorpusSource(
        labels=EMOTIONS,
        features={m: Features(name=EXTRACTORS[m], width=WIDTHS[m]) for m in MODALITIES},
        alignment=options.alignment,
        files=files,
        groups={split: tuple(videos) for split, videos in splits.items()},
        read=lambda split: _stream(folder, options, split, splits[split]),
        notes=(note,) if shared != named else (),
    )


def _check_present(folder: Path) -> tuple[Path, ...]:
    """Paths of the files, that of words with them if it is there."""
    needed = [file.name for file in (*FILES.values(), LABELS)]
    if missing := [name for name in needed if not (folder / name).is_file()]:
        expected = f"the {len(needed)} files {', '.join(needed)}"
        remedy = "The CMU-MultimodalSDK (CMU-MultiComp-Lab on GitHub) downloads them."
        raise InputError(folder, "", expected, f"no {', '.join(missing)}", remedy)
    return tuple(folder / n for n in (*needed, WORDS.name) if (folder / n).is_file())


def _read_folds(folder: Path, folds: str) -> dict[Split, list[str]]:
    path = _STANDARD_FOLDS if folds == "standard" else folder / folds
    expected = "a JSON object of three lists of video ids: train, valid, test"
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
    if set(named) != set(SPLITS):
        raise InputError(path, "", expected, f"the keys {', '.join(named)}")
    return {split: named[split] for split in SPLITS}


def _shared_videos(folder: Path, labels: dict[str, SegmentLabels]) -> set[str]:
    """Videos that are in every file; one of them is read from each, to see that it fits."""
    with ExitStack() as opened:
        files = [opened.enter_context(file.open(folder)) for file in FILES.values()]
        shared = set(labels).intersection(*(file.ids for file in files))
        if not shared:
            examples = {file.path.name: file.ids[:2] for file in files}
            examples[LABELS.name] = list(labels)[:2]
            raise InputError(folder, "", "videos that are in every file", f"none: {examples}")
        for file in files:
            file.read(min(shared))
    return shared


def _stream(
    folder: Path, options: CsdOptions, split: Split, videos: dict[str, SegmentLabels]
) -> Iterator[Sample]:
    """Samples of the videos in their order; no more than a few tasks' worth are in memory."""
    items, step = list(videos.items()), _VIDEOS_PER_TASK
    window = _TASKS_PER_PROCESS * joblib.effective_n_jobs(options.n_jobs)
    tasks = [dict(items[at : at + step]) for at in range(0, len(items), step)]
    left_out, read = sum(len(labels.intervals) for labels in videos.values()), joblib.delayed(_read)
    with joblib.Parallel(n_jobs=options.n_jobs) as parallel:
        for at in range(0, len(tasks), window):
            for samples in parallel(read(folder, options, t) for t in tasks[at : at + window]):
                left_out -= len(samples)
                yield from samples
    if left_out:
        _log.info("CMU-MOSEI %s: %d segments lack a modality: left out", split, left_out)


def _read(folder: Path, options: CsdOptions, videos: dict[str, SegmentLabels]) -> list[Sample]:
    """Samples of some videos, in another process if need be."""
    with ExitStack() as opened:
        files = {m: opened.enter_context(file.open(folder)) for m, file in FILES.items()}
        has_words = WORDS.path(folder).is_file()
        words = opened.enter_context(WORDS.open(folder)) if has_words else None
        return [
            sample
            for video, labels in videos.items()
            for sample in _samples(video, labels, files, words, options)
        ]


def _samples(
    video: str,
    labels: SegmentLabels,
    files: dict[str, ComputationalSequence],
    words: ComputationalSequence | None,
    options: CsdOptions,
) -> Iterator[Sample]:
    sequences: dict[str, TimedFeatures] = {m: file.read(video) for m, file in files.items()}
    in_step = options.alignment == "word"
    aligned = (
        align_words(sequences, labels.intervals, reference="text")
        if in_step
        else align_frames(sequences, labels.intervals)
    )
    spoken = _spoken(words, video, sequences["text"][1][aligned.words])
    for number, (start, end) in enumerate(labels.intervals.tolist()):
        rows = aligned.segment(number, in_step)
        if rows is None:
            continue
        for modality, chosen in rows.items():
            if in_step or modality == "text":
                rows[modality] = chosen[-options.max_words :]
            else:
                rows[modality] = chosen[:: -(-len(chosen) // options.max_frames)]
        yield Sample(
            sample_id=f"{video}[{number}]",
            group_id=video,
            features={m: aligned.features[m][chosen] for m, chosen in rows.items()},
            labels=labels.emotions[number],
            start=start,
            end=end,
            words=None if spoken is None else [spoken[row] for row in rows["text"]],
        )


def _spoken(
    words: ComputationalSequence | None, video: str, intervals: np.ndarray
) -> list[str] | None:
    """What was said in each interval; "" where no word has just that interval."""
    if words is None or video not in words:
        return None
    texts, times = words.read(video)
    keys, sought = (map(tuple, np.round(t, 4).tolist()) for t in (times, intervals))
    spoken = dict(zip(keys, texts[:, 0].tolist(), strict=True))
    return [spoken.get(key, b"").decode(errors="replace") for key in sought]
