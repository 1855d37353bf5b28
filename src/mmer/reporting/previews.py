"""Figures for a viewer that puts its own light or dark theme behind them.

The viewer colours the background, the text and one pair of axes; all else has to stand out from
either background.
"""

from __future__ import annotations

import json
import re
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from mmer.reporting.panels import INK, PALETTE

NEUTRAL = "#7A7A7A"
"""Stands out from #EEEEEE by 3.7 : 1 and from #111111 by 4.4 : 1 (WCAG 2 asks for 3 : 1)."""
_FAINT = "rgba(122, 122, 122, 0.35)"
_TOO_DARK = {INK.lower(), PALETTE[-1].lower(), "#5f6368"}
_SEEN_THROUGH = 0.6
_TITLE_COLUMNS = 50
_MARK = re.compile(r"^(.*?) <span[^>]*>(.*)</span>$")
_AXIS = {
    "color": NEUTRAL,
    "gridcolor": _FAINT,
    "zerolinecolor": NEUTRAL,
    "linecolor": NEUTRAL,
    "tickcolor": NEUTRAL,
    "tickfont_size": 9,
    "title_font_size": 10,
}


def preview(figure: go.Figure) -> dict[str, Any]:
    """The figure as JSON, legible on a dark and on a light background, and small.

    Dark ink becomes grey, error bars are seen through their bars, text takes the colour of the
    viewer's theme, and that a corpus is synthetic comes first: a small picture cuts the rest off.
    """
    copy = go.Figure(figure)
    copy.update_layout(template="none", paper_bgcolor=None, plot_bgcolor=None, font_color=None)
    title = _MARK.sub(r"<b>\2</b> \1", copy.layout.title.text or "")
    lines = "<br>".join(wrap(title, _TITLE_COLUMNS))
    copy.update_layout(title_text=lines, title_font_size=12, title_y=0.94, title_yanchor="top")
    copy.update_xaxes(**_AXIS).update_yaxes(**_AXIS).update_annotations(font_size=10)
    for bars in copy.select_traces(selector={"type": "bar"}):
        _see_through(bars)
    for table in copy.select_traces(selector={"type": "table"}):
        table.header.update(fill_color=_FAINT, line_color=_FAINT)
        table.cells.update(fill_color="rgba(0, 0, 0, 0)", line_color=_FAINT)
    return _on_any_background(json.loads(copy.to_json()))


def _see_through(bars: go.Bar) -> None:
    for error in (bars.error_x, bars.error_y):
        if error.array is not None:
            error.update(color=NEUTRAL, thickness=2)
    given = bars.marker.opacity
    several = isinstance(given, (tuple, list))
    seen = [
        min(_SEEN_THROUGH, 1.0 if one is None else one) for one in (given if several else [given])
    ]
    bars.marker.opacity = seen if several else seen[0]


def _on_any_background(found: Any) -> Any:
    """The same with the colours replaced that a dark background swallows."""
    if isinstance(found, dict):
        return {key: _on_any_background(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_on_any_background(value) for value in found]
    return NEUTRAL if isinstance(found, str) and found.lower() in _TOO_DARK else found
