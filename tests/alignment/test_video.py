"""Alignment of one video, against the CMU-MultimodalSDK's numbers and its rules in plain loops."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from mmer.alignment.intervals import TOLERANCE
from mmer.alignment.video import align_frames, align_words
from mmer.formats.csd import ComputationalSequence, Entry

_OWN_COPY = Path(__file__).parents[1] / "golden" / "alignment"
_PLAIN = Path(__file__).parents[2] / "benchmarks" / "plain_alignment.py"
GOLDEN = Path(os.environ.get("ALIGNMENT_GOLDEN_DIR", _OWN_COPY))
FILES = {
    "text": "features/words.csd",
    "visual": "features/facet.csd",
    "audio": "features/covarep.csd",
    "labels": "labels/labels.csd",
}


@pytest.fixture(scope="module")
def golden() -> dict[str, dict[str, np.ndarray]]:
    """Segment -> what the SDK gives for it."""
    segments: dict[str, dict[str, np.ndarray]] = {}
    for key, value in load_file(GOLDEN / "expected.safetensors").items():
        segment, part = key.rsplit(".", 1)
        segments.setdefault(segment, {})[part] = value
    return segments


@pytest.fixture(scope="module")
def videos(golden) -> dict[str, dict[str, Entry]]:
    """Part -> video -> features and intervals, as in the golden folder's files."""
    widths = {part: values.shape[1] for part, values in next(iter(golden.values())).items()}
    entries = {}
    for part, name in FILES.items():
        with ComputationalSequence(GOLDEN / name, widths[part]) as file:
            entries[part] = {video: file.read(video) for video in file.ids}
    return entries


def test_gives_what_the_sdk_gives(golden, videos):
    # The SDK removes a video that is not in every file together with all whose ids begin with its.
    everywhere = set.intersection(*(set(entries) for entries in videos.values()))
    removed = tuple(set.union(*(set(entries) for entries in videos.values())) - everywhere)
    compared = 0
    for video in sorted(everywhere):
        values, segments = videos["labels"][video]
        sequences = {m: videos[m][video] for m in ("text", "visual", "audio")}
        aligned = align_words(sequences, segments, reference="text")
        spans = np.sort(sequences["text"].intervals[aligned.words], axis=1)
        for number, segment in enumerate(segments):
            rows = aligned.segment(number, in_step=False)
            expected = golden.get(f"{video}[{number}]")
            if rows is None or video.startswith(removed):
                assert expected is None
                continue
            found = {m: aligned.features[m][rows[m]] for m in rows}
            found["labels"] = values[number : number + 1]
            found["intervals"] = spans[rows["text"]].clip(*segment)
            for part, value in found.items():
                np.testing.assert_allclose(value, expected[part], rtol=1e-6, atol=1e-7)
            compared += 1
    assert compared == len(golden)


def test_the_version_that_ours_is_timed_against_gives_what_the_sdk_gives(golden, videos):
    plain = runpy.run_path(str(_PLAIN))["align"]
    sequences = {m: videos[m] for m in ("text", "visual", "audio")}
    aligned = plain(sequences, videos["labels"], "text")
    assert set(aligned["labels"]) == set(golden)
    for segment, expected in golden.items():
        for part, entries in aligned.items():
            np.testing.assert_array_equal(entries[segment][0], expected[part])


def test_modalities_in_step_are_the_sdks_wherever_it_keeps_them_in_step(golden, videos):
    in_step = 0
    for video in {segment.rsplit("[", 1)[0] for segment in golden}:
        sequences = {m: videos[m][video] for m in ("text", "visual", "audio")}
        aligned = align_words(sequences, videos["labels"][video].intervals, reference="text")
        for number in range(len(videos["labels"][video].intervals)):
            rows = aligned.segment(number, in_step=True)
            theirs = aligned.segment(number, in_step=False)
            assert (rows is None) == (theirs is None)
            if rows is not None and all(map(np.array_equal, theirs.values(), [rows["text"]] * 3)):
                assert all(map(np.array_equal, theirs.values(), rows.values()))
                in_step += 1
    assert in_step > 0


def _overlapping(first: float, last: float, intervals: np.ndarray) -> list[tuple[int, list[float]]]:
    """Rows that overlap, in order of start, with their intervals cut to what is shared."""
    found = []
    for row in sorted(range(len(intervals)), key=lambda row: intervals[row, 0]):
        start, end = intervals[row]
        shared = [max(start, first), min(end, last)]
        touches = end - first > -TOLERANCE and last - start > -TOLERANCE
        if touches and abs(shared[0] - shared[1]) > TOLERANCE:
            found.append((row, shared))
    return found


def _sdk(sequences: dict[str, Entry], segments: np.ndarray) -> list[dict[str, np.ndarray] | None]:
    """Average onto words, impute zeros, align to segments, keep those that all modalities have."""
    rows: dict[str, list[tuple[np.ndarray, list[float]]]] = {m: [] for m in sequences}
    imputed: dict[str, list[tuple[np.ndarray, list[float]]]] = {m: [] for m in sequences}
    text, words = sequences["text"]
    for number, (first, last) in enumerate(words):
        if abs(last - first) < TOLERANCE:
            continue
        span = sorted((first, last))
        rows["text"].append((text[number], span))
        for modality in ("visual", "audio"):
            features, frames = sequences[modality]
            if found := _overlapping(first, last, frames):
                times = [time for _, shared in found for time in shared]
                mean = np.average(features[[row for row, _ in found]], axis=0)
                rows[modality].append((mean, [min(times), max(times)]))
            else:
                imputed[modality].append((np.zeros(features.shape[1]), span))
    results: list[dict[str, np.ndarray] | None] = []
    for first, last in segments:
        segment = {}
        for modality in sequences:
            there = rows[modality] + imputed[modality]
            spans = np.array([span for _, span in there]).reshape(-1, 2)
            long_enough = abs(last - first) >= TOLERANCE
            if found := _overlapping(first, last, spans) if long_enough else []:
                segment[modality] = np.stack([there[row][0] for row, _ in found])
        results.append(segment if len(segment) == len(sequences) else None)
    return results


_times = st.integers(0, 24).map(lambda step: step * 0.25)
_pairs = st.lists(st.tuples(_times, _times), max_size=12)
_forward = _pairs.map(lambda pairs: [tuple(sorted(pair)) for pair in pairs])
_frame_rows = st.sets(st.integers(0, 24), max_size=24).map(
    lambda steps: [(step * 0.25, step * 0.25 + 0.25) for step in sorted(steps)]
)


def _entry(pairs: list[tuple[float, float]], width: int, seed: int) -> Entry:
    features = np.random.default_rng(seed).normal(size=(len(pairs), width)).astype(np.float32)
    return Entry(features, np.array(pairs, float).reshape(-1, 2))


@settings(max_examples=200, deadline=None)
@given(
    words=_forward | _pairs,
    visual=_frame_rows | _pairs,
    audio=_frame_rows | _forward,
    segments=_forward | _pairs,
    seed=st.integers(0, 9),
)
def test_equals_the_sdk_written_as_loops(words, visual, audio, segments, seed):
    sequences = {
        "text": _entry(words, 3, seed),
        "visual": _entry(visual, 2, seed + 1),
        "audio": _entry(audio, 4, seed + 2),
    }
    times = np.array(segments, float).reshape(-1, 2)
    aligned = align_words(sequences, times, reference="text")
    for number, expected in enumerate(_sdk(sequences, times)):
        rows = aligned.segment(number, in_step=False)
        assert (rows is None) == (expected is None)
        assert (aligned.segment(number, in_step=True) is None) == (expected is None)
        for modality, values in (expected or {}).items():
            found = aligned.features[modality][rows[modality]]
            np.testing.assert_array_equal(found, values.astype(np.float32))


@settings(max_examples=100, deadline=None)
@given(text=_pairs, visual=_frame_rows | _pairs, segments=_forward)
def test_unaligned_rows_are_those_that_overlap_the_segment(text, visual, segments):
    sequences = {"text": _entry(text, 2, 0), "visual": _entry(visual, 2, 1)}
    times = np.array(segments, float).reshape(-1, 2)
    aligned = align_frames(sequences, times)
    for number, (first, last) in enumerate(times):
        rows = aligned.segment(number, in_step=False)
        expected = {
            modality: [row for row, _ in _overlapping(first, last, entry.intervals)]
            for modality, entry in sequences.items()
            if last - first >= TOLERANCE
        }
        if expected and all(expected.values()):
            assert {m: chosen.tolist() for m, chosen in rows.items()} == expected
        else:
            assert rows is None


def test_a_modality_with_a_rate_has_steps_and_the_others_their_rows():
    sequences = {
        "text": _entry([(0, 1), (4, 9)], 2, 0),
        "audio": _entry([(step / 4, step / 4 + 0.25) for step in range(20)], 3, 1),
    }
    aligned = align_frames(sequences, np.array([[0.0, 3.0], [3.5, 5.0], [5.0, 9.0]]), {"audio": 1})
    first, second = aligned.segment(0, in_step=False), aligned.segment(1, in_step=False)
    assert (first["text"].tolist(), second["text"].tolist()) == ([0], [1])
    frames = sequences["audio"].features
    means = [frames[at : at + 4].mean(axis=0) for at in (0, 4, 8)]
    np.testing.assert_allclose(aligned.features["audio"][first["audio"]], means, rtol=1e-6)
    assert len(second["audio"]) == 2
    assert aligned.segment(2, in_step=False) is None


def _video(words: list, frames: list, values: list | None = None) -> dict[str, Entry]:
    audio = _entry(frames, 1, 1)
    if values is not None:
        audio = Entry(np.array(values, np.float32)[:, None], audio.intervals)
    return {"text": _entry(words, 2, 0), "audio": audio}


def test_values_that_are_not_finite_stay_in_the_words_that_they_belong_to():
    frames = [(step, step + 1) for step in range(8)]
    values = [1, -np.inf, 3, np.nan, 5, np.inf, -np.inf, 8]
    words = [(0, 1), (0, 2), (2, 3), (3, 5), (4, 5), (5, 7), (7, 8)]
    aligned = align_words(_video(words, frames, values), np.array([[0.0, 8.0]]), reference="text")
    expected = [1, -np.inf, 3, np.nan, 5, np.nan, 8]
    np.testing.assert_array_equal(aligned.features["audio"][:, 0], np.array(expected, np.float32))


def test_a_word_without_length_has_no_row_and_one_without_frames_has_zeros():
    words = [(0, 1), (1, 1), (2, 3)]
    aligned = align_words(_video(words, [(0, 1)], [7]), np.array([[0.0, 3.0]]), reference="text")
    assert aligned.words.tolist() == [0, 2]
    assert aligned.features["audio"][:, 0].tolist() == [7, 0]


def test_a_video_without_any_frame_has_zeros():
    aligned = align_words(_video([(0, 1), (1, 2)], []), np.array([[0.0, 2.0]]), reference="text")
    assert aligned.features["audio"].tolist() == [[0], [0]]


def test_the_modalities_keep_step_where_the_sdk_loses_it():
    # Of the first word only the part before the segment has frames.
    sequences = _video([(0, 2), (2, 3)], [(0, 1), (2, 3)], [4, 6])
    aligned = align_words(sequences, np.array([[1.0, 3.0]]), reference="text")
    theirs = aligned.segment(0, in_step=False)
    assert {m: rows.tolist() for m, rows in theirs.items()} == {"text": [0, 1], "audio": [1]}
    ours = aligned.segment(0, in_step=True)
    assert {m: rows.tolist() for m, rows in ours.items()} == {"text": [0, 1], "audio": [0, 1]}


def test_overlapping_words_keep_step_where_the_sdk_swaps_them():
    # Frames cover the first word from 1.5 on; the second, which has none, begins before that.
    sequences = _video([(0, 2), (1, 1.25)], [(1.5, 2)], [4])
    aligned = align_words(sequences, np.array([[0.0, 3.0]]), reference="text")
    assert aligned.segment(0, in_step=False)["audio"].tolist() == [1, 0]
    assert aligned.segment(0, in_step=True)["audio"].tolist() == [0, 1]


def test_any_sequence_can_be_the_reference():
    sequences = _video([(0, 1), (1, 2)], [(0, 0.5), (0.5, 1), (1, 1.5)])
    renamed = {"steps": sequences["audio"], "marks": sequences["text"]}
    ours = align_words(sequences, np.array([[0.0, 2.0]]), reference="text")
    theirs = align_words(renamed, np.array([[0.0, 2.0]]), reference="marks")
    np.testing.assert_array_equal(ours.features["audio"], theirs.features["steps"])
    found = theirs.segment(0, in_step=True)
    assert {m: rows.tolist() for m, rows in found.items()} == {"steps": [0, 1], "marks": [0, 1]}
