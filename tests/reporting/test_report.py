from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from mmer.errors import InputError
from mmer.evaluation import figures
from mmer.evaluation.attention import attended_words
from mmer.evaluation.failures import surest_mistakes
from mmer.evaluation.report import ReportInput, render_report
from mmer.evaluation.summary import assess

HALF = np.array([0.5, 0.5, 0.5])
HOSTILE = "<script>alert('x')</script>"
CURVE = {"probability": [0.5], "frequency": [0.4], "count": [9], "expected_calibration_error": 0.1}


def make_input(toy_scores, synthetic: bool = True, **changes: object) -> ReportInput:
    scores = toy_scores(60, synthetic=synthetic)
    other = toy_scores(60, seed=1, truth=scores.truth, synthetic=synthetic, system="other")
    assessed = assess([(scores, HALF), (other, HALF)], resamples=50)
    calibration = {
        "weights": scores.weights,
        "labels": list(scores.labels),
        "thresholds": HALF.tolist(),
        "target": "micro_f1",
        "method": "shared",
        "reason": "The shared threshold was best.",
        "candidates": [{"method": "fixed", "prior_positives": None, "value": 0.51234}],
        "positives": [11, 12, 13],
        "samples": 50,
        "groups": 17,
        "synthetic": synthetic,
        "probabilities": [
            {
                "calibrator": {"method": "isotonic"},
                "log_losses": {"identity": 0.6, "isotonic": 0.5},
                "before": CURVE,
                "after": CURVE,
                "note": "",
            }
        ]
        * 3,
        "conformal": [{"alpha": 0.1, "cut": 0.3, "bound": 0.09, "groups": 17, "feasible": True}],
        "notes": ["anger is rare"],
    }
    coverage = {"false_negative_rate": 0.08, "covered": 0.9, "mean_set_size": 2.5, "groups": 20}
    attention = np.full((3, 3), 1 / 3)
    fields = {
        "corpus": "mosei",
        "alignment": "word",
        "assessed": assessed,
        "calibration": calibration,
        "coverage": [coverage],
        "figures": {
            "systems": figures.systems(assessed, synthetic=synthetic),
            "precision_recall": figures.precision_recall(scores, HALF),
        },
        "mistakes": surest_mistakes(scores, HALF, most=2),
        "attention": [attended_words(scores, 3, attention, ["so", HOSTILE, "happy"])],
        "facts": {"git commit": HOSTILE},
    }
    return ReportInput(**{**fields, **changes})


class Page(HTMLParser):
    """What a browser would load or run, and what it would show."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.shown = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.open = [tag]
        values = dict(attrs)
        self.loads += [values[name] for name in ("src", "srcset", "data") if name in values]
        self.loads += [v for k, v in attrs if k == "href" and not v.startswith("#")]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.open = []

    def handle_data(self, data):
        if self.open == ["script"]:
            self.scripts[-1] += data
        elif self.open != ["style"]:
            self.shown += data


@pytest.fixture(scope="module")
def page(toy_scores) -> Page:
    return Page(render_report(make_input(toy_scores)))


def test_the_page_needs_no_network_and_holds_plotly_once(page):
    assert page.loads == []
    libraries = [script for script in page.scripts if "plotly.js v" in script[:200]]
    assert len(libraries) == 1
    assert sum(len(script) > 1_000_000 for script in page.scripts) == 1
    assert sum("Plotly.newPlot(" in script[:2000] for script in page.scripts) >= 2


def test_text_from_the_data_is_shown_not_run(page):
    assert not any("alert('x')" in script for script in page.scripts)
    assert page.shown.count(HOSTILE) == 3 + 1  # in each emotion's line of words, and among facts


def test_labels_reach_the_figures_escaped(toy_scores):
    hostile = replace(toy_scores(60), labels=("</script><script>alert(1)</script>", "sad", "anger"))
    source = make_input(toy_scores)
    figure = figures.precision_recall(hostile, HALF)
    html = render_report(replace(source, figures={"precision_recall": figure}))
    assert not any(script.startswith("alert(1)") for script in Page(html).scripts)


def test_synthetic_is_written_across_the_page(toy_scores, page):
    assert page.shown.count("SYNTHETIC") >= 2
    real = render_report(make_input(toy_scores, synthetic=False))
    assert "SYNTHETIC" not in Page(real).shown
    assert "synthetic" not in Page(real).shown


def test_every_section_says_what_was_given(toy_scores, page):
    source = make_input(toy_scores)
    metrics = source.assessed[0]["metrics"]
    for text in (
        f"{metrics['micro_f1']:.3f}",
        f"{metrics['macro_auroc']:.3f}",
        "The shared threshold was best.",
        "0.5123",
        "anger is rare",
        "identity 0.6000, isotonic 0.5000",
        "0.080",
        "90.0 %",
        source.mistakes[0]["sample_id"],
        metrics["weights"],
        "60 samples in 15 groups",
    ):
        assert text in page.shown, text


def test_published_figures_stand_beside_ours_with_their_caveats(toy_scores, page):
    for text in ("0.565 to 0.568", "0.475 to 0.484", "0.544", "0.535", "0.529", "swapped"):
        assert text in page.shown
    assert "on a SYNTHETIC corpus: not comparable" in page.shown
    other = Page(render_report(make_input(toy_scores, corpus="m3ed")))
    assert "No published figures are at hand" in other.shown
    assert "0.544" not in other.shown


def test_words_are_shaded_by_their_weight(toy_scores):
    scores = toy_scores(60)
    attention = np.array([[0.8, 0.0, 0.5], [0.2, 0.0, 0.5]])
    example = attended_words(scores, 0, attention, ["first", "second"])
    html = render_report(make_input(toy_scores, attention=[example]))
    colour = figures.label_colours(scores.labels)["happy"]
    assert f'background:{colour}c8" title="0.800">first<' in html
    assert f'background:{colour}32" title="0.200">second<' in html


def test_the_same_input_gives_the_same_page(toy_scores):
    assert render_report(make_input(toy_scores)) == render_report(make_input(toy_scores))


def test_a_page_without_optional_parts_is_whole(toy_scores):
    source = make_input(toy_scores, figures={}, attention=[], mistakes=[], coverage=[], facts={})
    source.calibration["conformal"] = []
    shown = re.sub(r"\s+", " ", Page(render_report(source)).shown)
    assert "No conformal sets were asked for." in shown
    assert "does not say which words" in shown


@pytest.mark.parametrize(
    ("key", "value"), [("weights", "others"), ("thresholds", [0.5, 0.5, 0.6]), ("conformal", [])]
)
def test_a_calibration_of_something_else_is_refused(toy_scores, key, value):
    source = make_input(toy_scores)
    source.calibration[key] = value
    with pytest.raises(InputError, match="report"):
        render_report(source)


def test_an_unknown_figure_is_refused(toy_scores):
    source = make_input(toy_scores)
    with pytest.raises(InputError, match="percision_recall"):
        render_report(replace(source, figures={"percision_recall": source.figures["systems"]}))
