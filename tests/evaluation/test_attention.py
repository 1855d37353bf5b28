from __future__ import annotations

import json

import numpy as np
import pytest

from mmer.errors import InputError
from mmer.evaluation.attention import attended_words, telling_samples

HALF = np.array([0.5, 0.5, 0.5])


def test_telling_samples_are_the_surest_right_ones(toy_scores):
    truth = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]], np.uint8)
    values = np.array([[0.8, 0.9, 0.4], [0.9, 0.6, 0.9], [1.0, 0.7, 0.3]])
    # happy: sample 2 is surest but wrong; anger: never predicted where it is
    assert telling_samples(toy_scores(truth=truth, scores=values), HALF) == {"happy": 1, "sad": 2}


def test_attended_words_are_tidy_and_json(toy_scores):
    scores = toy_scores(5)
    attention = np.random.default_rng(0).dirichlet(np.ones(4), size=3).T.astype(np.float32)
    found = attended_words(scores, 2, attention, ["so", "very", "happy", "now"])
    assert found["sample_id"] == scores.sample_ids[2]
    assert found["true"] == [
        label for label, bit in zip(scores.labels, scores.truth[2], strict=True) if bit
    ]
    assert found["scores"] == dict(zip(scores.labels, scores.scores[2], strict=True))
    for column, label in enumerate(scores.labels):
        assert found["attention"][label] == pytest.approx(attention[:, column].tolist())
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (4,)])
def test_attention_of_another_shape_is_refused(toy_scores, shape):
    with pytest.raises(InputError, match="words by labels"):
        attended_words(toy_scores(5), 0, np.zeros(shape), ["a", "b", "c", "d"])


@pytest.mark.parametrize("value", [-0.1, np.nan])
def test_what_is_no_weight_is_refused(toy_scores, value):
    with pytest.raises(InputError, match="at least 0"):
        attended_words(toy_scores(5), 0, np.full((2, 3), value), ["a", "b"])
