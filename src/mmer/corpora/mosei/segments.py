"""What one labelled segment holds of each modality, from a stretch of a video's sequences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mmer.alignment.intervals import overlapping, shares_time
from mmer.alignment.video import TimedFeatures, align_frames, align_words, average

_WORDS = "text"
Sequences = dict[str, TimedFeatures]


class Steps(NamedTuple):
    """One segment's steps.

    Attributes:
        features: Modality -> (T_m, D_m), None where it has nothing.
        times: (T, 2) start and end of each step of the words; NaN where a step stands for none.
    """

    features: dict[str, np.ndarray | None]
    times: np.ndarray


def words_in_step(
    sequences: Sequences, segments: np.ndarray, most: int, *, drop: bool
) -> Iterator[Steps | None]:
    """For each segment its last words, and of every other modality its mean over each of them.

    None where there is no word, or, if `drop`, where the CMU-MultimodalSDK finds a modality to be
    missing. A modality of which no row overlaps any of the words has nothing there.

    Args:
        sequences: Modality -> features (N, D) and intervals (N, 2) in seconds.
        segments: (S, 2) start and end in seconds.
        most: Words.
    """
    aligned = align_words(sequences, segments, reference=_WORDS)
    words = sequences[_WORDS][1][aligned.words]
    placed = aligned.rows(_WORDS)
    for number in range(len(segments)):
        rows = placed.of(number)[-most:]
        if not len(rows) or (drop and aligned.segment(number, in_step=True) is None):
            yield None
            continue
        times = words[rows]
        features = {
            modality: _unless_missing(values[rows], times, sequences[modality][1])
            for modality, values in aligned.features.items()
        }
        yield Steps(features, times)


def words_of_the_tool(
    sequences: Sequences, segments: np.ndarray, most: int
) -> Iterator[Steps | None]:
    """For each segment what the SDK's tensors hold, without the zeros that all have in common.

    The tool pads every modality in front by itself, so that one that lost words has zeros before
    its first. None where it finds a modality to be missing. Arguments as of `words_in_step`.
    """
    aligned = align_words(sequences, segments, reference=_WORDS)
    words = sequences[_WORDS][1][aligned.words]
    for number in range(len(segments)):
        rows = aligned.segment(number, in_step=False)
        if rows is None:
            yield None
        else:
            parts = {m: values[rows[m]] for m, values in aligned.features.items()}
            yield _padded_in_front(parts, words[rows[_WORDS]], most)


def words_as_cut(sequences: Sequences, most: int, *, drop: bool, tool: bool) -> Steps | None:
    """A segment that the SDK has cut out, its rows as they are.

    Where `tool`, as the tool's tensors hold them. Elsewhere rows that do not stand one to a word,
    which the tool leaves where it was told not to average, are averaged onto the words.
    """
    times = sequences[_WORDS][1]
    lengths = [len(values) for values, _ in sequences.values()]
    if not len(times) or (not all(lengths) and (drop or tool)):
        return None
    if tool:
        return _padded_in_front({m: values for m, (values, _) in sequences.items()}, times, most)
    features: dict[str, np.ndarray | None] = {}
    for modality, (values, intervals) in sequences.items():
        if len(values) == len(times) and shares_time(times, intervals).all():
            features[modality] = values[-most:]
        else:
            means = average(values, overlapping(times[-most:], intervals))
            features[modality] = _unless_missing(means, times[-most:], intervals)
    return Steps(features, times[-most:])


def frames_at_rates(
    sequences: Sequences,
    segments: np.ndarray,
    rates: dict[str, float],
    most: dict[str, int],
    *,
    drop: bool,
) -> Iterator[Steps | None]:
    """For each segment its words, and of every other modality steps of a fixed rate.

    A segment that is too long is cut at its front, at one time for all modalities: the earliest
    that leaves none of them more steps than it may have. None where there is nothing, or, if
    `drop`, where a modality has nothing.

    Args:
        sequences: Modality -> features (N, D) and intervals (N, 2) in seconds.
        segments: (S, 2) start and end in seconds.
        rates: Modality -> steps per second, of all but the words.
        most: Modality -> steps.
    """
    times = sequences[_WORDS][1]
    begins = segments[:, 1] - min(most[m] / rate for m, rate in rates.items())
    words = overlapping(segments, times)
    for number, end in enumerate(segments[:, 1]):
        if len(spoken := words.of(number)) > most[_WORDS]:
            first = times[spoken[-most[_WORDS]]].min()
            begins[number] = max(begins[number], min(first, end))
    stretches = np.stack([np.maximum(begins, segments[:, 0]), segments[:, 1]], axis=1)
    aligned = align_frames(sequences, stretches, rates)
    for number in range(len(segments)):
        rows = {m: aligned.rows(m).of(number)[-most[m] :] for m in sequences}
        present = [len(chosen) > 0 for chosen in rows.values()]
        if not (all(present) if drop else any(present)):
            yield None
            continue
        features = {m: aligned.features[m][rows[m]] if len(rows[m]) else None for m in sequences}
        yield Steps(features, times[rows[_WORDS]])


def _unless_missing(
    rows: np.ndarray, words: np.ndarray, intervals: np.ndarray
) -> np.ndarray | None:
    """Rows averaged onto words; None if nothing was there to be averaged."""
    if rows.any() or len(overlapping(words, intervals).rows):
        return rows
    return None


def _padded_in_front(parts: dict[str, np.ndarray], times: np.ndarray, most: int) -> Steps:
    longest = min(most, max(map(len, parts.values())))

    def padded(rows: np.ndarray, filler: float) -> np.ndarray:
        rows = rows[-longest:]
        return np.pad(rows, ((longest - len(rows), 0), (0, 0)), constant_values=filler)

    return Steps({m: padded(rows, 0) for m, rows in parts.items()}, padded(times, np.nan))
