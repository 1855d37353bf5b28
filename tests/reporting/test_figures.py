from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest

from mmer.evaluation import figures
from mmer.evaluation.data_report import data_report
from mmer.evaluation.failures import by_label_count, by_length, co_occurrence
from mmer.evaluation.metrics import evaluate
from mmer.evaluation.modality import by_missing_rate, by_modality_subset
from mmer.evaluation.summary import assess

HALF = np.array([0.5, 0.5, 0.5])
HISTORY = [
    {"epoch": 1, "total": 2.0, "contrast": 1.0, "idle": 0.0, "seconds": 3.0, "valid_micro_f1": 0.3},
    {"epoch": 2, "total": 1.5, "contrast": 0.7, "idle": 0.0, "seconds": 3.0, "valid_micro_f1": 0.6},
    {"epoch": 3, "total": 1.2, "contrast": 0.6, "idle": 0.0, "seconds": 3.0, "valid_micro_f1": 0.5},
]
BIN = {"probability": [0.1, 0.8], "frequency": [0.2, 0.7], "count": [30, 10]}
BINS = {
    "happy": {
        "before": {**BIN, "expected_calibration_error": 0.1},
        "after": {**BIN, "expected_calibration_error": 0.02},
    }
}


def all_figures(toy_scores, toy_table, synthetic: bool) -> dict[str, go.Figure]:
    scores = toy_scores(80, synthetic=synthetic)
    other = toy_scores(80, seed=1, truth=scores.truth, synthetic=synthetic, system="other")
    assessed = assess([(scores, HALF), (other, HALF)], resamples=50)

    def score(present: dict[str, np.ndarray]) -> np.ndarray:
        return scores.scores * present["text"][:, None]

    report = data_report({s: toy_table(20, i) for i, s in enumerate(("train", "valid", "test"))})
    said = {"synthetic": synthetic}
    return {
        "learning_curves": figures.learning_curves(HISTORY, **said),
        "precision_recall": figures.precision_recall(scores, HALF),
        "reliability": figures.reliability(BINS, **said),
        "co_occurrence": figures.co_occurrence_heatmaps(co_occurrence(scores, HALF), **said),
        "robustness": figures.modality_robustness(
            by_modality_subset(score, scores, HALF), by_missing_rate(score, scores, HALF), **said
        ),
        "label_f1": figures.label_f1(assessed, **said),
        "systems": figures.systems(assessed, **said),
        "failures": figures.failures(
            by_length(scores, HALF, np.arange(80)), by_label_count(scores, HALF), **said
        ),
        "corpus": figures.corpus_overview({**report, **said}),
    }


@pytest.mark.parametrize("synthetic", [True, False])
def test_figures_say_synthetic_when_they_are(toy_scores, toy_table, synthetic):
    for figure in all_figures(toy_scores, toy_table, synthetic).values():
        assert ("synthetic" in figure.layout.title.text) == synthetic


def test_figures_are_json_of_plain_numbers(toy_scores, toy_table):
    for name, figure in all_figures(toy_scores, toy_table, True).items():
        text = figure.to_json()
        assert "bdata" not in text, name
        assert "NaN" not in text, name


def traces(figure: go.Figure, name: str) -> list:
    return [trace for trace in figure.data if trace.name == name]


def test_learning_curves_show_each_term_and_mark_the_best_epoch():
    figure = figures.learning_curves(HISTORY, synthetic=False)
    names = [trace.name for trace in figure.data]
    assert names[:3] == ["total", "contrast", "idle"]
    assert "seconds" not in names
    assert list(traces(figure, "total")[0].y) == [2.0, 1.5, 1.2]
    assert list(traces(figure, "idle")[0].y) == [None, None, None]
    marker = traces(figure, "micro-F1")[1]
    assert (marker.x[0], marker.y[0]) == (2, 0.6)


def test_chosen_thresholds_are_marked_at_their_precision_and_recall(toy_scores):
    scores, thresholds = toy_scores(300), np.array([0.4, 0.5, 0.6])
    figure = figures.precision_recall(scores, thresholds)
    rows = evaluate(scores, thresholds)["per_label"].values()
    for mark, row, threshold in zip(traces(figure, "threshold"), rows, thresholds, strict=True):
        assert mark.x[0] == pytest.approx(row["recall"])
        assert mark.y[0] == pytest.approx(row["precision"])
        assert mark.text[0] == f"> {threshold:.2f}"
    for trace in figure.data:
        assert len(trace.x) <= 200


def test_labels_that_never_occur_or_are_never_predicted_leave_no_mark(toy_scores):
    truth = np.zeros((20, 2), np.uint8)
    truth[:9, 1] = 1
    figure = figures.precision_recall(toy_scores(truth=truth), np.array([0.5, 0.99999]))
    assert not traces(figure, "threshold")
    assert not traces(figure, "happy")
    assert len(traces(figure, "sad")) == 1
    assert "happy: never occurs" in figure.to_json()


def test_co_occurrence_is_the_share_of_the_row_label():
    pairs = {"labels": ["happy", "sad"], "true": [[4, 1], [1, 2]], "predicted": [[0, 0], [0, 2]]}
    true, predicted, difference = figures.co_occurrence_heatmaps(pairs, synthetic=False).data
    assert [list(row) for row in true.z] == [[None, 0.25], [0.5, None]]
    assert [list(row) for row in predicted.z] == [[None, None], [0.0, None]]
    assert [list(row) for row in difference.z] == [[None, None], [-0.5, None]]


def test_error_bars_reach_to_the_intervals(toy_scores):
    assessed = assess([(toy_scores(100), HALF)], resamples=100)
    bars = figures.label_f1(assessed, synthetic=False).data[0]
    for i, row in enumerate(assessed[0]["intervals"]["per_label_f1"].values()):
        assert bars.y[i] + bars.error_y.array[i] == pytest.approx(row["high"])
        assert bars.y[i] - bars.error_y.arrayminus[i] == pytest.approx(row["low"])


def test_a_label_keeps_its_colour(toy_scores):
    colours = figures.label_colours(("happy", "sad", "anger"))
    figure = figures.precision_recall(toy_scores(100), HALF)
    for label, colour in colours.items():
        assert traces(figure, label)[0].line.color == colour
    after = traces(figures.reliability(BINS, synthetic=False), "after")[0]
    assert after.line.color == colours["happy"]
    assert len(set(figures.label_colours([str(i) for i in range(9)]).values())) == 9
