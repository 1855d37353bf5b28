from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmer.evaluation.assessment import EvaluationSettings
from mmer.evaluation.deletion import SHARE, Deletion, measure_deletion, without_steps
from mmer.samples.batches import pack


class ReadsItsStep:
    """Label k is scored by the largest first number of a step of modality k, and looks at it.

    With `honest` false it tells that it looks at the step that it looks at least.
    """

    def __init__(self, *, honest: bool = True) -> None:
        self.honest = honest

    def scores(self, samples):
        found = np.zeros((len(samples), len(samples.info.labels)))
        for n in range(len(samples)):
            for k, m in enumerate(samples.modalities):
                found[n, k] = 1 / (1 + np.exp(-_steps(samples, n, m)[:, k].max() + 2))
        return found

    def attention(self, samples, index):
        sign = 1 if self.honest else -1
        return [
            {
                m: np.stack([sign * _steps(samples, n, m)[:, k] for k in range(3)], axis=1)
                for m in samples.modalities
            }
            for n in index
        ]


class Silent(ReadsItsStep):
    def attention(self, samples, index):
        return []


def _steps(samples, n, modality):
    start = int(samples.starts[modality][n])
    return samples.values[modality][start : start + samples.host_lengths[modality][n]].numpy()


@pytest.fixture
def measure(toy_table, toy_scores, thresholds_for):
    samples = pack(toy_table(60, split="test"))

    def measured(system) -> Deletion:
        scores = replace(
            toy_scores(system.scores(samples), samples.truth, "test", labels=samples.info.labels),
            sample_ids=samples.sample_ids,
            group_ids=samples.group_ids,
        )
        settings = EvaluationSettings(resamples=200)
        return measure_deletion(system, samples, scores, thresholds_for(scores, 0.5), settings)

    return measured


def test_attention_that_is_true_lowers_the_score_more_than_chance(measure):
    found = measure(ReadsItsStep())
    assert found.share == SHARE
    for label in found.labels:
        assert label.samples > 5
        assert label.difference.value == pytest.approx(label.attended - label.drawn)
        assert label.difference.low > 0


def test_attention_that_is_not_true_does_not(measure):
    for label in measure(ReadsItsStep(honest=False)).labels:
        assert label.attended <= label.drawn + 1e-9


def test_a_system_that_does_not_tell_is_not_tested(measure):
    assert measure(Silent()).labels == ()


def test_the_steps_of_largest_weight_are_gone_and_the_others_stay_in_order(toy_table):
    samples = pack(toy_table(12))
    index = np.array([7, 2, 3])
    rng = np.random.default_rng(0)
    weights = [
        {m: rng.random(samples.host_lengths[m][n]) for m in samples.modalities[:2]} for n in index
    ]
    left = without_steps(samples, index, weights)
    assert left.sample_ids == tuple(samples.sample_ids[n] for n in index)
    for m in samples.modalities:
        for at, n in enumerate(index):
            steps, kept = _steps(samples, n, m), _steps(left, at, m)
            if m not in weights[at] or len(steps) < 2:
                assert np.array_equal(steps, kept)
                continue
            gone = max(1, round(SHARE * len(steps)))
            order = np.argsort(-weights[at][m])
            assert np.array_equal(kept, steps[np.sort(order[gone:])])
    assert np.array_equal(left.truth, samples.truth[index])
