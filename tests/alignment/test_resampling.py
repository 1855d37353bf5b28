"""Frames at a fixed rate, against the definition applied to one step and one frame at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer.alignment.intervals import TOLERANCE, ImplausibleTimesError
from mmer.alignment.resampling import resample

_times = st.integers(0, 40).map(lambda step: step * 0.1)
_pairs = st.lists(st.tuples(_times, _times), max_size=12)
_frames = st.sets(st.integers(0, 40), max_size=40).map(
    lambda steps: [(step * 0.1, step * 0.1 + 0.1) for step in sorted(steps)]
)


def _step_by_step(features: np.ndarray, intervals: np.ndarray, segment: tuple, rate: float) -> list:
    start, end = segment
    rows, seen = [], False
    count = max(1, round((end - start) * rate)) if end > start else 0
    for number in range(count):
        first = start + number / rate
        last = end if number == count - 1 else start + (number + 1) / rate
        total, weight = np.zeros(features.shape[1]), 0.0
        for row, (begin, stop) in zip(features, intervals, strict=True):
            shared = min(stop, last) - max(begin, first)
            if shared > TOLERANCE:
                total, weight = total + shared * row.astype(float), weight + shared
        seen |= weight > 0
        rows.append(total / (weight or 1))
    return rows if seen else []


@settings(max_examples=200, deadline=None)
@given(_frames | _pairs, _pairs, st.sampled_from([0.4, 3.0, 10.0, 15.0]))
def test_equals_the_mean_over_time_taken_step_by_step(frames, segments, rate):
    intervals, stretches = (np.array(pairs, float).reshape(-1, 2) for pairs in (frames, segments))
    features = np.random.default_rng(0).normal(size=(len(frames), 3)).astype(np.float32)
    steps, found = resample(features, intervals, stretches, rate)
    assert steps.dtype == np.float32
    for number, segment in enumerate(segments):
        expected = _step_by_step(features, intervals, segment, rate)
        np.testing.assert_allclose(
            steps[found.of(number)], np.reshape(expected, (-1, 3)), rtol=1e-6, atol=1e-6
        )


def _one(frames: list, values: list, segment: tuple, rate: float) -> list[float]:
    steps, found = resample(
        np.array(values, np.float32)[:, None], np.array(frames, float), np.array([segment]), rate
    )
    return steps[found.of(0), 0].tolist()


@pytest.mark.parametrize(
    ("frames", "values", "steps"),
    [
        pytest.param([(0, 1), (1, 2)], [4, 6], [4, 6], id="at the rate already"),
        pytest.param([(0, 2)], [4], [4, 4], id="frames longer than a step"),
        pytest.param([(0, 0.25), (0.25, 2)], [8, 4], [5, 4], id="weighted by how long each shows"),
        pytest.param([(0, 0.1)], [4], [4, 0], id="a step without a frame"),
        pytest.param([(1, 2), (0, 1)], [6, 4], [4, 6], id="out of order"),
        pytest.param([(0, 2), (0, 1)], [2, 4], [3, 2], id="frames that overlap"),
        pytest.param([(0, 2), (0.5, 0.5)], [2, 9], [2, 2], id="a frame without length"),
        pytest.param([(0, 2), (2, 0)], [2, 9], [2, 2], id="a frame that ends first"),
        pytest.param([(0.5, 1.000001)], [4], [4, 0], id="a step that a frame hardly touches"),
        pytest.param([(0, 1), (1, 2)], [1, -np.inf], [1, -np.inf], id="not finite"),
        pytest.param([(2, 9)], [4], [], id="no frame in the segment"),
    ],
)
def test_cases(frames, values, steps):
    assert _one(frames, values, (0.0, 2.0), 1) == steps


def test_the_last_step_ends_with_the_segment():
    frames = [(0, 1.6), (1.6, 2)]
    assert _one(frames, [1, 9], (0.0, 1.6), 1) == [1, 1]
    assert _one(frames, [1, 9], (0.0, 0.2), 1) == [1]
    assert _one([(1, 1.2)], [9], (0.0, 1.2), 1) == [9]


def test_precision_does_not_wear_off_along_a_long_video():
    starts = np.arange(200_000) / 100
    values = np.where(starts < 1000, 1e30, 1.0).astype(np.float32)[:, None]
    steps, _ = resample(
        values, np.stack([starts, starts + 0.01], 1), np.array([[1500, 2000.0]]), 20
    )
    assert (steps == 1).all()


def test_segments_that_no_recording_has_are_refused():
    frames, segments = np.array([[0.0, 1]]), np.array([[0.0, 1e6]] * 1000)
    with pytest.raises(ImplausibleTimesError, match="1000000000 seconds"):
        resample(np.ones((1, 74), np.float32), frames, segments, 20)
