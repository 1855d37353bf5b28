"""The distribution behind the synthetic corpus, its posterior and the best score it allows."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import PolynomialFeatures

from mmer.corpora.bayes_optimal import bayes_optimal_scores
from mmer.corpora.mosei.features import MODALITIES
from mmer.corpora.mosei.labels import EMOTIONS
from mmer.corpora.mosei.synthetic.evidence import (
    CUES,
    EVIDENCE,
    _label_set_probabilities,
    bayes_optimal,
    draw,
    label_probabilities,
)

MOSEI_RATES = {
    "happy": 0.53,
    "sad": 0.24,
    "anger": 0.23,
    "disgust": 0.17,
    "surprise": 0.09,
    "fear": 0.08,
}
DRAWS = 100_000


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    return draw(np.random.default_rng(5), DRAWS)


def _best_cut(scores: np.ndarray, truth: np.ndarray) -> float:
    order = np.argsort(-scores)
    f1 = 2 * np.cumsum(truth[order]) / (np.arange(1, len(order) + 1) + truth.sum())
    return scores[order][f1.argmax()]


def _micro_and_macro(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Cuts from the first half, scores on the second."""
    half = len(scores) // 2
    shared = _best_cut(scores[:half].ravel(), truth[:half].ravel())
    micro = f1_score(truth[half:], scores[half:] >= shared, average="micro")
    cuts = [_best_cut(s, t) for s, t in zip(scores[:half].T, truth[:half].T, strict=True)]
    return micro, f1_score(truth[half:], scores[half:] >= np.array(cuts), average="macro")


def test_label_rates_are_those_of_mosei(drawn) -> None:
    labels, _ = drawn
    expected = [MOSEI_RATES[emotion] for emotion in EMOTIONS]
    np.testing.assert_allclose(labels.mean(axis=0), expected, atol=0.006)
    assert (labels.sum(axis=1) == 0).mean() > 0.1
    assert (labels.sum(axis=1) > 1).mean() > 0.25


def test_some_emotions_come_together_and_some_exclude_each_other(drawn) -> None:
    together = np.corrcoef(drawn[0].T)
    anger, disgust, happy = (EMOTIONS.index(e) for e in ("anger", "disgust", "happy"))
    assert together[anger, disgust] > 0.2
    assert together[happy, anger] < -0.2


def test_emotions_show_in_one_modality_in_either_of_two_or_only_in_both() -> None:
    by_count = {emotion: len(EVIDENCE[emotion].modalities) for emotion in EMOTIONS}
    assert by_count["sad"] == 1
    assert by_count["happy"] == 2
    for emotion, told_by_one in (("anger", True), ("disgust", False)):
        columns = [i for i, cue in enumerate(CUES) if cue[0] == emotion]
        patterns = np.zeros((3, len(CUES)), dtype=int)
        patterns[0, columns[0]] = patterns[1, columns[1]] = 1
        patterns[2, columns] = 1
        one, other, both = label_probabilities(patterns)[:, EMOTIONS.index(emotion)]
        assert both > 0.7
        assert (min(one, other) > 0.3) == told_by_one
        assert (max(one, other) < 0.2) != told_by_one


@given(st.lists(st.integers(0, 1), min_size=len(CUES), max_size=len(CUES)))
@settings(max_examples=20, deadline=None)
def test_posterior_is_bayes_rule_written_out(cues: list[int]) -> None:
    weight = dict.fromkeys(product((0, 1), repeat=len(EMOTIONS)), 0.0)
    for label_set, prior in zip(weight, _label_set_probabilities(), strict=True):
        weight[label_set] = prior
        for index, emotion in enumerate(EMOTIONS):
            bits = [bit for bit, cue in zip(cues, CUES, strict=True) if cue[0] == emotion]
            pattern = int("".join(map(str, bits)), 2)
            weight[label_set] *= EVIDENCE[emotion][1 + label_set[index]][pattern]
    expected = [
        sum(w for label_set, w in weight.items() if label_set[index]) / sum(weight.values())
        for index in range(len(EMOTIONS))
    ]
    np.testing.assert_allclose(label_probabilities(np.array([cues]))[0], expected)


def test_posterior_is_calibrated(drawn) -> None:
    labels, cues = drawn
    probability = label_probabilities(cues).ravel()
    tenth = np.clip((probability * 10).astype(int), 0, 9)
    for part in np.unique(tenth):
        chosen = tenth == part
        error = labels.ravel()[chosen].mean() - probability[chosen].mean()
        assert abs(error) < 4 * 0.5 / np.sqrt(chosen.sum())


def test_an_oracle_that_sees_the_cues_attains_the_bayes_optimal_score(drawn) -> None:
    labels, cues = drawn
    best = bayes_optimal()
    micro, macro = _micro_and_macro(label_probabilities(cues), labels)
    assert micro == pytest.approx(best["micro_f1"], abs=0.005)
    assert macro == pytest.approx(best["macro_f1"], abs=0.008)


def test_what_is_learned_from_the_cues_does_not_exceed_it(drawn) -> None:
    labels, cues = drawn
    inputs, train = PolynomialFeatures(2, include_bias=False).fit_transform(cues), DRAWS // 5
    scores = np.column_stack(
        [
            LogisticRegression(max_iter=200)
            .fit(inputs[:train], column[:train])
            .predict_proba(inputs[train:])[:, 1]
            for column in labels.T
        ]
    )
    micro, macro = _micro_and_macro(scores, labels[train:])
    best = bayes_optimal()
    assert best["micro_f1"] - 0.02 < micro < best["micro_f1"] + 0.005
    assert best["macro_f1"] - 0.03 < macro < best["macro_f1"] + 0.008


def test_the_bayes_optimal_score_is_neither_all_nor_nothing() -> None:
    for value in bayes_optimal().values():
        assert 0.7 < value < 0.85


def test_fewer_modalities_allow_less() -> None:
    best = {m: bayes_optimal(m)["micro_f1"] for n in (1, 2, 3) for m in combinations(MODALITIES, n)}
    for fewer, more in product(best, best):
        if set(fewer) < set(more):
            assert best[fewer] < best[more]
    labels, cues = draw(np.random.default_rng(0), 40_000)
    shown = np.where([m == "text" for _, m in CUES], cues, -1)
    patterns, case = np.unique(shown, axis=0, return_inverse=True)
    rates = np.stack([labels[case == one].mean(axis=0) for one in range(len(patterns))])
    found = bayes_optimal_scores(rates, np.bincount(case).astype(float))
    assert best[("text",)] == pytest.approx(found["micro_f1"], abs=0.01)
