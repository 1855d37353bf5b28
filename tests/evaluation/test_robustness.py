from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmer.errors import InputError
from mmer.evaluation.assessment import EvaluationSettings
from mmer.evaluation.robustness import (
    Robustness,
    draw_shown,
    measure_robustness,
    modality_subsets,
)
from mmer.metrics.intervals import bootstrap_intervals
from mmer.metrics.metrics import HEADLINE, evaluate
from mmer.metrics.resampled import Judged

HALF = np.array([0.5, 0.5, 0.5])
MODALITIES = ("words", "face", "voice")
SUBSETS_ONLY = EvaluationSettings(missing_rates=(), resamples=50)


def values(row) -> dict[str, float]:
    return {name: interval.value for name, interval in row.intervals.items()}


@pytest.fixture
def reader(noisy_scores, toy_scores, thresholds_for):
    """A system whose label k is read off modality k, and the calls that were made of it."""
    truth = noisy_scores(80).truth
    calls = []

    def score(present: dict[str, np.ndarray]) -> np.ndarray:
        calls.append(present)
        return truth * np.stack([present[m] for m in MODALITIES], axis=1).astype(float)

    scores = toy_scores(truth.astype(float), truth, "test", groups_of=4)
    calibration = thresholds_for(scores)

    def measure(settings: EvaluationSettings, score=score) -> Robustness:
        return measure_robustness(score, scores, calibration, settings, MODALITIES)

    return measure, scores, calls


def test_each_of_the_seven_subsets_is_shown_once(reader):
    measure, scores, calls = reader
    found = measure(SUBSETS_ONLY)
    assert found.by_missing_rate == ()
    assert found.model == scores.info.model
    assert len({row.modalities for row in found.by_subset}) == len(calls) == 7
    assert found.by_subset[0].modalities == MODALITIES
    for row, present in zip(found.by_subset, calls, strict=True):
        shown = {m: np.full(80, m in row.modalities) for m in MODALITIES}
        assert all((present[m] == shown[m]).all() for m in MODALITIES)


def test_a_subset_scores_what_its_scores_are_worth(reader, toy_scores):
    measure, scores, _ = reader
    rows = {row.modalities: values(row) for row in measure(SUBSETS_ONLY).by_subset}
    assert rows[MODALITIES]["micro_f1"] == 1
    alone = toy_scores(scores.truth * np.array([1.0, 0, 0]), scores.truth)
    expected = evaluate(alone, HALF)
    for name in HEADLINE:
        assert rows[("words",)][name] == pytest.approx(getattr(expected, name))
    assert rows[("words",)]["micro_f1"] < rows[("words", "voice")]["micro_f1"] < 1


def test_missing_rates_hide_about_that_share_and_never_everything(reader):
    measure, _, calls = reader
    found = measure(EvaluationSettings(missing_rates=(0.0, 0.4, 1.0), repeats=3, resamples=50))
    rows = found.by_missing_rate
    assert [row.rate for row in rows] == [0.0, 0.4, 1.0]
    assert len(calls) == 7 + 1 + 3 + 3
    assert rows[0].hidden == 0
    assert values(rows[0])["micro_f1"] == 1
    assert 0.3 < rows[1].hidden < 0.45
    assert rows[2].hidden == pytest.approx(2 / 3)
    falling = [values(row)["micro_f1"] for row in rows]
    assert falling[0] > falling[1] > falling[2]
    for present in calls:
        assert np.any(list(present.values()), axis=0).all()
    assert Robustness.from_json(found.to_json(), "here") == found


def test_every_figure_has_the_interval_of_the_mean_over_draws(reader):
    measure, scores, calls = reader
    found = measure(EvaluationSettings(missing_rates=(0.4,), repeats=2, resamples=200))
    alone = bootstrap_intervals(Judged(scores, HALF), resamples=200).metrics
    assert found.by_subset[0].intervals == {name: alone[name] for name in HEADLINE}
    truth = scores.truth.astype(float)
    given = [truth * np.stack([p[m] for m in MODALITIES], axis=1) for p in calls[-2:]]
    each = [
        bootstrap_intervals(Judged(replace(scores, scores=one), HALF), resamples=200).metrics
        for one in given
    ]
    (row,) = found.by_missing_rate
    for name in HEADLINE:
        assert row.intervals[name].value == pytest.approx(np.mean([e[name].value for e in each]))
        width = row.intervals[name].high - row.intervals[name].low
        assert 0 < width < max(e[name].high - e[name].low for e in each) * 1.2


def test_the_one_modality_that_is_kept_is_drawn_evenly():
    shown = draw_shown(np.random.default_rng(0), 3000, 3, 1.0)
    assert (shown.sum(axis=1) == 1).all()
    assert (abs(shown.mean(axis=0) - 1 / 3) < 0.05).all()


def test_the_same_seed_hides_the_same(reader):
    measure, _, calls = reader
    drawn = []
    for seed in (1, 1, 2):
        measure(EvaluationSettings(missing_rates=(0.5,), repeats=1, seed=seed, resamples=50))
        drawn.append(np.stack(list(calls[-1].values())))
    first, again, other = drawn
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("given", [np.zeros((79, 3)), np.full((80, 3), np.nan)])
def test_scores_that_do_not_fit_are_refused_by_the_system_that_gave_them(reader, given):
    measure, _, _ = reader
    with pytest.raises(InputError, match="Toy"):
        measure(SUBSETS_ONLY, score=lambda present: given)


def test_what_was_hidden_is_named_when_scores_do_not_fit(reader):
    measure, _, _ = reader

    def score(present: dict[str, np.ndarray]) -> np.ndarray:
        return np.full((80, 3), 0.5 if present["face"].all() else np.nan)

    with pytest.raises(InputError, match="Toy without face"):
        measure(SUBSETS_ONLY, score=score)


@pytest.mark.parametrize(("modalities", "subsets"), [(1, 1), (2, 3), (4, 15), (5, 11), (6, 13)])
def test_few_modalities_are_shown_in_all_subsets_many_alone_or_left_out(modalities, subsets):
    names = tuple("abcdef"[:modalities])
    found = modality_subsets(names)
    assert len(set(found)) == len(found) == subsets
    assert found[0] == names
    assert {(name,) for name in names} <= set(found)


def test_a_single_modality_is_never_hidden(noisy_scores, thresholds_for):
    scores = noisy_scores()
    calls = []

    def score(present: dict[str, np.ndarray]) -> np.ndarray:
        calls.append(present)
        return scores.scores

    settings = EvaluationSettings(resamples=50)
    found = measure_robustness(score, scores, thresholds_for(scores), settings, ("voice",))
    assert [row.modalities for row in found.by_subset] == [("voice",)]
    assert found.by_missing_rate == ()
    assert all(present["voice"].all() for present in calls)
