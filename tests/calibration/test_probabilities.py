import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss

from mmer.calibration.probabilities import calibrate_label, fit_calibrator, reliability


def logistic(values):
    return 1 / (1 + np.exp(-values))


@pytest.fixture
def drawn():
    """Log-odds, the truth drawn from them, groups, and five folds of these."""
    rng = np.random.default_rng(0)
    odds = 1.5 * rng.normal(size=4000)
    truth = (rng.random(4000) < logistic(odds)).astype(np.uint8)
    return odds, truth, np.arange(4000) // 4, np.arange(4000) // 4 % 5


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_temperature_is_recovered(drawn, temperature):
    odds, truth, *_ = drawn
    calibrator = fit_calibrator("temperature", logistic(odds * temperature), truth)
    assert calibrator.temperature == pytest.approx(temperature, rel=0.1)
    np.testing.assert_allclose(
        calibrator(logistic(odds * temperature)),
        logistic(odds * temperature / calibrator.temperature),
    )


def test_temperature_of_separable_scores_stays_finite():
    truth = np.array([0, 0, 1, 1])
    calibrator = fit_calibrator("temperature", np.array([0.2, 0.3, 0.8, 0.9]), truth)
    assert calibrator.temperature == pytest.approx(1 / 20, rel=0.01)
    assert np.isfinite(calibrator(np.array([0.0, 0.5, 1.0]))).all()


def test_isotonic_equals_scikit_learn(drawn):
    odds, truth, *_ = drawn
    scores = logistic(odds)
    calibrator = fit_calibrator("isotonic", scores, truth)
    reference = IsotonicRegression(out_of_bounds="clip").fit(scores, truth)
    new = np.linspace(0, 1, 501)
    expected = np.clip(reference.predict(new), 1 / 4002, 1 - 1 / 4002)
    np.testing.assert_allclose(calibrator(new), expected, atol=1e-12)
    assert (np.diff(calibrator(new)) >= 0).all()


@pytest.mark.parametrize(
    ("distort", "method"),
    [
        (lambda odds: logistic(3 * odds), "temperature"),
        (lambda odds: logistic(0.5 * odds - 2), "platt"),
        (lambda odds: 0.5 + np.where(odds > 0, 0.45, 0.2) * np.tanh(odds), "isotonic"),
    ],
)
def test_the_method_that_undoes_the_distortion_is_chosen(drawn, distort, method):
    odds, truth, groups, folds = drawn
    label = calibrate_label(distort(odds), truth, groups, folds, minimum=20)
    assert label.calibrator.method == method
    assert label.log_losses[method] == min(label.log_losses.values())
    before, after = label.before, label.after
    assert after.expected_calibration_error < 0.3 * before.expected_calibration_error
    assert sum(before.count) == sum(after.count) == len(truth)


def test_log_loss_is_of_samples_not_fitted_on(drawn):
    odds, truth, groups, folds = drawn
    scores = logistic(2 * odds[:300])
    label = calibrate_label(scores, truth[:300], groups[:300], folds[:300], minimum=5)
    held_out = np.empty(300)
    for fold in range(5):
        out = folds[:300] == fold
        fitted = IsotonicRegression(y_min=1 / 242, y_max=1 - 1 / 242, out_of_bounds="clip")
        held_out[out] = fitted.fit(scores[~out], truth[:300][~out]).predict(scores[out])
    assert label.log_losses["isotonic"] == pytest.approx(log_loss(truth[:300], held_out))


def test_calibrated_scores_are_left_alone(drawn):
    odds, truth, groups, folds = drawn
    label = calibrate_label(logistic(odds[:60]), truth[:60], groups[:60], folds[:60], minimum=5)
    assert label.calibrator.method == "identity"
    assert label.before == label.after


def test_a_calibrator_is_taken_for_a_gain_beyond_chance_only(drawn):
    """Scores that are probabilities already, in groups that are alike: few may be changed."""
    taken = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        odds = rng.normal(size=300) + np.repeat(rng.normal(size=30), 10)
        truth = (rng.random(300) < logistic(odds)).astype(np.uint8)
        groups = np.arange(300) // 10
        label = calibrate_label(logistic(odds), truth, groups, groups % 5, minimum=5)
        chosen = label.calibrator.method
        if chosen != "identity":
            gain = label.log_losses["identity"] - label.log_losses[chosen]
            assert gain > 1.645 * label.standard_errors[chosen]
            taken += 1
    assert taken <= 6


def test_platt_scaling_is_recovered_and_never_falls(drawn):
    odds, truth, *_ = drawn
    found = fit_calibrator("platt", logistic(0.5 * odds - 2), truth)
    assert 1 / found.temperature == pytest.approx(2, rel=0.1)
    assert found.shift == pytest.approx(4, rel=0.1)
    against = fit_calibrator("platt", logistic(-odds), truth)
    assert (np.diff(against(np.linspace(0, 1, 101))) >= 0).all()
    separable = fit_calibrator("platt", np.array([0.2, 0.3, 0.8, 0.9]), np.array([0, 0, 1, 1]))
    assert np.isfinite(separable(np.array([0.0, 0.5, 1.0]))).all()


@pytest.mark.parametrize(
    "truth", [np.zeros(50, int), np.ones(50, int), np.eye(1, 50, dtype=int)[0]]
)
def test_a_label_with_too_few_on_one_side_is_left_alone_and_said(truth):
    scores = np.linspace(0.01, 0.99, 50)
    label = calibrate_label(scores, truth, np.arange(50), np.arange(50) % 5, minimum=2)
    assert label.calibrator.method == "identity"
    assert list(label.log_losses) == ["identity"]
    assert f"{truth.sum()} of 50" in label.note


def test_reliability_by_hand():
    found = reliability(np.array([0.1, 0.3, 0.31, 1.0]), np.array([0, 1, 0, 1]))
    assert found.count == (1, 2, 1)
    assert found.frequency == (0.0, 0.5, 1.0)
    assert found.probability == pytest.approx((0.1, 0.305, 1.0))
    assert found.expected_calibration_error == pytest.approx((0.1 + 2 * 0.195 + 0) / 4)
