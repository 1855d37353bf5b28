from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.metrics import f1_score, log_loss

from mmer.calibration.calibration import ThresholdsFor
from mmer.calibration.conformal import coverage
from mmer.calibration.probabilities import Calibrator, reliability
from mmer.errors import InputError
from mmer.evaluation.assessment import (
    Assessment,
    Comparison,
    EvaluationSettings,
    assess,
    check_model,
    compare_systems,
    judged_by,
)
from mmer.metrics.intervals import bootstrap_intervals, compare
from mmer.metrics.metrics import evaluate

HALF = np.array([0.5, 0.5, 0.5])
SETTINGS = EvaluationSettings(resamples=200)


@pytest.fixture
def systems(noisy_scores, thresholds_for):
    """A system, its equal and one that guesses, each with its calibration and assessment."""
    first = noisy_scores(200, signal=0.6)
    all_scores = [first]
    for seed, signal, title in ((1, 0.6, "twin"), (2, 0.0, "guess")):
        told = {"title": title, "model": f"digest-of-{title}"}
        all_scores.append(noisy_scores(seed=seed, signal=signal, truth=first.truth, **told))
    found = []
    for scores in all_scores:
        calibration = thresholds_for(scores)
        found.append((scores, calibration, assess(scores, calibration, SETTINGS)))
    return found


def test_an_assessment_has_all_figures_of_a_system(systems):
    scores, calibration, assessment = systems[0]
    assert assessment.info == scores.info
    assert assessment.thresholds == tuple(HALF)
    assert assessment.metrics == evaluate(scores, HALF)
    assert assessment.intervals == bootstrap_intervals(
        judged_by(scores, calibration), resamples=200
    )
    assert assessment.coverage == tuple(
        coverage(scores.scores, scores.truth, scores.group_ids, threshold)
        for threshold in calibration.conformal
    )
    assert Assessment.from_json(assessment.to_json(), "here") == assessment


def test_what_was_chosen_on_validation_for_a_figure_is_what_it_is_judged_by(systems):
    scores, calibration, _ = systems[0]
    softer = Calibrator(method="temperature", temperature=3.0)
    changed = calibration.model_copy(
        update={
            "of_metric": {"macro_f1": ThresholdsFor(thresholds=(0.8,) * 3, method="", reason="")},
            "probabilities": tuple(
                label.model_copy(update={"calibrator": softer})
                for label in calibration.probabilities
            ),
        }
    )
    found = assess(scores, changed, SETTINGS)
    given, figures = softer(scores.scores), found.intervals.metrics
    assert figures["log_loss"].value == pytest.approx(
        np.mean([log_loss(*columns) for columns in zip(scores.truth.T, given.T, strict=True)])
    )
    assert figures["brier_score"].value == pytest.approx(np.mean((given - scores.truth) ** 2))
    rows = zip(given.T, scores.truth.T, strict=True)
    assert found.reliability == tuple(reliability(*columns) for columns in rows)
    assert figures["macro_f1"].value == pytest.approx(
        f1_score(scores.truth, scores.scores > 0.8, average="macro")
    )
    assert figures["micro_f1"].value == pytest.approx(
        f1_score(scores.truth, scores.scores > 0.5, average="micro")
    )


def test_the_first_system_is_compared_with_each_of_the_others(systems):
    comparison = compare_systems(systems, SETTINGS)
    assert comparison.assessments == tuple(assessment for _, _, assessment in systems)
    assert [found.second for found in comparison.differences] == ["twin", "guess"]
    judged = [judged_by(scores, calibration) for scores, calibration, _ in systems]
    assert comparison.differences == compare(judged[0], judged[1:], resamples=200)
    assert Comparison.from_json(comparison.to_json(), "here") == comparison


def test_one_system_alone_is_compared_with_none(systems):
    assert compare_systems(systems[:1], SETTINGS).differences == ()


@pytest.mark.parametrize("changed", ["model", "fingerprint"])
def test_a_calibration_of_something_else_is_refused(systems, changed):
    scores, calibration, _ = systems[0]
    other = calibration.model_copy(update={changed: "another"})
    with pytest.raises(InputError, match=changed):
        assess(scores, other, SETTINGS)


@pytest.mark.parametrize("changed", ["fingerprint", "split", "corpus"])
def test_systems_on_other_samples_are_refused(systems, changed):
    scores, calibration, assessment = systems[1]
    info = scores.info.model_copy(update={changed: "valid" if changed == "split" else "another"})
    other = (
        replace(scores, info=info),
        calibration.model_copy(update={"fingerprint": info.fingerprint}),
        assessment.model_copy(update={"info": info}),
    )
    with pytest.raises(InputError, match=changed):
        compare_systems([systems[0], other], SETTINGS)


@pytest.mark.parametrize("changed", ["sample_ids", "group_ids"])
def test_systems_on_samples_of_other_names_are_refused(systems, changed):
    scores, calibration, assessment = systems[1]
    other = replace(scores, **{changed: getattr(scores, changed)[::-1]})
    with pytest.raises(InputError, match=changed):
        compare_systems([systems[0], (other, calibration, assessment)], SETTINGS)


def test_an_assessment_of_other_scores_is_refused(systems):
    (scores, calibration, _), (_, _, other) = systems[:2]
    with pytest.raises(InputError, match="Assess it again"):
        compare_systems([(scores, calibration, other)], SETTINGS)
    again = calibration.model_copy(update={"thresholds": (0.5, 0.5, 0.6)})
    with pytest.raises(InputError, match="Assess it again"):
        compare_systems([(scores, again, systems[0][2])], SETTINGS)


def test_what_is_of_another_model_is_refused_by_name():
    check_model("mine", failures="mine")
    with pytest.raises(InputError, match="robustness"):
        check_model("mine", failures="mine", robustness="another")


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_missing_rate_outside_0_and_1_is_refused(rate):
    with pytest.raises(ValidationError, match="missing_rates"):
        EvaluationSettings(missing_rates=(rate,))
