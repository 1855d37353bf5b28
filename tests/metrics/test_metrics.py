from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from mmer.errors import InputError
from mmer.metrics.metrics import HEADLINE, Metrics, evaluate
from mmer.metrics.scores import Scores

LABELS = ("happy", "sad", "anger")


@pytest.fixture(scope="module")
def scored(toy_scores):
    """Scores from lists."""

    def made(truth: list, scores: list) -> Scores:
        labels = LABELS[: len(truth[0])]
        rows = np.array(scores, float)
        return toy_scores(rows, np.array(truth), "test", groups_of=2, labels=labels)

    return made


@st.composite
def cases(draw: st.DrawFn) -> tuple[list, list, np.ndarray]:
    samples, labels = draw(st.integers(1, 12)), draw(st.integers(2, 3))
    bits = st.lists(st.integers(0, 1), min_size=labels, max_size=labels)
    # few levels, so that scores tie with each other and with thresholds
    levels = st.lists(st.sampled_from([0, 0.25, 0.5, 0.75, 1]), min_size=labels, max_size=labels)
    truth = draw(st.lists(bits, min_size=samples, max_size=samples))
    scores = draw(st.lists(levels, min_size=samples, max_size=samples))
    return truth, scores, np.array(draw(levels))


def same(ours: float | None, theirs: float) -> bool:
    return np.isnan(theirs) if ours is None else ours == pytest.approx(theirs)


@settings(max_examples=25, deadline=None)
@given(cases())
def test_metrics_are_scikit_learns(scored, case):
    scores, thresholds = scored(*case[:2]), case[2]
    truth, decided = scores.truth, (scores.scores > thresholds).astype(int)
    found = evaluate(scores, thresholds)
    met = np.flatnonzero((truth | decided).any(axis=0))
    for average in ("micro", "macro", "weighted"):
        if not len(met) or (average == "weighted" and not truth.any()):
            assert getattr(found, f"{average}_f1") is None
            continue
        zero = np.nan if average == "micro" else 0
        expected = sk.precision_recall_fscore_support(
            truth, decided, labels=met, average=average, zero_division=zero
        )
        for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert same(getattr(found, f"{average}_{name}"), value)
    assert found.subset_accuracy == sk.accuracy_score(truth, decided)
    assert found.hamming_loss == pytest.approx(sk.hamming_loss(truth, decided))
    if found.ranking_loss is not None:
        assert found.ranking_loss == sk.label_ranking_loss(truth, scores.scores)
    if found.coverage_error is not None:
        assert found.coverage_error == sk.coverage_error(truth, scores.scores)
    for row, true, values, decisions in zip(
        found.per_label, truth.T, scores.scores.T, decided.T, strict=True
    ):
        assert (row.support, row.predicted) == (true.sum(), decisions.sum())
        if 0 < true.sum() < len(true):
            assert row.average_precision == sk.average_precision_score(true, values)
            assert row.auroc == sk.roc_auc_score(true, values)
            assert row.balanced_accuracy == pytest.approx(
                sk.balanced_accuracy_score(true, decisions)
            )
        else:
            assert row.auroc is None
            assert row.balanced_accuracy is None
        assert (row.recall is None) == (true.sum() == 0)
        assert (row.precision is None) == (decisions.sum() == 0)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_the_means_over_labels_are_of_the_same_labels(scored, case):
    found = evaluate(scored(*case[:2]), case[2])
    met = [row for row in found.per_label if row.support or row.predicted]
    for name in ("precision", "recall", "f1"):
        values = [getattr(row, name) or 0 for row in met]
        expected = np.mean(values) if met else np.nan
        assert same(getattr(found, f"macro_{name}"), expected)


@settings(max_examples=40, deadline=None)
@given(cases())
def test_accuracy_is_the_mean_intersection_over_union(scored, case):
    scores, thresholds = scored(*case[:2]), case[2]
    overlaps, kind_overlaps = [], []
    for true, values in zip(scores.truth, scores.scores, strict=True):
        wanted = {i for i, bit in enumerate(true) if bit}
        given_ = {i for i, value in enumerate(values) if value > thresholds[i]}
        union = wanted | given_
        overlaps.append(len(wanted & given_) / len(union) if union else 0)
        kind_overlaps.append(len(wanted & given_) / len(union) if union else 1)
    found = evaluate(scores, thresholds)
    assert found.accuracy == pytest.approx(np.mean(overlaps))
    assert found.accuracy_empty_correct == pytest.approx(np.mean(kind_overlaps))


def test_a_case_computed_by_hand(scored):
    scores = scored(
        truth=[[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]],
        scores=[[0.9, 0.2, 0.1], [0.8, 0.7, 0.3], [0.1, 0.2, 0.3], [0.6, 0.9, 0.2]],
    )
    found = evaluate(scores, np.array([0.5, 0.5, 0.5]))
    # predicted: {happy}, {happy, sad}, {}, {happy, sad}; true: {happy, sad}, {happy}, {}, {sad}
    assert found.accuracy == pytest.approx((1 / 2 + 1 / 2 + 0 + 1 / 2) / 4)
    assert found.accuracy_empty_correct == pytest.approx((1 / 2 + 1 / 2 + 1 + 1 / 2) / 4)
    assert found.subset_accuracy == 1 / 4
    assert found.hamming_loss == pytest.approx(3 / 12)
    assert found.micro_precision == pytest.approx(3 / 5)
    assert found.micro_recall == pytest.approx(3 / 4)
    assert found.labels_per_sample_true == 1
    assert found.labels_per_sample_predicted == 5 / 4
    happy = found.per_label[0]
    assert (happy.support, happy.predicted) == (2, 3)
    assert happy.precision == pytest.approx(2 / 3)
    assert happy.recall == 1
    assert happy.balanced_accuracy == pytest.approx((1 + 1 / 2) / 2)
    assert found.per_label[1].balanced_accuracy == pytest.approx((1 / 2 + 1 / 2) / 2)
    # two pairs per sample with one label, sad above happy in none but the last
    assert found.ranking_loss == pytest.approx(0)
    # labels to go down until all true ones are met: 2, 1, none needed, 1
    assert found.coverage_error == pytest.approx((2 + 1 + 0 + 1) / 4)


def test_precision_and_recall_are_not_swapped(scored):
    everything = scored(truth=[[1, 0], [0, 0], [0, 1], [0, 0]], scores=[[1, 1]] * 4)
    found = evaluate(everything, np.array([0.5, 0.5]))
    assert found.micro_recall == 1
    assert found.micro_precision == pytest.approx(2 / 8)


def test_what_is_undefined_is_said_and_left_out_of_averages(scored):
    scores = scored(truth=[[1, 0], [0, 0], [1, 0]], scores=[[0.9, 0.1], [0.2, 0.1], [0.8, 0.1]])
    found = evaluate(scores, np.array([0.5, 0.5]))
    sad = found.per_label[1]
    assert [getattr(sad, name) for name in ("precision", "recall", "f1", "auroc")] == [None] * 4
    assert found.macro_f1 == found.per_label[0].f1 == 1
    assert found.macro_auroc == 1
    notes = " / ".join(found.notes)
    assert "sad is never predicted: precision is undefined" in notes
    assert "no sample has sad: recall, f1" in notes
    assert "1 samples without a label count 0" in notes


def test_nothing_true_and_nothing_predicted_leaves_f1_undefined(scored):
    found = evaluate(scored(truth=[[0, 0]] * 3, scores=[[0.1, 0.2]] * 3), np.array([0.5, 0.5]))
    for name in ("micro_f1", "macro_f1", "macro_auroc", "ranking_loss", "coverage_error"):
        assert getattr(found, name) is None
        assert name in found.notes[0]
    assert found.accuracy == 0
    assert found.accuracy_empty_correct == 1


def test_a_single_label_is_evaluated(scored):
    scores = scored(truth=[[1], [1], [0], [0]], scores=[[0.9], [0.2], [0.8], [0.1]])
    found = evaluate(scores, np.array([0.5]))
    assert found.micro_precision == found.macro_recall == found.micro_f1 == 1 / 2
    assert found.accuracy == found.per_label[0].recall / 2 == 1 / 4
    assert found.hamming_loss == 1 / 2
    assert found.ranking_loss is None
    assert "one label: there is nothing to rank" in found.notes


def test_a_label_that_is_never_predicted_counts_zero_in_every_mean_and_that_is_said(scored):
    scores = scored(truth=[[1, 1], [0, 1], [1, 0]], scores=[[0.9, 0.1], [0.2, 0.1], [0.8, 0.1]])
    found = evaluate(scores, np.array([0.5, 0.5]))
    assert found.per_label[1].precision is None
    assert found.per_label[1].recall == found.per_label[1].f1 == 0
    assert found.macro_precision == found.macro_recall == found.macro_f1 == 1 / 2
    assert found.weighted_precision == 1 / 2
    said = "sad is never predicted: precision is undefined, and 0 in the means over labels"
    assert said in found.notes


def test_the_record_survives_json_and_says_how_much_was_evaluated(drawn_scores):
    found = evaluate(drawn_scores(), np.array([0.5, 0.4, 0.3]))
    assert Metrics.from_json(found.to_json(), "metrics") == found
    assert (found.samples, found.groups) == (60, 15)
    assert tuple(row.label for row in found.per_label) == LABELS
    assert set(HEADLINE) <= set(Metrics.model_fields)


@pytest.mark.parametrize(
    ("thresholds", "key"),
    [
        (np.array([0.5, 0.5]), "thresholds"),
        (np.array([[0.5, 0.5, 0.5]]), "thresholds"),
        (np.array([0.5, np.nan, 0.5]), "thresholds"),
        (np.array([0.5, np.inf, 0.5]), "thresholds"),
    ],
)
def test_unfit_thresholds_are_refused(drawn_scores, thresholds, key):
    with pytest.raises(InputError) as caught:
        evaluate(drawn_scores(), thresholds)
    assert caught.value.key == key


def test_where_every_sample_has_one_label_the_highest_score_chooses(toy_scores) -> None:
    truth = np.eye(3, dtype=int)[[0, 1, 1, 2, 0]]
    rows = np.array([[0.2, 0.1, 0.1], [0.1, 0.9, 0.3], [0.6, 0.5, 0.1], [0.1, 0.2, 0.3], [0.4] * 3])
    told = {"groups_of": 2, "labels": LABELS}
    scores = toy_scores(rows, truth, "test", one_label=True, **told)
    chosen = [0, 1, 0, 2, 0]
    found = evaluate(scores, np.full(3, 0.5))
    assert found.single_accuracy == 0.8
    true = truth.argmax(axis=1)
    assert found.single_macro_f1 == pytest.approx(sk.f1_score(true, chosen, average="macro"))
    assert found.single_weighted_f1 == pytest.approx(sk.f1_score(true, chosen, average="weighted"))
    several = evaluate(toy_scores(rows, truth, "test", **told), np.full(3, 0.5))
    assert several.single_accuracy is None
    assert not any("single" in note for note in several.notes)
