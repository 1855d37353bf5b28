import numpy as np
import pytest
from sklearn.metrics import f1_score

from mmer.calibration.folds import group_folds
from mmer.calibration.selection import Candidate, _choose, _reason, select_thresholds
from mmer.calibration.settings import CalibrationSettings
from mmer.calibration.targets import Target
from mmer.calibration.thresholds import label_thresholds, shared_threshold

BIAS_BY_LABEL = np.array([1.5, -1.5, 1.2, -1.0, 1.0, -1.0])


def select(scores, truth, groups, **settings):
    folds = group_folds(groups, 5)
    return select_thresholds(scores, truth, groups, folds, CalibrationSettings(**settings))


def candidate(method, value, gain, error, prior=None):
    return Candidate(
        method=method, prior_positives=prior, value=value, gain=gain, standard_error=error
    )


def by_name(selection, name):
    return next(c for c in selection.candidates if c.name == name)


def test_values_are_those_of_a_loop_over_folds(draw):
    scores, truth, groups = draw(1)
    folds = group_folds(groups, 5)
    own, shared = np.zeros_like(truth), np.zeros_like(truth)
    for fold in range(5):
        out = folds == fold
        fitted = scores[~out], truth[~out], Target()
        own[out] = scores[out] > label_thresholds(*fitted)
        shared[out] = scores[out] > shared_threshold(*fitted)
    selection = select(scores, truth, groups, minimum_positives=1)
    expected = {
        "fixed": scores > 0.25,
        "shared": shared,
        "per_label, shrunk by 0 positives": own,
    }
    for name, present in expected.items():
        f1 = f1_score(truth, present, average="micro")
        assert by_name(selection, name).value == pytest.approx(f1)


def test_standard_error_is_that_of_the_bootstrap_over_groups(draw):
    scores, truth, groups = draw(2, bias=0.8)
    selection = select(scores, truth, groups, fixed=0.1)
    assert by_name(selection, "fixed").standard_error == 0
    shared = by_name(selection, "shared")
    folds = group_folds(groups, 5)
    present = np.zeros_like(truth)
    for fold in range(5):
        out = folds == fold
        present[out] = scores[out] > shared_threshold(scores[~out], truth[~out], Target())
    draws = np.random.default_rng(0).multinomial(100, np.full(100, 0.01), 2000)  # (R, G)

    def f1(decided):
        def total(values):
            return draws @ np.bincount(groups, values.sum(axis=1))

        return 2 * total(decided & truth) / (total(decided) + total(truth))

    gains = f1(present) - f1((scores > 0.1).astype(np.uint8))
    assert shared.standard_error == pytest.approx(np.std(gains), rel=0.1)


def test_fixed_is_kept_where_it_is_as_good(draw):
    scores, truth, groups = draw(3, samples=1200)
    best = shared_threshold(scores, truth, Target())
    selection = select(scores, truth, groups, fixed=best)
    assert selection.chosen.method == "fixed"
    np.testing.assert_array_equal(selection.thresholds, best)
    assert selection.reason.startswith("fixed: ")


def test_shared_is_chosen_where_all_labels_are_shifted_alike(draw):
    scores, truth, groups = draw(4, samples=1800, bias=1.5)
    selection = select(scores, truth, groups)
    assert selection.chosen.method == "shared"
    np.testing.assert_array_equal(selection.thresholds, shared_threshold(scores, truth, Target()))
    assert "gains" in selection.reason


def test_per_label_is_chosen_where_labels_are_shifted_apart(draw):
    scores, truth, groups = draw(5, samples=1800, bias=BIAS_BY_LABEL)
    selection = select(scores, truth, groups)
    assert selection.chosen.method == "per_label"
    shared = shared_threshold(scores, truth, Target())
    own = label_thresholds(scores, truth, Target())
    positives = truth.sum(axis=0)
    weight = positives / (positives + selection.chosen.prior_positives)
    np.testing.assert_allclose(selection.thresholds, weight * own + (1 - weight) * shared)


def test_rare_label_takes_the_shared_threshold(draw):
    scores, truth, groups = draw(6, bias=BIAS_BY_LABEL)
    truth[np.flatnonzero(truth[:, 5])[12:], 5] = 0
    selection = select(scores, truth, groups, method="per_label", minimum_positives=13)
    shared = shared_threshold(scores, truth, Target())
    assert selection.thresholds[5] == shared
    assert (selection.thresholds[:5] != shared).all()
    enough = select(scores, truth, groups, method="per_label", minimum_positives=12)
    assert enough.thresholds[5] != shared


@pytest.mark.parametrize("method", ["fixed", "shared", "per_label"])
def test_a_method_that_is_asked_for_is_taken(draw, method):
    selection = select(*draw(7), method=method)
    assert selection.chosen.method == method
    assert "as set" in selection.reason


@pytest.mark.parametrize("name", ["macro_f1", "accuracy", "recall_at_precision"])
def test_other_targets_are_selected_too(draw, name):
    scores, truth, groups = draw(8, samples=1200, bias=BIAS_BY_LABEL)
    selection = select(scores, truth, groups, target=name, minimum_precision=0.6)
    assert selection.chosen.method == "per_label"
    if name == "recall_at_precision":
        present = scores > selection.thresholds
        precision = (present & (truth == 1)).sum() / present.sum()
        assert precision > 0.55


def test_auto_is_rarely_below_fixed_on_new_samples(draw):
    gains = []
    for seed in range(30):
        bias = (0.0, 0.4, BIAS_BY_LABEL / 3)[seed % 3]
        selection = select(*draw(seed, samples=600, bias=bias))
        scores, truth, _ = draw(1000 + seed, samples=1500, bias=bias)
        auto, fixed = (
            f1_score(truth, scores > thresholds, average="micro")
            for thresholds in (selection.thresholds, 0.25)
        )
        gains.append(auto - fixed)
    assert np.mean(np.array(gains) < 0) <= 0.1
    assert np.mean(gains) > 0


def test_the_reason_names_no_candidate_that_could_not_be_chosen():
    candidates = (
        candidate("fixed", 0.50, 0.0, 0.0),
        candidate("shared", 0.52, 0.02, 0.005),
        candidate("per_label", 0.55, 0.05, 0.04, prior=0.0),  # best, but within two errors of fixed
    )
    left_out = np.array([[0.50] * 4, [0.52] * 4, [0.54, 0.56, 0.54, 0.56]])
    chosen, best = _choose(candidates, left_out, "auto")
    assert (chosen, best) == (1, 1)
    reason = _reason(candidates, candidates[chosen], candidates[best], CalibrationSettings())
    assert reason.startswith("shared: gains 0.0200")
    assert "per_label" not in reason


@pytest.mark.parametrize("seed", range(6))
def test_the_reason_names_eligible_candidates_only(draw, seed):
    selection = select(*draw(seed, bias=BIAS_BY_LABEL / (1 + seed)))
    eligible = {c.name for c in selection.candidates if c.gain > 2 * c.standard_error}
    named = {c.name for c in selection.candidates if f"({c.name}," in selection.reason}
    assert named <= eligible
    assert selection.reason.startswith(f"{selection.chosen.name}: ")
