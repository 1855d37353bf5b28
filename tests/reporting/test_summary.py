from __future__ import annotations

import re
from io import StringIO

import numpy as np
import pandas as pd
import pytest

from mmer.evaluation.assessment import Comparison
from mmer.metrics.intervals import Difference, Interval
from mmer.metrics.metrics import HEADLINE
from mmer.reporting.summary import (
    answer_text,
    difference_text,
    interval_text,
    notes_below,
    p_text,
    seeds_text,
    smallest_p_value,
    summary_frame,
    summary_text,
    value_text,
)

TITLES = ("Toy network of several layers", "Logistic regression", "guess")


@pytest.fixture(scope="module")
def comparison(noisy_scores, evaluated) -> Comparison:
    first = noisy_scores(
        200, signal=0.35, title=TITLES[0], seed=3, kept_epoch=7, bayes_optimal={"micro_f1": 0.812}
    )
    told = {"truth": first.truth, "bayes_optimal": {"micro_f1": 0.812}}
    twin = noisy_scores(noise=1, signal=0.35, title=TITLES[1], model="twin", **told)
    guess = noisy_scores(noise=2, signal=0.0, title=TITLES[2], model="guess", **told)
    return evaluated(first, twin, guess, resamples=300).comparison


def test_the_frame_holds_numbers_that_come_back_from_csv(comparison):
    text = summary_frame(comparison).to_csv(index=False)
    frame = pd.read_csv(StringIO(text))
    assert frame["system"].tolist() == list(TITLES)
    assert frame["model"].tolist() == ["digest-of-toy", "twin", "guess"]
    assert frame["synthetic"].tolist() == [True] * 3
    assert frame["kept_epoch"].fillna(0).tolist() == [7, 0, 0]
    assert frame["seed"].fillna(0).tolist() == [3, 0, 0]
    for name in HEADLINE:
        intervals = [one.intervals.metrics[name] for one in comparison.assessments]
        assert frame[name].tolist() == pytest.approx([one.value for one in intervals])
        assert frame[f"{name}_low"].tolist() == pytest.approx([one.low for one in intervals])
        assert frame[f"{name}_high"].tolist() == pytest.approx([one.high for one in intervals])
        found = [one.metrics[name] for one in comparison.differences]
        for column, values in (
            (f"{name}_difference", [one.difference for one in found]),
            (f"{name}_difference_low", [one.low for one in found]),
            (f"{name}_difference_high", [one.high for one in found]),
            (f"{name}_p_value", [one.p_value for one in found]),
            (f"{name}_corrected_p_value", [one.corrected_p_value for one in found]),
        ):
            assert np.isnan(frame[column][0])
            assert frame[column][1:].tolist() == pytest.approx(values)
        assert frame[f"{name}_verdict"][1:].tolist() == [one.verdict for one in found]
    assert frame["micro_f1_verdict"][1:].tolist() == ["not significant", "better"]


def test_a_system_alone_has_no_difference_in_frame_or_text(noisy_scores, evaluated):
    alone = evaluated(noisy_scores(), resamples=50).comparison
    assert not [name for name in summary_frame(alone) if "difference" in name]
    assert "ifference" not in summary_text(alone, 120)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_text_fits_its_width_without_a_broken_number(comparison, width):
    text = summary_text(comparison, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    for one in comparison.assessments:
        interval = one.intervals.metrics["micro_f1"]
        assert f"{interval.value:.3f}" in text
        assert any(f"[{interval.low:.3f}, {interval.high:.3f}]" in line for line in lines)
    for found in comparison.differences:
        one = found.metrics["micro_f1"]
        assert any(f"{one.difference:+.3f}" in line for line in lines)
        assert any(f"[{one.low:+.3f}, {one.high:+.3f}]" in line for line in lines)
        assert any(one.verdict in line for line in lines)
    whole = re.findall(r"\[[+-]?\d\.\d{3}, [+-]?\d\.\d{3}\]", text)
    assert len(whole) == text.count("[") - text.count("[ ]")


def test_what_there_is_no_width_for_is_named(comparison):
    wide, narrow = summary_text(comparison, 120), summary_text(comparison, 60)
    assert "Not shown" not in wide
    assert "Not shown for want of width: accuracy; mAP; labels" in narrow
    assert "average precision" in wide
    assert "average precision" not in narrow
    accuracy = comparison.assessments[0].intervals.metrics["accuracy"]
    assert f"{accuracy.value:.3f}" in wide


def test_the_text_says_what_has_to_be_known(comparison):
    text = re.sub(r"\s+", " ", summary_text(comparison, 80))
    for words in (
        "SYNTHETIC corpus, test split: 200 samples in 50 groups",
        "[ ]: 95% interval",
        "Where p is above 0.05 or the interval covers 0, the difference is not significant.",
        "corrected by Holm's procedure for 2 comparisons",
        f"{TITLES[0]} is better than guess, and does not differ significantly from {TITLES[1]}",
        "in micro-F1 after Holm's correction.",
        "One training seed (3): what the figures of Toy network of several layers owe to chance",
        "kedro run --pipelines=compare_toy",
        f"{TITLES[0]} minus this system",
        f"Kept epoch: {TITLES[0]} 7.",
        "Bayes-optimal score, which no system can exceed on average: micro-F1 0.812.",
    ):
        assert words in text
    assert "does not say which samples belong together" not in text


def test_unknown_groups_are_said_to_be_unknown(noisy_scores, evaluated):
    known = evaluated(noisy_scores(), resamples=50).comparison
    assert "unknown" not in summary_text(known, 120)
    assert summary_frame(known)["groups_known"].tolist() == [True]
    found = evaluated(noisy_scores(groups_known=False), resamples=50).comparison
    assert any("does not say which samples belong together" in note for note in notes_below(found))
    text = re.sub(r"\s+", " ", summary_text(found, 80))
    assert "60 samples, groups unknown" in text
    assert "percentile bootstrap over samples, as if independent" in text
    assert summary_frame(found)["groups_known"].tolist() == [False]


def test_real_corpora_are_not_called_synthetic(noisy_scores, evaluated):
    real = evaluated(noisy_scores(synthetic=False), resamples=50).comparison
    text = summary_text(real, 80)
    assert "SYNTHETIC" not in text
    assert "Bayes" not in text
    assert "epoch" not in text
    assert "training seed (" not in text
    assert "Holm" not in text


@pytest.mark.parametrize(
    ("difference", "significant", "expected"),
    [
        (0.1, True, "+0.100 [+0.050, +0.150] better"),
        (-0.1, True, "-0.100 [-0.150, -0.050] worse"),
        (0.1, False, "+0.100 [+0.050, +0.150] not significant"),
        (None, None, "undefined"),
    ],
)
def test_differences_are_written_with_their_verdict(difference, significant, expected):
    known = difference is not None
    one = Difference(
        difference=difference,
        low=difference - 0.05 if known else None,
        high=difference + 0.05 if known else None,
        p_value=0.5 if known else None,
        significant=significant,
    )
    assert difference_text(one) == expected


@pytest.mark.parametrize(
    ("p", "corrected", "expected"),
    [
        (0.001, 0.004, "p ≤ 0.004"),  # four comparisons at the floor
        (0.0011, 0.004, "p ≤ 0.004"),  # as the one before it in Holm's order
        (0.00196, 0.00392, "p ≤ 0.004"),  # never rounded below what is known
        (0.002, 0.008, "p = 0.008"),
        (0.25, 1.0, "p = 1.000"),
        (None, None, "p undefined"),
    ],
)
def test_the_corrected_p_value_is_shown_and_never_below_what_resamples_can_tell(
    p, corrected, expected
):
    one = Difference(
        difference=0.1,
        low=0.05,
        high=0.15,
        p_value=p,
        corrected_p_value=corrected,
        significant=True,
    )
    assert p_text(one, smallest=0.004) == expected
    assert difference_text(one, " ", 0.004) == f"+0.100 [+0.050, +0.150] {expected} better"


def test_no_p_value_of_several_comparisons_is_below_what_is_said_to_be_the_smallest(comparison):
    one = smallest_p_value(comparison, "micro_f1")
    assert one == pytest.approx(2 * comparison.differences[0].bootstrap.smallest_p_value)
    for found in comparison.differences:
        assert found.metrics["micro_f1"].corrected_p_value >= one * (1 - 1e-9)
    assert "p ≤ 0.0" in summary_text(comparison, 60)


def test_the_verdict_in_words_is_that_after_correction(comparison):
    first, second = comparison.differences
    weak = second.metrics["micro_f1"].model_copy(
        update={"corrected_p_value": 0.08, "significant": False}
    )
    weakened = second.model_copy(update={"metrics": {**second.metrics, "micro_f1": weak}})
    corrected = comparison.model_copy(update={"differences": (first, weakened)})
    assert "is better than guess" in answer_text(comparison)
    assert "better" not in answer_text(corrected)
    assert f"{TITLES[0]} does not differ significantly from {TITLES[1]} and guess" in answer_text(
        corrected
    )
    bounds = f"[{weak.low:+.3f}, {weak.high:+.3f}]"
    assert bounds in answer_text(corrected, bounds=True)
    assert "Toy" in answer_text(comparison.model_copy(update={"differences": ()}))


def test_seeds_are_named_system_by_system_where_they_differ(comparison):
    info = comparison.assessments[0].info
    other = info.model_copy(update={"title": "Other", "seed": 5})
    assert seeds_text([info, info]).startswith("One training seed (3):")
    assert f"({TITLES[0]} 3, Other 5)" in seeds_text([info, other])
    assert seeds_text([info.model_copy(update={"seed": None})]) == ""


def test_what_is_undefined_is_written_out():
    assert value_text(None) == "undefined"
    assert value_text(0.5) == "0.500"
    assert interval_text(Interval(value=None, low=None, high=None, undefined=1)) == "undefined"
    shown = interval_text(Interval(value=0.5, low=0.4, high=0.6, undefined=0))
    assert shown == "0.500 [0.400, 0.600]"
