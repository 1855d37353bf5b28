from __future__ import annotations

import json

import numpy as np
import pytest

from mmer.evaluation.intervals import bootstrap_intervals, compare
from mmer.evaluation.metrics import evaluate
from mmer.evaluation.summary import assess, summary_frame, summary_text, value_text, verdict

HALF = np.array([0.5, 0.5, 0.5])


@pytest.fixture(scope="module")
def assessed(toy_scores):
    first = toy_scores(200, signal=0.6)
    twin = toy_scores(200, seed=1, signal=0.6, truth=first.truth, system="twin")
    guess = toy_scores(200, seed=2, signal=0.0, truth=first.truth, system="guess")
    return assess([(first, HALF), (twin, HALF), (guess, HALF)], resamples=300)


def test_each_system_has_its_metrics_intervals_and_the_first_ones_lead(assessed, toy_scores):
    first = toy_scores(200, signal=0.6)
    guess = toy_scores(200, seed=2, signal=0.0, truth=first.truth, system="guess")
    assert assessed[0]["metrics"] == evaluate(first, HALF)
    assert assessed[0]["intervals"] == bootstrap_intervals(first, HALF, resamples=300)
    assert assessed[0]["lead"] is None
    assert assessed[2]["lead"] == compare(first, HALF, guess, HALF, resamples=300)
    assert json.loads(json.dumps(assessed, allow_nan=False)) == assessed


def test_what_is_within_noise_is_called_that(assessed):
    frame = summary_frame(assessed)
    lead = frame["CARAT's lead, micro-F1"]
    assert frame["system"].tolist() == ["CARAT", "twin", "guess"]
    assert lead[0] == ""
    assert lead[1].endswith("within noise")
    assert lead[2].endswith("better")
    low = assessed[2]["lead"]["metrics"]["micro_f1"]["low"]
    assert f"[{low:+.3f}, " in lead[2]


def test_figures_stand_with_their_intervals(assessed):
    row = assessed[0]["intervals"]["metrics"]["macro_f1"]
    expected = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    assert summary_frame(assessed)["macro-F1"][0] == expected


def test_the_text_holds_the_table_and_says_synthetic(assessed):
    text = summary_text(assessed)
    assert "SYNTHETIC" in text
    assert "200 samples in 50 groups" in text
    for word in ("CARAT", "twin", "guess", "within", "noise", "better", "micro-F1"):
        assert word in text
    for one in assessed:
        assert value_text(one["metrics"]["micro_f1"]) in text
    assert max(map(len, text.splitlines())) <= 112


def test_real_corpora_are_not_called_synthetic(toy_scores):
    one = assess([(toy_scores(synthetic=False), HALF)], resamples=50)
    assert "SYNTHETIC" not in summary_text(one)


@pytest.mark.parametrize(
    ("difference", "within_noise", "expected"),
    [
        (0.1, False, "better"),
        (-0.1, False, "worse"),
        (0.1, True, "within noise"),
        (None, None, "undefined"),
    ],
)
def test_verdict(difference, within_noise, expected):
    assert verdict({"difference": difference, "within_noise": within_noise}) == expected


def test_what_is_undefined_is_written_out():
    assert value_text(None) == "undefined"
    assert value_text(0.5) == "0.500"
