"""The CMU-MultimodalSDK's alignment written out, with the work that it does in memory.

Its recipe is `align` to the words with an average, `impute` with zeros, `align` to the labelled
segments without one and `hard_unify`. It takes one reference interval after the other, compares it
with copies of all intervals that the other sequences have in that video, and keeps what it finds in
dictionaries under `video[row]`, which the next `align` gathers and sorts again in plain Python.

The SDK does more that is not here: it reads each reference interval and its features from HDF5 when
their turn comes, checks and copies metadata, and draws progress bars.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_EPSILON = 1e-5

Sequence = tuple[np.ndarray, np.ndarray]
"""Features (N, D) and intervals (N, 2) in seconds."""
Dataset = dict[str, dict[str, Sequence]]
"""Name of a sequence -> video, or `video[row]` once aligned -> its entry."""


def align(sequences: Dataset, labels: dict[str, Sequence], reference: str) -> Dataset:
    """For each labelled segment `video[row]` that every sequence has: features and intervals.

    Args:
        sequences: The modalities.
        labels: Video -> labels and segments.
        reference: The modality whose rows are the words.
    """
    words = _align_to(reference, sequences, _mean)
    _impute(words, reference)
    aligned = _align_to("labels", {**words, "labels": labels}, None)
    shared = set.intersection(*(set(entries) for entries in aligned.values()))
    return {
        name: {key: entry for key, entry in entries.items() if key in shared}
        for name, entries in aligned.items()
    }


def _mean(intervals: np.ndarray, features: np.ndarray) -> np.ndarray:
    return np.average(features, axis=0)


def _align_to(
    reference: str, sequences: Dataset, collapse: Callable[..., np.ndarray] | None
) -> Dataset:
    """Every sequence's rows within each interval of the reference, collapsed if a way is given."""
    sequences = _shared_videos(sequences)
    merged = {m: _merged(entries) for m, entries in sequences.items() if m != reference}
    aligned: Dataset = {name: {} for name in sequences}
    for video, (ref_features, ref_intervals) in sequences[reference].items():
        for row in range(len(ref_intervals)):
            interval = ref_intervals[row]
            if abs(interval[0] - interval[1]) < _EPSILON:
                continue
            for name in sequences:
                if name == reference:
                    features, times = ref_features[row][None, :], interval[None, :]
                else:
                    features, times = _within(interval, *merged[name][video])
                if not len(times):
                    continue
                if collapse:
                    features = np.concatenate([collapse(times, features)], axis=0)[None, :]
                    times = np.array([[times.min(), times.max()]])
                aligned[name][f"{video}[{row}]"] = features, times
    return aligned


def _shared_videos(sequences: Dataset) -> Dataset:
    videos = [{key.split("[")[0] for key in entries} for entries in sequences.values()]
    shared = set.intersection(*videos)
    return {
        name: {key: entry for key, entry in entries.items() if key.split("[")[0] in shared}
        for name, entries in sequences.items()
    }


def _merged(entries: dict[str, Sequence]) -> dict[str, Sequence]:
    """Each video's entries as one, its rows in order of their start."""
    gathered: dict[str, list[Sequence]] = {}
    for key, entry in entries.items():
        gathered.setdefault(key.split("[")[0], []).append(entry)
    merged = {}
    for video, parts in gathered.items():
        features, intervals = (
            np.concatenate(arrays, axis=0) for arrays in zip(*parts, strict=True)
        )
        order = sorted(range(len(intervals)), key=lambda row: intervals[row, 0])
        merged[video] = features[order, :], intervals[order, :]
    return merged


def _within(interval: np.ndarray, features: np.ndarray, intervals: np.ndarray) -> Sequence:
    """Rows that overlap the interval, and their own intervals cut to it."""
    first, last = interval
    # Starts are negated so that one comparison serves both sides.
    limits = np.array([first, -last])[::-1]
    negated = intervals.copy()
    negated[:, 0] = -negated[:, 0]
    touching = np.all((negated - limits) > -_EPSILON, axis=1)
    starts, ends = intervals[touching, :].T
    cut = np.concatenate(
        [np.maximum(starts, first)[:, None], np.minimum(ends, last)[:, None]], axis=1
    )
    long_enough = np.where(abs(cut[:, 0] - cut[:, 1]) > _EPSILON)
    return features[touching, :][long_enough], cut[long_enough]


def _impute(words: Dataset, reference: str) -> None:
    """Zeros behind the other entries of each sequence for the words of which it has nothing."""
    others = [name for name in words if name != reference]
    widths = {name: next(iter(words[name].values()))[0].shape[1] for name in others}
    for key, (_, times) in words[reference].items():
        for name in others:
            if key not in words[name]:
                words[name][key] = np.zeros((len(times), widths[name])), times
