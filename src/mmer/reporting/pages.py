"""What all pages share: one file each, that opens from disk without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs
from plotly.utils import PlotlyJSONEncoder

from mmer.reporting.heatmap import narrow_heat_map
from mmer.reporting.narrow import narrow_layout
from mmer.reporting.summary import difference_text, interval_text, value_text
from mmer.reporting.this_run import this_run

_TEMPLATES = Path(__file__).with_name("page")
_TAGS = re.compile("<[^>]*>")


def rendered(
    template: str,
    figures: Mapping[str, go.Figure],
    filters: Mapping[str, Callable[..., object]],
    **told: Any,
) -> str:
    """A page as HTML, with Plotly inside.

    Args:
        template: A file of `page`, which extends frame.html.
        figures: Name -> figure; those that draw nothing are left out.
        filters: What the template uses beside those of all pages.
        told: What the template names; frame.html needs `title` and `synthetic`.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "value": value_text,
        "interval": interval_text,
        "difference": difference_text,
        "range": range_text,
        "lines": _lines,
        **filters,
    }
    drawn = {name: _parts(one) for name, one in figures.items() if one.data}
    return environment.get_template(template).render(
        plotlyjs=get_plotlyjs(), figures=drawn, zip=zip, run=this_run(), **told
    )


def range_text(bounds: tuple[float, float] | None) -> str:
    """Lowest and highest, or the one value that both are."""
    return " to ".join(f"{value:.3f}" for value in dict.fromkeys(bounds)) if bounds else "—"


def _parts(figure: go.Figure) -> dict[str, Any]:
    """A figure as JSON that may stand in HTML, in words for who cannot see it, and the least width
    that it can be read at, if it has one: on narrower pages it scrolls in its box."""
    drawn = json.loads(figure.to_json())
    narrow = narrow_heat_map(figure) if figure.layout.meta else narrow_layout(figure)
    parts = {"data": drawn["data"], "wide": drawn["layout"], "small": narrow}
    text = json.dumps(parts, cls=PlotlyJSONEncoder).replace("<", r"\u003c")
    title = figure.layout.title.text.partition("<")[0].strip()
    least = (figure.layout.meta or {}).get("least")
    return {"json": text, "title": title, "told": _told(figure, title), "least": least}


def _told(figure: go.Figure, title: str) -> str:
    """A figure in words: its panels and what is drawn in them. The numbers stand in tables."""
    panels = [one.text for one in figure.layout.annotations if one.xref == "paper" and one.text]
    series = list(dict.fromkeys(one.name for one in figure.data if one.name))
    found = [title]
    for lead, names in (("Panels", panels), ("Shown", series)):
        if names:
            found.append(f"{lead}: {', '.join(_TAGS.sub(' ', name) for name in names)}")
    return f"{'. '.join(found)}."


def _lines(text: str) -> Markup:
    """Text whose lines stay lines."""
    return Markup("<br>").join(escape(text).split("\n"))
