from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmer.errors import InputError
from mmer.evaluation.assessment import EvaluationSettings
from mmer.evaluation.attention import Explanations, explain, most_confident
from mmer.samples.batches import pack

HALF = np.array([0.5, 0.5, 0.5])
SETTINGS = EvaluationSettings(resamples=20)


class Looking:
    """Looks at the first step with half of its weight, unless told otherwise."""

    def __init__(self, change=lambda weights: weights) -> None:
        self.change = change

    def attention(self, samples, index):
        found = []
        for n in index:
            steps = {m: lengths[n] for m, lengths in samples.host_lengths.items()}
            found.append({m: self.change(weights(t)) for m, t in steps.items()})
        return found

    def scores(self, samples):
        return np.full((len(samples), 3), 0.1)


class Silent:
    def attention(self, samples, index):
        return []


def weights(steps: int) -> np.ndarray:
    rest = np.full(steps, 0.5 / max(1, steps - 1))
    rest[:1] = 0.5 if steps > 1 else 1.0
    return np.tile(rest[:, None], (1, 3))


@pytest.fixture
def scored(toy_table, toy_scores, thresholds_for):
    table = toy_table(30, split="test")
    samples = pack(table)
    noise = np.random.default_rng(0).random(samples.truth.shape)
    scores = replace(
        toy_scores(noise, samples.truth, "test", labels=samples.info.labels),
        sample_ids=samples.sample_ids,
        group_ids=samples.group_ids,
    )
    return samples, table.arrow()["words"].to_pylist(), scores, thresholds_for(scores)


def test_the_most_confident_correct_samples_are_chosen(toy_scores):
    truth = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]], np.uint8)
    values = np.array([[0.8, 0.9, 0.4], [0.9, 0.6, 0.9], [1.0, 0.7, 0.3]])
    scores = toy_scores(values, truth, labels=("happy", "sad", "anger"))
    # happy: sample 2 scores higher but is wrong; anger: never predicted where it is
    assert most_confident(scores, HALF, "correct") == {"happy": 1, "sad": 2}
    assert most_confident(scores, HALF, "wrong") == {"happy": 2, "sad": 0, "anger": 1}


def test_an_explanation_says_what_was_looked_at_and_why_it_is_shown(scored):
    samples, words, scores, calibration = scored
    found = explain(Looking(), samples, words, scores, calibration, SETTINGS)
    chosen = {kind: most_confident(scores, HALF, kind) for kind in ("correct", "wrong")}
    assert found.model == scores.info.model
    assert found.labels == scores.labels
    assert {label for one in found.examples for label in one.correct_for} == set(chosen["correct"])
    assert {label for one in found.examples for label in one.wrong_for} == set(chosen["wrong"])
    for one in found.examples:
        n = scores.sample_ids.index(one.sample_id)
        assert all(chosen["correct"][label] == n for label in one.correct_for)
        assert all(chosen["wrong"][label] == n for label in one.wrong_for)
        assert set(one.true) == {
            label for label, bit in zip(scores.labels, scores.truth[n], strict=True) if bit
        }
        assert one.scores == pytest.approx(tuple(scores.scores[n]))
        assert tuple(seen.modality for seen in one.modalities) == samples.modalities
        for seen in one.modalities:  # word-aligned: every modality's steps are the words
            assert seen.words == tuple(words[n])
            assert np.allclose(np.array(seen.weights).T, weights(len(words[n])))
    assert Explanations.from_json(found.to_json(), "here") == found


def test_without_shared_steps_only_the_first_modality_has_words(scored):
    samples, words, scores, calibration = scored
    unaligned = replace(samples, info=samples.info.model_copy(update={"alignment": "none"}))
    for one in explain(Looking(), unaligned, words, scores, calibration, SETTINGS).examples:
        first, *others = one.modalities
        assert first.words
        assert all(seen.words is None for seen in others)


def test_samples_without_words_are_explained_too(scored):
    samples, words, scores, calibration = scored
    found = explain(Looking(), samples, [None] * len(words), scores, calibration, SETTINGS)
    assert found.examples
    assert all(seen.words is None for one in found.examples for seen in one.modalities)


def test_a_system_that_does_not_tell_gives_no_examples(scored):
    samples, words, scores, calibration = scored
    assert explain(Silent(), samples, words, scores, calibration, SETTINGS).examples == ()


def test_a_system_that_predicts_nothing_gives_no_examples(scored):
    samples, words, scores, calibration = scored
    never = calibration.model_copy(update={"thresholds": (1.0, 1.0, 1.0)})
    assert explain(Looking(), samples, words, scores, never, SETTINGS).examples == ()


@pytest.mark.parametrize(
    "change",
    [lambda w: w[:-1], lambda w: w[:, :2], lambda w: w[:, 0], lambda w: -w, lambda w: w * np.nan],
)
def test_what_is_no_attention_to_these_steps_is_refused(scored, change):
    samples, words, scores, calibration = scored
    with pytest.raises(ValueError, match="steps by labels, at least 0"):
        explain(Looking(change), samples, words, scores, calibration, SETTINGS)


def test_another_number_of_words_than_of_steps_is_refused(scored):
    samples, words, scores, calibration = scored
    more = [[*spoken, "more"] for spoken in words]
    with pytest.raises(InputError, match="words"):
        explain(Looking(), samples, more, scores, calibration, SETTINGS)
