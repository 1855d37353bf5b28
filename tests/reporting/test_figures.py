from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
import pytest

from mmer.calibration.probabilities import Reliability
from mmer.errors import InputError
from mmer.evaluation.failures import CoOccurrence
from mmer.reporting import data_figures, figures
from mmer.reporting.narrow import narrow_layout
from mmer.training.history import Epoch, History

LOSSES = ((2.0, 1.0), (1.5, 0.7), (1.2, 0.6))
HISTORY = History(
    epochs=tuple(
        Epoch(
            epoch=i + 1,
            losses={"contrast": contrast, "total": total, "idle": 0.0},
            validation={"micro_f1": value},
            selection=value,
            seconds=3.0,
        )
        for i, ((total, contrast), value) in enumerate(zip(LOSSES, (0.3, 0.6, 0.5), strict=True))
    ),
    kept=2,
    criterion="micro-F1",
)


@pytest.fixture
def pair(noisy_scores, evaluated):
    def made(samples: int = 80, resamples: int = 50, **info):
        scores = noisy_scores(samples, **info)
        told = {"title": "other", "model": "digest-of-other", **info}
        other = noisy_scores(noise=1, truth=scores.truth, **told)
        return evaluated(scores, other, resamples=resamples)

    return made


def evaluation_figures(source) -> figures.EvaluationFigures:
    return figures.evaluation_figures(
        source.scores, source.calibration, source.comparison, source.failures, source.robustness
    )


def all_figures(pair, make_data, synthetic: bool) -> dict[str, go.Figure]:
    return {
        **evaluation_figures(pair(synthetic=synthetic))._asdict(),
        "learning_curves": figures.learning_curves(HISTORY, "Toy", synthetic),
        "no_learning_curves": figures.learning_curves(History(), "Toy", synthetic),
        "corpus": data_figures.corpus_overview(make_data(synthetic=synthetic)),
        **data_figures.data_figures(make_data(synthetic=synthetic))._asdict(),
    }


@pytest.mark.parametrize("synthetic", [True, False])
def test_figures_say_synthetic_when_they_are(pair, make_data, synthetic):
    for figure in all_figures(pair, make_data, synthetic).values():
        assert ("synthetic" in figure.layout.title.text) == synthetic


def test_figures_are_json_of_plain_numbers(pair, make_data):
    for name, figure in all_figures(pair, make_data, True).items():
        text = figure.to_json()
        assert "bdata" not in text, name
        assert "NaN" not in text, name


@pytest.mark.parametrize("part", ["failures", "robustness", "calibration"])
def test_what_belongs_to_another_model_is_refused(pair, part):
    source = pair()
    other = getattr(source, part).model_copy(update={"model": "another"})
    with pytest.raises(InputError, match=part):
        evaluation_figures(replace(source, **{part: other}))


def traces(figure: go.Figure, name: str) -> list:
    return [trace for trace in figure.data if trace.name == name]


def test_learning_curves_show_each_term_and_mark_the_kept_epoch():
    figure = figures.learning_curves(HISTORY, "Toy", synthetic=False)
    names = [trace.name for trace in figure.data]
    assert names[:3] == ["total", "contrast", "idle"]
    assert "seconds" not in names
    assert list(traces(figure, "total")[0].y) == [2.0, 1.5, 1.2]
    assert list(traces(figure, "idle")[0].y) == [None, None, None]
    curve, marker = traces(figure, "micro-F1")
    assert list(curve.y) == [0.3, 0.6, 0.5]
    assert (marker.x[0], marker.y[0]) == (2, 0.6)
    assert figure.layout.annotations[1].text == "validation: epoch 2 kept, 0.600"


def test_a_system_without_epochs_has_a_figure_that_says_so():
    figure = figures.learning_curves(History(), "Toy", synthetic=False)
    assert not figure.data
    assert figure.layout.annotations[0].text == "Toy is not trained in epochs."


def test_chosen_thresholds_are_marked_at_their_precision_and_recall(pair):
    source = pair(300)
    figure = evaluation_figures(source).precision_recall
    rows = source.comparison.assessments[0].metrics.per_label
    for mark, row in zip(traces(figure, "threshold"), rows, strict=True):
        assert mark.x[0] == pytest.approx(row.recall)
        assert mark.y[0] == pytest.approx(row.precision)
        assert mark.text[0] == "> 0.50"
    for trace in figure.data:
        assert len(trace.x) <= 200


def test_labels_that_never_occur_or_are_never_predicted_leave_no_mark(noisy_scores, evaluated):
    truth = np.zeros((20, 3), np.uint8)
    truth[:9, 1:] = 1
    scores = noisy_scores(truth=truth)
    scores = replace(scores, scores=scores.scores * np.array([1.0, 1.0, 0.4]))
    figure = evaluation_figures(evaluated(scores)).precision_recall
    assert not traces(figure, "happy")
    assert "happy: never occurs" in figure.to_json()
    assert len(traces(figure, "sad")) == len(traces(figure, "anger")) == 1
    assert len(traces(figure, "threshold")) == 1  # of sad; anger is never predicted


def test_co_occurrence_is_the_share_of_the_row_label():
    pairs = CoOccurrence(labels=("happy", "sad"), true=((4, 1), (1, 2)), predicted=((0, 0), (0, 2)))
    true, predicted, difference = figures.co_occurrence_heatmaps(pairs, synthetic=False).data
    assert [list(row) for row in true.z] == [[None, 0.25], [0.5, None]]
    assert [list(row) for row in predicted.z] == [[None, None], [0.0, None]]
    assert [list(row) for row in difference.z] == [[None, None], [-0.5, None]]


def test_error_bars_reach_to_the_intervals(pair):
    source = pair(100, resamples=100)
    bars = evaluation_figures(source).label_f1.data[0]
    for i, row in enumerate(source.comparison.assessments[0].intervals.label_f1.values()):
        assert bars.y[i] + bars.error_y.array[i] == pytest.approx(row.high)
        assert bars.y[i] - bars.error_y.arrayminus[i] == pytest.approx(row.low)


def test_robustness_shows_every_subset_and_rate(pair):
    source = pair()
    figure = evaluation_figures(source).robustness
    bars, line = traces(figure, "micro-F1")
    rows = source.robustness
    assert list(bars.x) == ["words<br>+ face", "words", "face"]
    assert list(bars.y) == [row.intervals["micro_f1"].value for row in rows.by_subset]
    low = rows.by_subset[1].intervals["micro_f1"].low
    assert bars.y[1] - bars.error_y.arrayminus[1] == pytest.approx(low)
    assert list(line.x) == [row.hidden for row in rows.by_missing_rate]
    assert not figure.layout.shapes  # no constant stands beside this system
    alone = rows.model_copy(update={"by_missing_rate": ()})
    shown = figures.modality_robustness(alone, source.comparison, False)
    assert traces(shown, "micro-F1")[1].x == ()


def test_robustness_is_shown_against_what_is_possible_where_that_is_known(pair):
    source = pair()
    first = source.comparison.assessments[0]
    best = {"micro_f1": 0.9, "macro_f1": 0.8, "micro_f1 of words": 0.7, "micro_f1 of face": 0.6}
    told = first.model_copy(update={"info": first.info.model_copy(update={"bayes_optimal": best})})
    comparison = source.comparison.model_copy(update={"assessments": (told,)})
    figure = figures.modality_robustness(source.robustness, comparison, True)
    (marks,) = traces(figure, "Bayes-optimal micro-F1")
    assert marks.y == (0.9, 0.7, 0.6)
    unknown = figures.modality_robustness(source.robustness, source.comparison, True)
    assert traces(unknown, "Bayes-optimal micro-F1") == []


def test_robustness_is_shown_against_the_best_constant(pair):
    source = pair()
    second = source.comparison.assessments[1]
    constant = second.model_copy(
        update={"info": second.info.model_copy(update={"fixed_threshold": 0.5})}
    )
    comparison = source.comparison.model_copy(
        update={"assessments": (source.comparison.assessments[0], constant)}
    )
    figure = figures.modality_robustness(source.robustness, comparison, False)
    reached = [second.intervals.metrics[name].value for name in figures.HEADLINE]
    assert sorted({shape.y0 for shape in figure.layout.shapes}) == sorted(reached)


def test_a_corpus_is_shown_by_its_numbers(make_data):
    figure = data_figures.corpus_overview(make_data(synthetic=False))
    assert "train: 20 samples in 7 groups" in figure.layout.title.text
    unknown = data_figures.corpus_overview(make_data(groups_known=False))
    assert "train: 20 samples, groups unknown" in unknown.layout.title.text
    text = figure.to_json()
    assert "every sample lacks face" in text
    box = next(trace for trace in figure.data if trace.type == "box")
    assert list(box.x) == ["words"]
    assert box.median == (4.5,)
    counts, _ = (trace for trace in figure.data if trace.type == "table")
    first = [column[0] for column in counts.cells["values"]]
    assert first[:5] == ["samples", "train", 20, 25, -5]
    assert first[5].startswith("5 were left out")


def test_the_data_of_a_page_are_small_figures_of_frequent_labels(make_data):
    rates, pairs, lengths = data_figures.data_figures(
        make_data(tuple(f"label {i}" for i in range(90)))
    )
    assert [bars.name for bars in rates.data] == ["train", "valid", "test"]
    assert len(rates.data[0].x) == len(pairs.data[0].z) == 30
    assert rates.data[0].y[:2] == (0.4, 0.35)
    assert [box.median for box in lengths.data] == [(4.5,)] * 3


def test_a_label_keeps_its_colour(pair):
    source = pair(100)
    colours = figures.label_colours(("happy", "sad", "anger"))
    shown = evaluation_figures(source)
    for label, colour in colours.items():
        assert traces(shown.precision_recall, label)[0].line.color == colour
    after = traces(shown.reliability, "test")
    assert [trace.line.color for trace in after] == list(colours.values())
    assert len(set(figures.label_colours([str(i) for i in range(9)]).values())) == 9


def test_what_stands_for_a_handful_of_samples_is_pale(pair):
    source = pair(80)
    few = source.failures.by_length[0].model_copy(update={"samples": 9})
    failures = source.failures.model_copy(
        update={"by_length": (few, *source.failures.by_length[1:])}
    )
    shown = evaluation_figures(replace(source, failures=failures)).failures
    bars = traces(shown, "micro-F1")[0]
    assert bars.marker.opacity[0] < 0.5
    assert bars.marker.opacity[1] == 1
    assert "n = 9" in bars.x[0]
    first = source.comparison.assessments[0]
    rows = first.metrics.per_label
    rare = first.metrics.model_copy(
        update={"per_label": (rows[0].model_copy(update={"support": 3}), *rows[1:])}
    )
    comparison = source.comparison.model_copy(
        update={"assessments": (first.model_copy(update={"metrics": rare}),)}
    )
    assert figures.label_f1(comparison, False).data[0].marker.opacity[0] < 0.5
    assert figures.label_f1(source.comparison, False).data[0].marker.opacity == (1, 1, 1)


def test_bars_of_samples_that_are_alike_have_intervals(pair):
    source = pair(100)
    bars = traces(evaluation_figures(source).failures, "accuracy")[0]
    for i, row in enumerate(source.failures.by_length):
        one = row.intervals["accuracy"]
        assert bars.y[i] + bars.error_y.array[i] == pytest.approx(one.high)
        assert bars.y[i] - bars.error_y.arrayminus[i] == pytest.approx(one.low)


def test_on_a_narrow_page_panels_stand_below_each_other(pair, make_data):
    for name, figure in all_figures(pair, make_data, True).items():
        if name == "corpus":  # a table for the pipeline viewer
            continue
        layout = narrow_layout(figure)
        axes = [value for key, value in layout.items() if key.startswith("yaxis")]
        tops = [axis["domain"][1] for axis in axes]
        assert tops == sorted(tops, reverse=True), name
        for upper, lower in pairwise(axis["domain"] for axis in axes):
            assert lower[1] < upper[0], name
        widths = [v["domain"] for k, v in layout.items() if k.startswith("xaxis")]
        assert all(tuple(domain) == (0, 1) for domain in widths), name
        assert "synthetic" in layout["title"]["text"]
        assert max(map(len, layout["title"]["text"].split("<br>")[:-1])) <= 40


def test_reliability_shows_both_curves_and_both_errors(pair):
    source = pair()
    before = Reliability(
        probability=(0.1, 0.8), frequency=(0.2, 0.7), count=(30, 10), expected_calibration_error=0.1
    )
    after = before.model_copy(
        update={"expected_calibration_error": 0.02, "frequency": (0.1, 0.8), "count": (36, 4)}
    )
    happy = source.calibration.probabilities[0].model_copy(update={"before": before})
    others = source.calibration.probabilities[1:]
    calibration = source.calibration.model_copy(update={"probabilities": (happy, *others)})
    first = source.comparison.assessments[0]
    seen = first.model_copy(update={"reliability": (after, *first.reliability[1:])})
    figure = figures.reliability(calibration, seen)
    assert figure.layout.annotations[0].text == "happy: ECE 0.100, 0.020"
    assert traces(figure, "scores")[0].y == (0.2, 0.7)
    assert traces(figure, "test")[0].y == (0.1, 0.8)
    assert traces(figure, "test")[0].customdata == (36, 4)
    assert traces(figure, "test")[0].text == ("36", "4")
    assert traces(figure, "test")[0].marker.symbol == ("circle", "circle-open")
