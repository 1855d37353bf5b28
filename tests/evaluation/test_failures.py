from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from mmer.errors import InputError
from mmer.evaluation.assessment import EvaluationSettings
from mmer.evaluation.failures import (
    Failures,
    by_label_count,
    by_length,
    find_failures,
    most_confident_errors,
)
from mmer.metrics.intervals import headline_intervals
from mmer.metrics.resampled import Judged
from mmer.samples.batches import pack

HALF = np.array([0.5, 0.5, 0.5])
SETTINGS = EvaluationSettings(resamples=100)
SAID = [("so", "sad"), None] * 50


@pytest.fixture
def scored(toy_table, toy_scores, thresholds_for):
    """Samples of a table, scores on them, and the calibration of these."""
    samples = pack(toy_table(50, split="test"))
    noise = np.random.default_rng(0).random(samples.truth.shape)
    scores = replace(
        toy_scores(noise, samples.truth, "test", labels=samples.info.labels),
        sample_ids=samples.sample_ids,
        group_ids=samples.group_ids,
    )
    return samples, scores, thresholds_for(scores)


def test_failures_are_a_record_of_the_model(scored):
    samples, scores, calibration = scored
    found = find_failures(scores, calibration, samples, SAID, SETTINGS)
    assert found.model == scores.info.model
    assert sum(row.samples for row in found.by_length) == 50
    assert found.by_length[-1].most == samples.longest.max()
    assert Failures.from_json(found.to_json(), "here") == found


def test_samples_that_were_not_scored_are_refused(scored, toy_table):
    samples, scores, calibration = scored
    with pytest.raises(InputError, match="split"):
        find_failures(scores, calibration, pack(toy_table(50)), SAID, SETTINGS)
    fewer = pack(toy_table(49, split="test"))
    with pytest.raises(InputError, match="sample_id"):
        find_failures(scores, calibration, fewer, SAID, SETTINGS)
    info = samples.info.model_copy(update={"fingerprint": "another"})
    with pytest.raises(InputError, match="fingerprint"):
        find_failures(scores, calibration, replace(samples, info=info), SAID, SETTINGS)


def test_buckets_hold_every_sample_once_and_are_scored_alone(noisy_scores):
    scores = noisy_scores(90)
    lengths = np.random.default_rng(0).integers(1, 30, 90)
    rows = by_length(Judged(scores, HALF), lengths, SETTINGS)
    assert sum(row.samples for row in rows) == 90
    for row, following in pairwise(rows):
        assert row.most < following.least
    for row in rows:
        inside = (lengths >= row.least) & (lengths <= row.most)
        alone = replace(
            scores,
            scores=scores.scores[inside],
            truth=scores.truth[inside],
            sample_ids=tuple(np.array(scores.sample_ids)[inside]),
            group_ids=tuple(np.array(scores.group_ids)[inside]),
        )
        assert row.samples == inside.sum()
        assert row.intervals == headline_intervals([Judged(alone, HALF)], resamples=100)
        assert row.intervals["micro_f1"].low < row.intervals["micro_f1"].value


def test_each_figure_of_a_bucket_is_under_the_thresholds_chosen_for_it(noisy_scores):
    scores, never = noisy_scores(20), np.ones(3)
    (row,) = by_length(Judged(scores, HALF, {"accuracy": never}), np.full(20, 7), SETTINGS)
    assert row.intervals["accuracy"].value == 0
    assert row.intervals["micro_f1"].value > 0.3


def test_a_bucket_of_one_group_has_figures_and_no_interval(noisy_scores):
    scores = noisy_scores(12)  # in groups of four
    lengths = np.array([1] * 4 + [9] * 8)
    one, two = by_length(Judged(scores, HALF), lengths, SETTINGS)
    assert one.intervals["micro_f1"].value is not None
    assert one.intervals["micro_f1"].low is None
    assert two.intervals["micro_f1"].low is not None


def test_samples_of_one_length_are_one_bucket(noisy_scores):
    scores = noisy_scores(20)
    (row,) = by_length(Judged(scores, HALF), np.full(20, 7), SETTINGS)
    assert (row.least, row.most, row.samples) == (7, 7, 20)


def test_equal_lengths_are_never_parted(noisy_scores):
    scores = noisy_scores(20)
    rows = by_length(Judged(scores, HALF), np.array([1] * 17 + [2, 9, 30]), SETTINGS)
    assert rows[0].samples == 17


def test_label_counts(toy_scores):
    truth = np.array([[0, 0], [0, 0], [1, 0], [1, 1]], np.uint8)
    values = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.9, 0.1]])
    judged = Judged(toy_scores(values, truth), HALF[:2])
    none, one, two = by_label_count(judged, SETTINGS)
    assert (none.least, none.most, none.samples, none.labels_predicted) == (0, 0, 2, 0.5)
    assert none.intervals["accuracy"].value == 0
    assert (one.least, one.intervals["accuracy"].value, one.labels_predicted) == (1, 0.5, 2)
    assert (two.least, two.intervals["micro_f1"].value) == (2, pytest.approx(2 / 3))


def test_the_most_confident_errors_are_the_farthest_beyond_their_threshold(toy_scores):
    truth = np.array([[0, 1], [0, 1], [1, 0], [0, 0]], np.uint8)
    values = np.array([[0.9, 0.1], [0.7, 0.05], [0.9, 0.1], [0.2, 0.3]])
    scores = toy_scores(values, truth, labels=("happy", "sad"))
    words = [("so", "sad"), None, None, None]
    rows = most_confident_errors(scores, np.array([0.6, 0.2]), words)
    assert [(row.sample_id, row.label, row.kind) for row in rows] == [
        ("sample 0", "happy", "predicted"),  # 0.3 of 0.4
        ("sample 1", "sad", "missed"),  # 0.15 of 0.2
        ("sample 0", "sad", "missed"),  # 0.1 of 0.2
        ("sample 1", "happy", "predicted"),  # 0.1 of 0.4
        ("sample 3", "sad", "predicted"),  # 0.1 of 0.8
    ]
    assert [row.confidence for row in rows] == pytest.approx([0.75, 0.75, 0.5, 0.25, 0.125])
    assert [(row.true, row.words) for row in rows[:2]] == [(("sad",), "so sad"), (("sad",), None)]
    limited = most_confident_errors(scores, np.array([0.6, 0.2]), words, most=1)
    assert [row.kind for row in limited] == ["predicted", "missed"]


def test_a_threshold_at_an_end_of_the_scale_gives_finite_confidence(noisy_scores):
    rows = most_confident_errors(noisy_scores(), np.array([0.0, 1.0, 0.5]), [None] * 60)
    assert rows
    assert all(0 <= row.confidence <= 1 for row in rows)


def test_co_occurrence_counts_pairs(scored):
    samples, scores, calibration = scored
    found = find_failures(scores, calibration, samples, SAID, SETTINGS).co_occurrence
    decided = scores.scores > HALF
    for first in range(3):
        for second in range(3):
            both = scores.truth[:, first] & scores.truth[:, second]
            assert found.true[first][second] == both.sum()
            predicted = decided[:, first] & decided[:, second]
            assert found.predicted[first][second] == predicted.sum()
    assert found.labels == scores.labels
