"""What the figures share: panels, colours, error bars, and how a handful of samples looks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import cycle, islice
from math import ceil
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mmer.metrics.intervals import Interval

# Okabe and Ito's palette, told apart with any kind of colour vision, then two more.
PALETTE = (
    *("#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"),
    *("#7F6A00", "#5B4B8A", "#444444"),
)
GREY, INK = "#9AA0A6", "#202124"
DOTTED = {"color": GREY, "dash": "dot"}
FEW = 10
"""Samples: what stands for fewer says so."""
_PALE = 0.3
_ENDS = ("value", "low", "high")


def panels(
    heading: str, synthetic: bool, titles: Sequence[str] = ("",), columns: int = 3, **options: Any
) -> tuple[go.Figure, list[dict[str, int]]]:
    """An empty figure of panels, and the place of each."""
    columns = min(columns, len(titles))
    rows = ceil(len(titles) / columns)
    figure = make_subplots(rows, columns, subplot_titles=titles, **options)
    if synthetic:
        heading += " <span style='color:#B3261E'>(synthetic corpus)</span>"
    figure.update_layout(
        template="plotly_white",
        title_text=heading,
        title_x=0.01,
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        height=120 + 300 * rows,
        margin={"t": 90, "b": 60, "r": 80, "l": 70},
    )
    # Where both axes begin at 0, their first labels would touch.
    figure.update_yaxes(ticklabelstandoff=5)
    return figure, [{"row": i // columns + 1, "col": i % columns + 1} for i in range(len(titles))]


def opacity(counts: Iterable[int]) -> list[float]:
    """What stands for a handful of samples is pale."""
    return [1.0 if count >= FEW else _PALE for count in counts]


def error_bars(intervals: list[Interval]) -> dict:
    """What Plotly draws around the values of these intervals."""
    found = pd.DataFrame([dict(one) for one in intervals], columns=_ENDS, dtype=float)
    above, below = (found.high - found.value).fillna(0), (found.value - found.low).fillna(0)
    arrays = {"array": above.tolist(), "arrayminus": below.tolist()}
    return {"type": "data", "symmetric": False, "thickness": 1.5, **arrays}


def system_colours(count: int) -> list[str]:
    """Blue is the first system, in every figure."""
    others = [colour for colour in PALETTE if colour != PALETTE[1]]
    return [PALETTE[1], *islice(cycle(others), count - 1)]
