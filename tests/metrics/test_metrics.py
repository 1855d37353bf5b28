from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from mmer.errors import InputError
from mmer.evaluation.metrics import decide, decision_metrics, evaluate
from mmer.samples.scores import Scores


def scored(truth: list, scores: list, **changes: object) -> Scores:
    rows = len(truth)
    fields = {
        "scores": np.array(scores, dtype=float),
        "truth": np.array(truth, dtype=np.uint8),
        "sample_ids": tuple(f"s{i}" for i in range(rows)),
        "group_ids": tuple(f"g{i // 2}" for i in range(rows)),
        "labels": ("happy", "sad", "anger")[: len(truth[0])],
        "split": "test",
        "weights": "w",
        "synthetic": False,
    }
    return Scores(**{**fields, **changes})


@st.composite
def cases(draw: st.DrawFn) -> tuple[Scores, np.ndarray]:
    samples, labels = draw(st.integers(1, 12)), draw(st.integers(2, 3))
    bits = st.lists(st.integers(0, 1), min_size=labels, max_size=labels)
    # few levels, so that scores tie with each other and with thresholds
    levels = st.lists(st.sampled_from([0, 0.25, 0.5, 0.75, 1]), min_size=labels, max_size=labels)
    truth = draw(st.lists(bits, min_size=samples, max_size=samples))
    scores = draw(st.lists(levels, min_size=samples, max_size=samples))
    return scored(truth, scores), np.array(draw(levels))


def same(ours: float | None, theirs: float) -> bool:
    return np.isnan(theirs) if ours is None else ours == pytest.approx(theirs)


@settings(max_examples=25, deadline=None)
@given(cases())
def test_metrics_are_scikit_learns(case):
    scores, thresholds = case
    truth, decided = scores.truth, (scores.scores > thresholds).astype(int)
    found = evaluate(scores, thresholds)
    for average in ("micro", "macro", "weighted"):
        expected = sk.precision_recall_fscore_support(
            truth, decided, average=average, zero_division=np.nan
        )
        for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert same(found[f"{average}_{name}"], value)
    assert found["subset_accuracy"] == sk.accuracy_score(truth, decided)
    assert found["hamming_loss"] == pytest.approx(sk.hamming_loss(truth, decided))
    if found["ranking_loss"] is not None:
        assert found["ranking_loss"] == sk.label_ranking_loss(truth, scores.scores)
    if found["coverage_error"] is not None:
        assert found["coverage_error"] == sk.coverage_error(truth, scores.scores)
    for column, label in enumerate(scores.labels):
        row, true, values = found["per_label"][label], truth[:, column], scores.scores[:, column]
        assert row["support"] == true.sum()
        if 0 < true.sum() < len(true):
            assert row["average_precision"] == sk.average_precision_score(true, values)
            assert row["auroc"] == sk.roc_auc_score(true, values)
            balanced = sk.balanced_accuracy_score(true, decided[:, column])
            assert row["weighted_accuracy"] == pytest.approx(balanced)
        else:
            assert row["auroc"] is None
            assert row["weighted_accuracy"] is None
        assert (row["recall"] is None) == (true.sum() == 0)
        assert (row["precision"] is None) == (decided[:, column].sum() == 0)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_accuracy_is_the_mean_intersection_over_union(case):
    scores, thresholds = case
    overlaps, kind_overlaps = [], []
    for true, values in zip(scores.truth, scores.scores, strict=True):
        wanted = {i for i, bit in enumerate(true) if bit}
        given_ = {i for i, value in enumerate(values) if value > thresholds[i]}
        union = wanted | given_
        overlaps.append(len(wanted & given_) / len(union) if union else 0)
        kind_overlaps.append(len(wanted & given_) / len(union) if union else 1)
    found = decision_metrics(scores.truth, decide(scores, thresholds))
    assert found["accuracy"] == pytest.approx(np.mean(overlaps))
    assert found["accuracy_empty_correct"] == pytest.approx(np.mean(kind_overlaps))


def test_a_case_computed_by_hand():
    scores = scored(
        truth=[[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]],
        scores=[[0.9, 0.2, 0.1], [0.8, 0.7, 0.3], [0.1, 0.2, 0.3], [0.6, 0.9, 0.2]],
    )
    found = evaluate(scores, np.array([0.5, 0.5, 0.5]))
    # predicted: {happy}, {happy, sad}, {}, {happy, sad}; true: {happy, sad}, {happy}, {}, {sad}
    assert found["accuracy"] == pytest.approx((1 / 2 + 1 / 2 + 0 + 1 / 2) / 4)
    assert found["accuracy_empty_correct"] == pytest.approx((1 / 2 + 1 / 2 + 1 + 1 / 2) / 4)
    assert found["subset_accuracy"] == 1 / 4
    assert found["hamming_loss"] == pytest.approx(3 / 12)
    assert found["micro_precision"] == pytest.approx(3 / 5)
    assert found["micro_recall"] == pytest.approx(3 / 4)
    assert found["labels_per_sample_true"] == 1
    assert found["labels_per_sample_predicted"] == 5 / 4
    happy = found["per_label"]["happy"]
    assert (happy["support"], happy["predicted"]) == (2, 3)
    assert happy["precision"] == pytest.approx(2 / 3)
    assert happy["recall"] == 1
    assert happy["weighted_accuracy"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["per_label"]["sad"]["weighted_accuracy"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    # two pairs per sample with one label, sad above happy in none but the last
    assert found["ranking_loss"] == pytest.approx(0)
    # labels to go down until all true ones are met: 2, 1, none needed, 1
    assert found["coverage_error"] == pytest.approx((2 + 1 + 0 + 1) / 4)


def test_precision_and_recall_are_not_swapped():
    everything = scored(truth=[[1, 0], [0, 0], [0, 1], [0, 0]], scores=[[1, 1]] * 4)
    found = evaluate(everything, np.array([0.5, 0.5]))
    assert found["micro_recall"] == 1
    assert found["micro_precision"] == pytest.approx(2 / 8)


def test_what_is_undefined_is_said_and_left_out_of_averages():
    scores = scored(truth=[[1, 0], [0, 0], [1, 0]], scores=[[0.9, 0.1], [0.2, 0.1], [0.8, 0.1]])
    found = evaluate(scores, np.array([0.5, 0.5]))
    sad = found["per_label"]["sad"]
    assert [sad[name] for name in ("precision", "recall", "f1", "auroc")] == [None] * 4
    assert found["macro_f1"] == found["per_label"]["happy"]["f1"] == 1
    assert found["macro_auroc"] == 1
    notes = " / ".join(found["notes"])
    assert "sad is never predicted: precision is undefined" in notes
    assert "no sample has sad: recall, f1" in notes
    assert "1 samples without a label count 0" in notes


def test_nothing_true_and_nothing_predicted_leaves_f1_undefined():
    found = evaluate(scored(truth=[[0, 0]] * 3, scores=[[0.1, 0.2]] * 3), np.array([0.5, 0.5]))
    for name in ("micro_f1", "macro_f1", "macro_auroc", "ranking_loss", "coverage_error"):
        assert found[name] is None
        assert name in found["notes"][0]
    assert found["accuracy"] == 0
    assert found["accuracy_empty_correct"] == 1


def test_a_single_label_is_evaluated():
    scores = scored(truth=[[1], [1], [0], [0]], scores=[[0.9], [0.2], [0.8], [0.1]])
    found = evaluate(scores, np.array([0.5]))
    assert found["micro_precision"] == found["macro_recall"] == found["micro_f1"] == 1 / 2
    assert found["accuracy"] == found["per_label"]["happy"]["recall"] / 2 == 1 / 4
    assert found["hamming_loss"] == 1 / 2
    assert found["ranking_loss"] is None
    assert "one label: there is nothing to rank" in found["notes"]


def test_a_score_equal_to_its_threshold_is_not_above_it():
    scores = scored(truth=[[1, 1]], scores=[[0.5, 0.5]])
    assert decide(scores, np.array([0.5, 0.49])).tolist() == [[0, 1]]


def test_the_result_is_plain_json_and_names_what_was_evaluated(toy_scores):
    scores = toy_scores(system="some system", weights="abc")
    found = evaluate(scores, np.array([0.5, 0.4, 0.3]))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["system"], found["split"], found["weights"]) == ("some system", "test", "abc")
    assert found["synthetic"] is True
    assert (found["samples"], found["groups"]) == (60, 15)
    assert found["thresholds"] == {"happy": 0.5, "sad": 0.4, "anger": 0.3}


@pytest.mark.parametrize(
    ("thresholds", "key"),
    [
        (np.array([0.5, 0.5]), "thresholds"),
        (np.array(0.5), "thresholds"),
        (np.array([[0.5, 0.5, 0.5]]), "thresholds"),
        (np.array([0.5, np.nan, 0.5]), "thresholds"),
        (np.array([0.5, np.inf, 0.5]), "thresholds"),
    ],
)
def test_unfit_thresholds_are_refused(toy_scores, thresholds, key):
    with pytest.raises(InputError) as caught:
        evaluate(toy_scores(), thresholds)
    assert caught.value.key == key


def test_no_sample_is_refused(toy_scores):
    empty = toy_scores(truth=np.zeros((0, 2), np.uint8))
    with pytest.raises(InputError, match="at least one sample"):
        evaluate(empty, np.array([0.5, 0.5]))


def test_scores_that_are_not_numbers_or_do_not_fit_are_refused():
    with pytest.raises(InputError, match="a score in"):
        scored(truth=[[1, 0]], scores=[[np.nan, 0.5]])
    with pytest.raises(InputError, match="shape"):
        scored(truth=[[1, 0]], scores=[[0.5]])
