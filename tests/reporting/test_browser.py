"""The page of a run in a browser: nothing is wrong with it, and what would be wrong is found."""

from __future__ import annotations

from collections.abc import Iterator

import chromium
import pytest

from mmer.reporting.figures import evaluation_figures, learning_curves
from mmer.reporting.report import ReportInput, render_report
from mmer.training.history import Epoch, History

pytestmark = pytest.mark.skipif(not chromium.PROGRAM, reason="there is no Chromium on this machine")

LABELS = ("<img src=/x>", "sad", "disappointment")
HISTORY = History(
    epochs=tuple(
        Epoch(
            epoch=i,
            losses={"total": 1.0 / i, "contrast": 0.5},
            validation={"micro_f1": 0.5},
            selection=0.5,
            seconds=1.0,
        )
        for i in (1, 2, 3)
    ),
    kept=1,
    criterion="micro-F1",
)
BREAKS = {
    "script: ReferenceError: nothing is not defined": "<script>nothing()</script>",
    "console: beware": "<script>console.warn('beware')</script>",
    "overflow: ": "<div style='width:3000px'>wide</div>",
    "link: no target #nowhere": "<a href='#nowhere'>nowhere</a>",
    "request: file:///not-there.png": "<img src='file:///not-there.png' width=1>",
    "figure: figure-empty is not drawn": "<div class='plotly-graph-div' id='figure-empty'></div>",
    "text: cut in figure-cut: told": (
        "<div class='plotly-graph-div' id='figure-cut'>"
        "<svg style='overflow:visible'><text x='-500' y='20'>told</text></svg></div>"
    ),
    "text: overlap in figure-over: one | other": (
        "<div class='plotly-graph-div' id='figure-over'><svg><g class='annotation'>"
        "<text y='20'>one</text><text y='22'>other</text></g></svg></div>"
    ),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[chromium.Chromium]:
    with chromium.running(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def page(noisy_scores, evaluated, make_data) -> str:
    told = {"labels": LABELS, "seed": 1, "kept_epoch": 1}
    scores = noisy_scores(60, **told)
    constant = {"title": "All-positive baseline", "model": "other", "fixed_threshold": 0.5}
    other = noisy_scores(noise=1, truth=scores.truth, labels=LABELS, **constant)
    found = evaluated(scores, other)
    figures = evaluation_figures(
        found.scores, found.calibration, found.comparison, found.failures, found.robustness
    )
    return render_report(
        ReportInput(
            corpus="Toy Corpus",
            data=make_data(LABELS),
            comparison=found.comparison,
            calibration=found.calibration,
            failures=found.failures,
            explanations=found.explanations,
            figures=figures,
            learning_curves=learning_curves(HISTORY, "Toy", synthetic=True),
        )
    )


@pytest.mark.parametrize("width", [1600, 390])
def test_nothing_is_wrong_with_the_page(browser, page, tmp_path, width):
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    assert browser.problems(tmp_path / "page.html", width) == []


def test_whatever_is_wrong_would_be_found(browser, page, tmp_path):
    broken = page.replace("</main>", f"{''.join(BREAKS.values())}</main>")
    (tmp_path / "page.html").write_text(broken, encoding="utf-8")
    found = browser.problems(tmp_path / "page.html", 390)
    for problem in BREAKS:
        assert any(line.startswith(problem) for line in found), problem


def test_a_figure_that_is_not_drawn_is_found(browser, page, tmp_path):
    (tmp_path / "page.html").write_text(page.replace("\ndraw();", ""), encoding="utf-8")
    found = browser.problems(tmp_path / "page.html", 1600)
    assert sum("is not drawn" in line for line in found) == 11
