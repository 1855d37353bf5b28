"""Labels of CMU-MOSEI: sentiment and six emotions for each segment of a video."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, get_args

import numpy as np
from pydantic import AfterValidator

from mmer.errors import InputError
from mmer.formats.csd import ComputationalSequence

Emotion = Literal["happy", "sad", "anger", "surprise", "disgust", "fear"]
EMOTIONS: tuple[Emotion, ...] = get_args(Emotion)
LABEL_COLUMNS = ("sentiment", *EMOTIONS)
HIGHEST_INTENSITY = 3.0
_COLUMNS_IN_ANY_ORDER = f"these, in any order: {', '.join(LABEL_COLUMNS)}"


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


def read_segment_labels(
    path: Path, columns: tuple[str, ...] = LABEL_COLUMNS, threshold: float = 0.0
) -> dict[str, SegmentLabels]:
    """Labelled segments of each video, from the corpus's label file; see `CsdOptions`.

    Raises:
        InputError: The file is damaged, names other labels, or holds intensities out of range.
    """
    with ComputationalSequence(path, len(LABEL_COLUMNS)) as file:
        columns = _stated_columns(file) or columns
        emotions = [columns.index(emotion) for emotion in EMOTIONS]
        labels = {}
        for video in file.ids:
            values, intervals = file.read(video)
            intensities, sentiment = values[:, emotions], values[:, columns.index("sentiment")]
            # A comparison with NaN is false, so NaN is refused with the rest.
            valid = (intensities >= 0) & (intensities <= HIGHEST_INTENSITY)
            valid &= np.abs(sentiment)[:, None] <= HIGHEST_INTENSITY
            if not valid.all():
                row = int(np.argmin(valid.all(axis=1)))
                raise InputError(
                    path,
                    f"{video}, segment {row}",
                    f"sentiment from -3 to 3 and emotions from 0 to 3 in the columns {columns}",
                    values[row],
                    "If the columns stand in another order, say so in label_columns.",
                )
            present = (intensities > threshold).astype(np.uint8)
            labels[video] = SegmentLabels(intervals, sentiment, present)
    return labels


def _known_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    if sorted(columns) != sorted(LABEL_COLUMNS):
        raise ValueError(f"expected {_COLUMNS_IN_ANY_ORDER}")
    return columns


LabelColumns = Annotated[tuple[str, ...], AfterValidator(_known_columns)]
"""What the columns of the label file are, where it does not name them."""


def _stated_columns(file: ComputationalSequence) -> tuple[str, ...] | None:
    """The label file's own names for its columns; None if it has none."""
    stated = file.metadata("dimension names")
    if isinstance(stated, str):  # older files hold the list as it was printed, or a mere remark
        found = re.findall("|".join(LABEL_COLUMNS), stated.lower())
        stated = found if set(found) & set(EMOTIONS) else []
    if not stated:
        return None
    columns = tuple(name.strip().lower() for name in stated)
    if sorted(columns) != sorted(LABEL_COLUMNS):
        raise InputError(file.path, "metadata/dimension names", _COLUMNS_IN_ANY_ORDER, columns)
    return columns
