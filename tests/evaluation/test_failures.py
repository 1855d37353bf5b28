from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from mmer.errors import InputError
from mmer.evaluation.failures import by_label_count, by_length, co_occurrence, surest_mistakes
from mmer.evaluation.metrics import evaluate

HALF = np.array([0.5, 0.5, 0.5])


def test_buckets_hold_every_sample_once_and_are_scored_alone(toy_scores):
    scores = toy_scores(90)
    lengths = np.random.default_rng(0).integers(1, 30, 90)
    rows = by_length(scores, HALF, lengths)
    assert sum(row["samples"] for row in rows) == 90
    assert [row["from"] for row in rows] == sorted(row["from"] for row in rows)
    for row, following in pairwise(rows):
        assert row["to"] < following["from"]
    for row in rows:
        inside = (lengths >= row["from"]) & (lengths <= row["to"])
        part = toy_scores(truth=scores.truth[inside], scores=scores.scores[inside])
        expected = evaluate(part, HALF)
        assert row["samples"] == inside.sum()
        for name in ("micro_f1", "macro_f1", "accuracy"):
            assert row[name] == expected[name]


def test_samples_of_one_length_are_one_bucket(toy_scores):
    rows = by_length(toy_scores(20), HALF, np.full(20, 7))
    assert [(row["from"], row["to"], row["samples"]) for row in rows] == [(7, 7, 20)]


def test_equal_lengths_are_never_parted(toy_scores):
    lengths = np.array([1] * 17 + [2, 9, 30])
    rows = by_length(toy_scores(20), HALF, lengths)
    assert rows[0]["samples"] == 17


@pytest.mark.parametrize("lengths", [np.ones(3), np.ones((20, 1))])
def test_lengths_that_do_not_fit_are_refused(toy_scores, lengths):
    with pytest.raises(InputError, match="20 numbers"):
        by_length(toy_scores(20), HALF, lengths)


def test_label_counts():
    from mmer.samples.scores import Scores

    truth = np.array([[0, 0], [0, 0], [1, 0], [1, 1]], np.uint8)
    values = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.9, 0.1]])
    names = ("a", "b", "c", "d")
    scores = Scores(values, truth, names, names, ("happy", "sad"), "test", "w", False)
    none, one, two = by_label_count(scores, np.array([0.5, 0.5]))
    assert (none["labels"], none["samples"], none["labels_predicted"]) == (0, 2, 0.5)
    assert (none["accuracy"], none["accuracy_empty_correct"]) == (0, 0.5)
    assert (one["labels"], one["accuracy"], one["labels_predicted"]) == (1, 0.5, 2)
    assert (two["labels"], two["micro_f1"]) == (2, pytest.approx(2 / 3))


def test_the_surest_mistakes_are_the_farthest_beyond_their_threshold(toy_scores):
    truth = np.array([[0, 1], [0, 1], [1, 0], [0, 0]], np.uint8)
    values = np.array([[0.9, 0.1], [0.7, 0.05], [0.9, 0.1], [0.2, 0.3]])
    scores = toy_scores(truth=truth, scores=values)
    rows = surest_mistakes(scores, np.array([0.6, 0.2]))
    found = [(row["sample_id"], row["label"], row["mistake"]) for row in rows]
    assert found == [
        ("video0[0]", "happy", "predicted"),  # 0.3 of 0.4
        ("video0[1]", "sad", "missed"),  # 0.15 of 0.2
        ("video0[0]", "sad", "missed"),  # 0.1 of 0.2
        ("video0[1]", "happy", "predicted"),  # 0.1 of 0.4
        ("video0[3]", "sad", "predicted"),  # 0.1 of 0.8
    ]
    sureness = [row["sureness"] for row in rows]
    assert sureness == pytest.approx([0.75, 0.75, 0.5, 0.25, 0.125])
    limited = surest_mistakes(scores, np.array([0.6, 0.2]), most=1)
    assert [row["mistake"] for row in limited] == ["predicted", "missed"]


def test_a_threshold_at_an_end_of_the_scale_gives_finite_sureness(toy_scores):
    rows = surest_mistakes(toy_scores(), np.array([0.0, 1.0, 0.5]))
    assert rows
    assert all(0 <= row["sureness"] <= 1 for row in rows)


def test_co_occurrence_counts_pairs(toy_scores):
    scores = toy_scores(50)
    found = co_occurrence(scores, HALF)
    decided = scores.scores > HALF
    for first in range(3):
        for second in range(3):
            both = scores.truth[:, first] & scores.truth[:, second]
            assert found["true"][first][second] == both.sum()
            predicted = decided[:, first] & decided[:, second]
            assert found["predicted"][first][second] == predicted.sum()
    assert found["labels"] == list(scores.labels)
    assert json.loads(json.dumps(found)) == found
