import json
from dataclasses import replace

import numpy as np
import pytest

from mmer.calibration.calibration import Calibration, calibrate, probabilities
from mmer.calibration.conformal import coverage
from mmer.calibration.settings import CalibrationSettings
from mmer.errors import InputError
from mmer.metrics.decisions import decide
from mmer.metrics.metrics import HEADLINE, evaluate

BIAS_BY_LABEL = np.array([1.5, -1.5, 1.2, -1.0, 1.0, -1.0])


@pytest.fixture(scope="module")
def scores(draw, as_scores):
    return as_scores(*draw(1, bias=BIAS_BY_LABEL))


@pytest.fixture(scope="module")
def calibration(scores):
    return calibrate(scores, CalibrationSettings(alphas=(0.1, 0.2, 0.001)))


def test_says_what_it_was_made_from(calibration, scores):
    assert calibration.labels == scores.labels
    assert calibration.model == scores.info.model
    assert calibration.fingerprint == scores.info.fingerprint
    assert calibration.samples == 600
    assert calibration.groups == 100
    assert calibration.positives == tuple(scores.truth.sum(axis=0))
    assert calibration.synthetic
    assert calibration.method == "per_label"
    assert "0.25" in calibration.reason
    asked = [(one.alpha, one.unit) for one in calibration.conformal]
    assert asked == [(a, unit) for a in (0.1, 0.2, 0.001) for unit in ("samples", "labels")]
    assert any("alpha 0.001 over labels is out of reach" in note for note in calibration.notes)


@pytest.mark.parametrize("metric", list(HEADLINE))
def test_every_headline_metric_has_the_thresholds_that_are_best_for_it(calibration, scores, metric):
    found, alone = (
        calibration.of_metric[metric],
        calibrate(scores, CalibrationSettings(target=metric)),
    )
    assert found.thresholds == alone.thresholds
    assert (found.method, found.reason) == (alone.method, alone.reason)
    assert metric in found.reason
    others = [one for name, one in calibration.of_metric.items() if name != metric]
    assert all(one.thresholds != found.thresholds for one in others)


def test_survives_json_bit_for_bit(calibration, scores):
    again = Calibration.from_json(calibration.to_json(), "calibration")
    assert again == calibration
    np.testing.assert_array_equal(
        probabilities(scores.scores, again), probabilities(scores.scores, calibration)
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
        [c.threshold for c in again.conformal], [c.threshold for c in calibration.conformal]
    )


def test_probabilities_are_better_calibrated_on_new_samples(calibration, draw):
    scores, truth, _ = draw(99, samples=3000, bias=BIAS_BY_LABEL)
    calibrated = probabilities(scores, calibration)
    before, after = (abs(p.mean(axis=0) - truth.mean(axis=0)) for p in (scores, calibrated))
    assert (after < before).all()


def test_conformal_sets_cover_new_samples(calibration, draw):
    scores, truth, groups = draw(98, samples=3000, bias=BIAS_BY_LABEL)
    for one in calibration.conformal[:4]:
        found = coverage(scores, truth, tuple(map(str, groups)), one)
        assert found.loss is not None
        assert found.loss < one.alpha + 0.03


def test_another_model_and_other_tables_are_refused(calibration):
    calibration.check("0123", "made-for-tests")
    with pytest.raises(InputError, match=r"model.*\(0123\), found 4567"):
        calibration.check("4567", "made-for-tests")
    with pytest.raises(InputError, match=r"fingerprint.*\(made-for-tests\), found others"):
        calibration.check("0123", "others")


@pytest.mark.parametrize("split", ["test", "train"])
@pytest.mark.parametrize("fixed_threshold", [None, 0.5])
def test_another_split_is_refused(scores, split, fixed_threshold):
    info = scores.info.model_copy(update={"split": split, "fixed_threshold": fixed_threshold})
    with pytest.raises(InputError, match=f"split.*valid.*found {split}"):
        calibrate(replace(scores, info=info), CalibrationSettings())


@pytest.mark.parametrize(
    "settings",
    [
        CalibrationSettings(),
        CalibrationSettings(method="per_label", target="macro_f1", minimum_positives=1),
        CalibrationSettings(method="shared", fixed=0.9, alphas=(0.2, 0.001)),
    ],
)
def test_a_system_with_a_threshold_of_its_own_keeps_it(scores, settings):
    info = scores.info.model_copy(update={"fixed_threshold": 0.5, "title": "Some system"})
    found = calibrate(replace(scores, info=info), settings)
    assert found.thresholds == (0.5,) * 6
    assert found.method == "fixed by the system"
    assert found.reason == "Some system has nothing to calibrate."
    assert found.candidates == found.conformal == found.notes == ()
    np.testing.assert_array_equal(probabilities(scores.scores, found), scores.scores)


def test_all_positive_predicts_every_label_for_every_sample(draw, as_scores):
    _, truth, groups = draw(4)
    everything = as_scores(np.ones(truth.shape), truth, groups, fixed_threshold=0.0)
    calibration = calibrate(everything, CalibrationSettings(method="per_label"))
    thresholds = np.array(calibration.thresholds)
    assert decide(everything.scores, thresholds).all()
    share = truth.mean(axis=0)
    metrics = evaluate(everything, thresholds)
    assert metrics.micro_f1 == pytest.approx(2 * share.sum() / (share.sum() + 6))
    assert metrics.macro_f1 == pytest.approx(np.mean(2 * share / (share + 1)))


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
    assert Calibration.from_json(calibration.to_json(), "calibration") == calibration


def test_scores_of_another_number_of_labels_have_no_probabilities(calibration):
    with pytest.raises(ValueError, match="shorter"):
        probabilities(np.ones((3, 5)), calibration)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.pop("thresholds"),
        lambda record: record.update(unknown=1),
        lambda record: record.update(thresholds=[0.5]),
        lambda record: record.update(thresholds=["a"] * 6),
        lambda record: record.update(thresholds=[float("nan")] * 6),
        lambda record: record.update(thresholds=[1.5] * 6),
        lambda record: record.update(candidates=[{"metod": "fixed"}]),
        lambda record: record["probabilities"][0].pop("calibrator"),
    ],
)
def test_a_damaged_record_is_refused(calibration, damage):
    record = json.loads(calibration.to_json())
    damage(record)
    with pytest.raises(InputError, match=r"calibration\.json"):
        Calibration.from_json(json.dumps(record), "calibration.json")
