from __future__ import annotations

import numpy as np
import pytest

from mmer.errors import InputError
from mmer.evaluation.metrics import evaluate
from mmer.evaluation.modality import SUBSETS, by_missing_rate, by_modality_subset, draw_shown
from mmer.samples.table import MODALITIES

HALF = np.array([0.5, 0.5, 0.5])


@pytest.fixture
def reader(toy_scores):
    """A system whose label k is read off modality k, and the calls that were made of it."""
    truth = toy_scores(80).truth
    calls = []

    def score(present: dict[str, np.ndarray]) -> np.ndarray:
        calls.append(present)
        return truth * np.stack([present[m] for m in MODALITIES], axis=1).astype(float)

    full = score({m: np.full(80, True) for m in MODALITIES})
    calls.clear()
    return score, toy_scores(truth=truth, scores=full), calls


def test_each_of_the_seven_subsets_is_shown_once(reader):
    score, scores, calls = reader
    rows = by_modality_subset(score, scores, HALF)
    assert [tuple(row["modalities"]) for row in rows] == list(SUBSETS)
    assert len(set(SUBSETS)) == len(calls) == 7
    for row, present in zip(rows, calls, strict=True):
        assert [m for m in MODALITIES if present[m].all()] == row["modalities"]
        assert [m for m in MODALITIES if not present[m].any()] == [
            m for m in MODALITIES if m not in row["modalities"]
        ]


def test_a_subset_scores_what_its_scores_are_worth(reader):
    score, scores, _ = reader
    rows = {tuple(row["modalities"]): row for row in by_modality_subset(score, scores, HALF)}
    assert rows[MODALITIES]["micro_f1"] == 1
    alone = scores.truth * np.array([1, 0, 0])
    expected = evaluate(type(scores)(**{**vars(scores), "scores": alone.astype(float)}), HALF)
    for name in ("micro_f1", "macro_f1", "accuracy"):
        assert rows[("text",)][name] == expected[name]
    assert rows[("text",)]["micro_f1"] < rows[("text", "audio")]["micro_f1"] < 1


def test_missing_rates_hide_about_that_share_and_never_everything(reader):
    score, scores, calls = reader
    rows = by_missing_rate(score, scores, HALF, rates=(0.0, 0.4, 1.0), repeats=3)
    assert [row["rate"] for row in rows] == [0.0, 0.4, 1.0]
    assert len(calls) == 1 + 3 + 3
    assert rows[0]["hidden"] == 0
    assert rows[0]["micro_f1"] == 1
    assert 0.3 < rows[1]["hidden"] < 0.45
    assert rows[2]["hidden"] == pytest.approx(2 / 3)
    assert rows[0]["micro_f1"] > rows[1]["micro_f1"] > rows[2]["micro_f1"]
    for present in calls:
        assert np.any(list(present.values()), axis=0).all()


def test_the_one_modality_that_is_kept_is_drawn_evenly():
    shown = draw_shown(np.random.default_rng(0), 3000, 1.0)
    assert (shown.sum(axis=1) == 1).all()
    assert (abs(shown.mean(axis=0) - 1 / 3) < 0.05).all()


def test_the_same_seed_hides_the_same(reader):
    score, scores, calls = reader
    for seed in (1, 1, 2):
        by_missing_rate(score, scores, HALF, rates=(0.5,), repeats=1, seed=seed)
    first, again, other = (np.stack(list(present.values())) for present in calls)
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_outside_0_and_1_is_refused(reader, rate):
    score, scores, _ = reader
    with pytest.raises(InputError, match="missing rate"):
        by_missing_rate(score, scores, HALF, rates=(rate,))


@pytest.mark.parametrize("given", [np.zeros((79, 3)), np.full((80, 3), np.nan)])
def test_scores_that_do_not_fit_are_refused_by_what_was_hidden(reader, given):
    _, scores, _ = reader
    with pytest.raises(InputError, match="CARAT"):
        by_modality_subset(lambda present: given, scores, HALF)
