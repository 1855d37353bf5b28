"""Heat maps whose numbers stand in their cells, on wide pages and on narrow ones."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import chain
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from mmer.reporting.panels import GREY, panels

# Columns of letters, and pixels.
_WIDE_LABEL, _NARROW_ROW, _NARROW_COLUMN = 24, 18, 18
_CELL, _ABOVE, _LINE, _NARROW_FONT = 42, 64, 16, 12
_LETTER = 7
_UNKNOWN = "#F1F3F4"


def heat_map(
    heading: str,
    synthetic: bool,
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float | None]],
    cells: Sequence[Sequence[str]],
    *,
    colours: str,
    ends: tuple[float, float],
) -> go.Figure:
    """Rows x columns.

    Args:
        values: What the colours are of; beyond the `ends` there are no further colours. A cell
            without a value is grey.
        cells: What stands in them.
    """
    figure, _ = panels(heading, synthetic, columns=1)
    hover = [[f"{escape(r)}<br>{escape(c)}" for c in columns] for r in rows]
    figure.add_heatmap(
        x=list(range(len(columns))),
        y=list(range(len(rows))),
        z=[list(row) for row in values],
        text=[list(row) for row in cells],
        customdata=hover,
        hovertemplate="%{customdata}<br>%{text}<extra></extra>",
        texttemplate="%{text}",
        colorscale=colours,
        zmin=ends[0],
        zmax=ends[1],
        showscale=False,
        xgap=2,
        ygap=2,
    )
    figure.update_xaxes(tickvals=list(range(len(columns))), side="top", showgrid=False)
    figure.update_yaxes(tickvals=list(range(len(rows))), autorange="reversed", showgrid=False)
    figure.update_xaxes(zeroline=False, automargin=True).update_yaxes(
        zeroline=False, automargin=True
    )
    across = max(8, min(_WIDE_LABEL, 110 // len(columns)))
    figure.update_layout(**_labels(rows, columns, _WIDE_LABEL, across, angle=0))
    lines = max(len(_lines(one, across)) for one in columns)
    title = figure.layout.title.text.replace(" <", "<br><")
    return figure.update_layout(
        title_text=title,
        title={"y": 1, "yref": "container", "yanchor": "top", "pad_t": 20},
        plot_bgcolor=_UNKNOWN,
        height=_ABOVE + _LINE * lines + _CELL * len(rows) + 30,
        margin={"l": 8, "r": 8, "t": _ABOVE + _LINE * lines, "b": 8},
        meta={
            "rows": list(rows),
            "columns": list(columns),
            "least": _LETTER * (_NARROW_ROW + len(columns) * (1 + max(map(len, chain(*cells))))),
        },
    )


def narrow_heat_map(figure: go.Figure) -> dict[str, Any]:
    """The layout of such a figure on a narrow page: titles of columns run upwards."""
    copy = go.Figure(figure)
    rows, columns = copy.layout.meta["rows"], copy.layout.meta["columns"]
    copy.update_layout(**_labels(rows, columns, _NARROW_ROW, _NARROW_COLUMN, angle=-90))
    above = _ABOVE + 20 + _LETTER * min(_NARROW_COLUMN, max(map(len, columns)))
    told, mark, rest = copy.layout.title.text.partition("<br><span")
    copy.update_layout(
        title_text=f"{'<br>'.join(wrap(told, 40))}{mark}{rest}",
        title_font_size=14,
        font_size=_NARROW_FONT,
        margin={"l": 4, "r": 4, "t": above, "b": 4},
        height=above + _LINE * len(rows) * max(2, *(len(_lines(one, _NARROW_ROW)) for one in rows)),
    )
    return copy.to_plotly_json()["layout"]


def _labels(
    rows: Sequence[str], columns: Sequence[str], along: int, across: int, angle: int
) -> dict[str, Any]:
    return {
        "yaxis_ticktext": ["<br>".join(_lines(one, along)) for one in rows],
        "xaxis_ticktext": ["<br>".join(_lines(one, across)) for one in columns],
        "xaxis_tickangle": angle,
        "xaxis_tickcolor": GREY,
    }


def _lines(text: str, width: int) -> list[str]:
    return [
        escape(line) for line in wrap(text, width, break_on_hyphens=False, break_long_words=False)
    ]
