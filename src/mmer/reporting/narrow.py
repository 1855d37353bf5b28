"""Figures on a narrow page: their panels below each other, where a wide page has them in rows."""

from __future__ import annotations

from math import ceil
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

# All in pixels.
_PANEL, _BETWEEN, _LINE, _BELOW = 230, 120, 20, 90
_TITLE_COLUMNS, _LEGEND_COLUMNS = 40, 2
_MARK = " <span"


def narrow_layout(figure: go.Figure) -> dict[str, Any]:
    """The layout that takes the place of the figure's own where the page is as narrow as a phone.

    Panels stand below each other, each with the ticks of its own axes, and the legend below all.
    """
    copy = go.Figure(figure)
    layout, panels = copy.layout, list(copy.select_yaxes())
    height = max(1, len(panels)) * (_PANEL + _BETWEEN) - _BETWEEN
    tops = [1 - k * (_PANEL + _BETWEEN) / height for k in range(len(panels))]
    for axis, top in zip(panels, tops, strict=True):
        axis.update(domain=[max(0.0, top - _PANEL / height), top])
    copy.update_xaxes(domain=[0, 1], showticklabels=True, automargin=True)
    copy.update_yaxes(showticklabels=True, automargin=True)
    titles = [a for a in layout.annotations if (a.xref, a.yref) == ("paper", "paper")]
    for title, top in zip(titles, tops, strict=False):
        text = "<br>".join(wrap(title.text, _TITLE_COLUMNS))
        title.update(x=0.5, y=top, font_size=14, text=text)
    told, mark, rest = layout.title.text.replace("<br>", " ").partition(_MARK)
    lines = [*wrap(told, _TITLE_COLUMNS), *([f"{mark.strip()}{rest}"] if mark else [])]
    named = {trace.name for trace in copy.data if trace.showlegend is not False}
    rows = ceil(len(named) / _LEGEND_COLUMNS) if layout.showlegend is not False else 0
    above, below = _LINE * len(lines) + 2 * _LINE, _BELOW + _LINE * rows
    copy.update_layout(
        title_text="<br>".join(lines),
        title={"x": 0, "y": 1, "yref": "container", "yanchor": "top", "pad_t": _LINE},
        title_font_size=15,
        height=height + above + below,
        margin={"l": 8, "r": 20, "t": above, "b": below},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "yanchor": "top"},
        legend_y=-(_BELOW - _LINE) / height,
    )
    return copy.to_plotly_json()["layout"]
