import json
from dataclasses import replace

import numpy as np
import pytest

from mmer.calibration.calibration import (
    Calibration,
    calibrate,
    calibrated_probabilities,
    decide,
)
from mmer.calibration.conformal import coverage
from mmer.calibration.settings import CalibrationSettings
from mmer.errors import InputError

BIAS_BY_LABEL = np.array([1.5, -1.5, 1.2, -1.0, 1.0, -1.0])


@pytest.fixture(scope="module")
def scores(draw, as_scores):
    return as_scores(*draw(1, bias=BIAS_BY_LABEL))


@pytest.fixture(scope="module")
def calibration(scores):
    return calibrate(scores, CalibrationSettings(alphas=(0.1, 0.2, 0.001)))


def test_says_what_it_was_made_from(calibration, scores):
    assert calibration.labels == scores.labels
    assert calibration.weights == scores.weights
    assert calibration.samples == 600
    assert calibration.groups == 100
    assert calibration.positives == tuple(scores.truth.sum(axis=0))
    assert calibration.synthetic
    assert calibration.method == "per_label"
    assert "0.25" in calibration.reason
    assert [cut.alpha for cut in calibration.conformal] == [0.1, 0.2, 0.001]
    assert any("alpha 0.001 is out of reach" in note for note in calibration.notes)


def test_survives_json_bit_for_bit(calibration, scores):
    again = Calibration.from_dict(json.loads(json.dumps(calibration.to_dict(), allow_nan=False)))
    assert again == calibration
    for function in (decide, calibrated_probabilities):
        np.testing.assert_array_equal(
            function(scores.scores, again), function(scores.scores, calibration)
        )


def test_same_scores_same_calibration_in_any_order(calibration, scores):
    order = np.random.default_rng(0).permutation(600)
    shuffled = replace(
        scores,
        scores=scores.scores[order],
        truth=scores.truth[order],
        sample_ids=tuple(scores.sample_ids[i] for i in order),
        group_ids=tuple(scores.group_ids[i] for i in order),
    )
    again = calibrate(shuffled, CalibrationSettings(alphas=(0.1, 0.2, 0.001)))
    assert again.thresholds == calibration.thresholds
    assert again.method == calibration.method
    np.testing.assert_allclose(
        [c.cut for c in again.conformal], [c.cut for c in calibration.conformal]
    )


def test_a_label_is_present_strictly_above_its_threshold(calibration):
    at = np.array([calibration.thresholds])
    above = np.nextafter(at, 1)
    assert not decide(at, calibration).any()
    assert decide(above, calibration).all()
    assert decide(above, calibration).dtype == np.uint8


def test_probabilities_are_better_calibrated_on_new_samples(calibration, draw):
    scores, truth, _ = draw(99, samples=3000, bias=BIAS_BY_LABEL)
    probabilities = calibrated_probabilities(scores, calibration)
    before, after = (abs(p.mean(axis=0) - truth.mean(axis=0)) for p in (scores, probabilities))
    assert (after < before).all()


def test_conformal_sets_cover_new_samples(calibration, draw):
    scores, truth, groups = draw(98, samples=3000, bias=BIAS_BY_LABEL)
    for cut in calibration.conformal[:2]:
        found = coverage(scores, truth, tuple(map(str, groups)), cut)
        assert found.false_negative_rate < cut.alpha + 0.03


def test_other_weights_are_refused(calibration):
    calibration.check_weights("0123")
    with pytest.raises(InputError, match=r"weights.*\(0123\), found 4567"):
        calibration.check_weights("4567")


@pytest.mark.parametrize("split", ["test", "train"])
def test_another_split_is_refused(scores, split):
    with pytest.raises(InputError, match=f"split.*valid.*found {split}"):
        calibrate(replace(scores, split=split), CalibrationSettings())


def test_empty_validation_is_refused(as_scores):
    nothing = as_scores(np.zeros((0, 6)), np.zeros((0, 6), np.uint8), np.zeros(0, int))
    with pytest.raises(InputError, match="at least one sample, found an empty validation split"):
        calibrate(nothing, CalibrationSettings())


def test_no_positive_label_at_all_is_refused(scores):
    with pytest.raises(InputError, match="at least one positive label"):
        calibrate(replace(scores, truth=np.zeros_like(scores.truth)), CalibrationSettings())


def test_a_single_group_is_refused(scores):
    with pytest.raises(InputError, match="at least 2 groups"):
        calibrate(replace(scores, group_ids=("one",) * 600), CalibrationSettings())


def test_fewer_groups_than_folds_are_said(draw, as_scores):
    scores, truth, _ = draw(2, samples=300)
    calibration = calibrate(as_scores(scores, truth, np.arange(300) % 3), CalibrationSettings())
    assert any("only 3 groups" in note for note in calibration.notes)


@pytest.mark.parametrize("fill", [0, 1])
def test_a_label_of_a_single_class_is_said(scores, fill):
    truth = scores.truth.copy()
    truth[:, 5] = fill
    settings = CalibrationSettings(method="per_label")
    calibration = calibrate(replace(scores, truth=truth), settings)
    assert calibration.probabilities[5].calibrator.method == "identity"
    assert any(note.startswith("fear: scores are taken as") for note in calibration.notes)
    said = any(note.startswith("fear: takes the shared") for note in calibration.notes)
    assert said == (fill == 0)


def test_a_single_label_and_a_label_in_one_fold_only(draw, as_scores):
    scores, truth, groups = draw(3, samples=120)
    truth[:, 0] = groups == 0
    calibration = calibrate(
        as_scores(scores[:, :1], truth[:, :1], groups), CalibrationSettings(minimum_positives=1)
    )
    assert len(calibration.thresholds) == 1
    json.dumps(calibration.to_dict(), allow_nan=False)


@pytest.mark.parametrize("function", [decide, calibrated_probabilities])
def test_scores_that_do_not_fit_are_refused(calibration, function):
    with pytest.raises(InputError, match=r"\(N, 6\).*found \(3, 5\)"):
        function(np.ones((3, 5)), calibration)
    bad = np.ones((3, 6))
    bad[1, 2] = np.nan
    with pytest.raises(InputError, match=r"row 1, anger.*found NaN"):
        function(bad, calibration)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.pop("thresholds"),
        lambda record: record.update(unknown=1),
        lambda record: record.update(thresholds=[0.5]),
        lambda record: record.update(thresholds=["a"] * 6),
        lambda record: record.update(thresholds=[float("nan")] * 6),
        lambda record: record.update(candidates=[{"metod": "fixed"}]),
        lambda record: record["probabilities"][0].pop("calibrator"),
    ],
)
def test_a_damaged_record_is_refused(calibration, damage):
    record = json.loads(json.dumps(calibration.to_dict()))
    damage(record)
    with pytest.raises(InputError, match="calibration"):
        Calibration.from_dict(record)
