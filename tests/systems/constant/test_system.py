from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mmer.calibration.calibration import calibrate
from mmer.calibration.settings import CalibrationSettings
from mmer.metrics.decisions import decide
from mmer.metrics.metrics import evaluate
from mmer.metrics.scores import Scores
from mmer.samples.batches import pack
from mmer.systems.constant.system import AllPositive, ConstantSettings, LabelPrior
from mmer.systems.contract import System, scored
from mmer.systems.storage import load_fitted, save_fitted

CPU = torch.device("cpu")
EVERY_SETTING = [
    CalibrationSettings(),
    CalibrationSettings(method="per_label", target="macro_f1", minimum_positives=1),
    CalibrationSettings(method="shared", target="accuracy", fixed=0.9),
    CalibrationSettings(target="recall_at_precision", minimum_precision=1.0),
]


@pytest.fixture
def scores_of(toy_table):
    """Scores of a constant system on a split."""

    def made(system: System, split: str) -> Scores:
        train, samples = pack(toy_table(60)), pack(toy_table(30, seed=1, split=split))
        fitted = system.fit(train, samples, ConstantSettings()).fitted
        return scored(fitted, system.scorer(fitted, CPU), samples)

    return made


@pytest.mark.parametrize("settings", EVERY_SETTING, ids=str)
def test_all_positive_predicts_every_label_whatever_calibration_is_set_to(scores_of, settings):
    calibration = calibrate(scores_of(AllPositive(), "valid"), settings)
    assert calibration.reason == "All-positive baseline has nothing to calibrate."
    test = scores_of(AllPositive(), "test")
    thresholds = np.array(calibration.thresholds)
    assert decide(test.scores, thresholds).all()
    share = test.truth.mean(axis=0)
    metrics = evaluate(test, thresholds)
    assert metrics.micro_recall == 1
    assert metrics.micro_f1 == pytest.approx(2 * share.mean() / (share.mean() + 1))
    assert metrics.macro_f1 == pytest.approx(np.mean(2 * share / (share + 1)))


@pytest.mark.parametrize("settings", EVERY_SETTING, ids=str)
def test_the_prior_predicts_what_most_training_samples_have(scores_of, toy_table, settings):
    prevalence = pack(toy_table(60)).truth.mean(axis=0)
    test = scores_of(LabelPrior(), "test")
    np.testing.assert_array_equal(test.scores, np.tile(prevalence, (30, 1)))
    calibration = calibrate(scores_of(LabelPrior(), "valid"), settings)
    assert calibration.reason == "Label prior has nothing to calibrate."
    decisions = decide(test.scores, np.array(calibration.thresholds))
    np.testing.assert_array_equal(decisions, np.tile(prevalence > 0.5, (30, 1)))


@pytest.mark.parametrize("system", [AllPositive(), LabelPrior()], ids=lambda s: s.name)
def test_what_was_saved_scores_the_same(toy_table, tmp_path: Path, system):
    train, test = pack(toy_table(60)), pack(toy_table(20, seed=1, split="test"))
    fit = system.fit(train, test, ConstantSettings())
    save_fitted(fit.fitted, tmp_path / "fitted")
    read = load_fitted(tmp_path / "fitted")
    assert read.digest == fit.fitted.digest
    assert fit.history.epochs == ()
    one, other = (system.scorer(fitted, CPU) for fitted in (fit.fitted, read))
    hidden = {m: np.zeros(20, bool) for m in test.modalities}
    np.testing.assert_array_equal(one.scores(test), other.scores(test, hidden))
    assert one.attention(test, np.arange(3)) == []


def test_there_is_nothing_to_set():
    with pytest.raises(ValidationError, match="threshold"):
        ConstantSettings(threshold=0.5)
