"""Figures on the backgrounds that a viewer with two themes has."""

from __future__ import annotations

import json

import plotly.graph_objects as go

from mmer.reporting.panels import INK, PALETTE, error_bars, opacity, panels
from mmer.reporting.previews import NEUTRAL, preview


def bars(synthetic: bool) -> go.Figure:
    figure, (cell,) = panels("Scores", synthetic)
    figure.add_bar(
        y=[0.5, 0.6],
        error_y=error_bars([]) | {"array": [0.1, 0.1]},
        marker={"color": PALETTE[1], "opacity": opacity([100, 3])},
        **cell,
    )
    return figure.add_scatter(y=[1, 2], line_color=INK, **cell)


def test_nothing_is_as_dark_as_a_dark_background():
    shown = preview(bars(synthetic=False))
    text = json.dumps(shown).lower()
    assert INK.lower() not in text
    assert "plotly_white" not in text
    assert "color" not in shown["layout"]["font"]
    assert shown["data"][1]["line"]["color"] == NEUTRAL


def test_error_bars_are_seen_through_their_bars():
    (bar, _) = preview(bars(synthetic=False))["data"]
    assert bar["error_y"]["color"] == NEUTRAL
    assert bar["marker"] == {"color": PALETTE[1], "opacity": [0.6, 0.3]}


def test_a_synthetic_corpus_is_named_where_a_small_picture_is_not_cut():
    assert preview(bars(synthetic=True))["layout"]["title"]["text"].startswith("<b>(synthetic")
    assert preview(bars(synthetic=False))["layout"]["title"]["text"] == "Scores"


def test_a_long_title_has_lines_that_a_small_picture_holds():
    figure = bars(synthetic=True)
    figure.update_layout(title_text=figure.layout.title.text.replace("Scores", "All scores " * 9))
    lines = preview(figure)["layout"]["title"]["text"].split("<br>")
    assert len(lines) > 1
    assert max(map(len, lines)) <= 50


def test_the_figure_itself_stays_as_it_is():
    figure = bars(synthetic=True)
    before = figure.to_plotly_json()
    preview(figure)
    assert figure.to_plotly_json() == before
