"""Labels of CMU-MOSEI: sentiment and six emotions for each segment of a video."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

import numpy as np
from pydantic import AfterValidator

from mmer.corpora.mosei.entries import VideoEntries
from mmer.errors import InputError
from mmer.formats.csd import ComputationalSequence

Emotion = Literal["happy", "sad", "anger", "surprise", "disgust", "fear"]
EMOTIONS: tuple[Emotion, ...] = get_args(Emotion)
LABEL_COLUMNS = ("sentiment", *EMOTIONS)
HIGHEST_INTENSITY = 3.0
_KNOWN = {name: name for name in LABEL_COLUMNS} | {
    "happiness": "happy",
    "sadness": "sad",
    "angry": "anger",
    "surprised": "surprise",
    "disgusted": "disgust",
    "fearful": "fear",
}
_LOWEST = np.array([-HIGHEST_INTENSITY] + [0.0] * len(EMOTIONS))
_IN_ANY_ORDER = f"these, in any order: {', '.join(LABEL_COLUMNS)}"


class SegmentLabels(NamedTuple):
    """The S labelled segments of one video, in the file's order, which is not that of time.

    Attributes:
        intervals: (S, 2) start and end in seconds.
        sentiment: (S,) from -3 to 3.
        emotions: (S, 6) uint8, 1 where the emotion is present.
    """

    intervals: np.ndarray
    sentiment: np.ndarray
    emotions: np.ndarray


class LabelFile(NamedTuple):
    """What the label file holds.

    Attributes:
        videos: Video -> its segments.
        names: Video -> the name of each of its segments, `video[3]`.
        numbered: Whether every segment is an entry of its own, as the corpus's tool leaves them.
        notes: What a user should know of it; see `CorpusSource`.
    """

    videos: dict[str, SegmentLabels]
    names: dict[str, list[str]]
    numbered: bool
    notes: tuple[str, ...] = ()


def read_labels(
    path: Path,
    columns: tuple[str, ...] | None = None,
    threshold: float = 0.0,
    tolerance: float = 0.0,
) -> LabelFile:
    """Labelled segments of each video, from the corpus's label file; see `CsdOptions`.

    Args:
        path: The file.
        columns: What its columns are, for a file that does not say so in words that are understood.
        threshold: An emotion is present if its intensity is above this.
        tolerance: Values that are out of range by no more than this count as the nearest in range.

    Raises:
        InputError: The file is damaged, names other labels, or holds intensities out of range.
    """
    with ComputationalSequence(path, len(LABEL_COLUMNS)) as file:
        order, notes = _column_order(file, columns)
        entries, clamped = VideoEntries(file), 0
        videos, names = {}, {}
        for video, keys in entries.of_video.items():
            values, intervals, names[video] = _segments(file, video, keys)
            values = values[:, order]
            inside = in_range(path, names[video], values, tolerance)
            clamped += int((values != inside).sum())
            present = (inside[:, 1:] > threshold).astype(np.uint8)
            videos[video] = SegmentLabels(intervals, inside[:, 0], present)
        if clamped:
            how = f"out of range by at most {tolerance:g} (label_tolerance) were clamped to it"
            notes.append(f"{path.name}: {clamped} values {how}")
        return LabelFile(videos, names, entries.numbered, tuple(notes))


def _segments(
    file: ComputationalSequence, video: str, keys: list[str]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Values (S, 7), intervals (S, 2) and names of a video's segments, in the file's order."""
    parts = [file.read(key) for key in keys]
    names = keys
    if keys == [video]:
        names = [f"{video}[{number}]" for number in range(len(parts[0].intervals))]
    for key, part in zip(names, parts, strict=False):
        if keys != [video] and len(part.intervals) != 1:
            raise InputError(file.path, key, "one row, the segment's", len(part.intervals))
    values, intervals = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return values, intervals, names


def in_range(path: Path, names: list[str], values: np.ndarray, tolerance: float) -> np.ndarray:
    """Labels (S, 7) in the order of LABEL_COLUMNS, clamped to what they can be.

    Args:
        path: Their file, for messages.
        names: Of the segments.
        values: (S, 7) as they stand in the file.
        tolerance: How far out of range a value may be.

    Raises:
        InputError: One is further out of range, or no number.
    """
    inside = values.clip(_LOWEST, HIGHEST_INTENSITY).astype(values.dtype)
    # A comparison with NaN is false, so NaN is refused with the rest.
    valid = np.abs(values - inside) <= tolerance
    if not valid.all():
        row, column = np.argwhere(~valid)[0].tolist()
        low = f"{_LOWEST[column]:g} to {HIGHEST_INTENSITY:g}"
        beyond = f", or up to {tolerance:g} beyond (label_tolerance)" if tolerance else ""
        raise InputError(
            path,
            f"segment {names[row]}",
            f"{LABEL_COLUMNS[column]} from {low}{beyond}",
            f"{values[row, column]:g}",
            "label_tolerance says how far out of range a value may be to be clamped to it.",
        )
    return inside


# Letters, and what stands between them and around them in a list.
_LIST_OF_NAMES = re.compile(r"""(?:[^\W\d_]|[\s,;'"()\[\]])*""")


def _known_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    if sorted(columns) != sorted(LABEL_COLUMNS):
        raise ValueError(f"expected {_IN_ANY_ORDER}")
    return columns


LabelColumns = Annotated[tuple[str, ...], AfterValidator(_known_columns)]
"""What the columns of the label file are."""


def _column_order(
    file: ComputationalSequence, given: tuple[str, ...] | None
) -> tuple[list[int], list[str]]:
    """Where each of LABEL_COLUMNS stands in the file; notes on how that was found out.

    What the file states in words that are understood holds, and must not contradict what is
    given. What is not understood is refused, unless the order is given.
    """
    key = "metadata/dimension names"
    stated = file.metadata("dimension names")
    found = _names(stated)
    understood = sorted(found) == sorted(LABEL_COLUMNS)
    if understood and given not in (None, tuple(found)):
        remedy = "Without label_columns the file's own names hold."
        raise InputError(
            file.path, key, f"{', '.join(given or ())} (label_columns)", stated, remedy
        )
    if not understood and given is None and stated:
        remedy = "If you know what the columns are, say so in label_columns."
        raise InputError(file.path, key, f"names of the columns: {_IN_ANY_ORDER}", stated, remedy)
    columns = tuple(found) if understood else given or LABEL_COLUMNS
    notes = []
    if not understood:
        how = "as label_columns says" if given else "as is usual"
        notes.append(f"{file.path.name} does not name its columns; {how}: {', '.join(columns)}")
    return [columns.index(name) for name in LABEL_COLUMNS], notes


def _names(stated: str | list[str] | None) -> list[str]:
    """The columns' names as far as they are understood, in lower case, in the file's order.

    A list of texts is one of names. A text is taken apart into words: a list as some program
    printed it, or names between commas or spaces. Where there is anything else (numbers, colons, a
    mapping), words in the order of the text need not be columns in their order: none is understood.
    """
    if stated is None:
        return []
    if isinstance(stated, list) and len(stated) > 1:
        words = [name.strip().lower() for name in stated]
    else:
        text = stated if isinstance(stated, str) else "".join(stated)
        text = re.sub(r"\b[bu](?=['\"])", "", text.lower())
        if not _LIST_OF_NAMES.fullmatch(text):
            return []
        words = re.findall(r"[^\W\d_]+", text)
    return [_KNOWN.get(word, word) for word in words]
