"""Systems x seeds: as numbers for programs, a table for the terminal, and a page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs

from mmer.metrics.intervals import Difference
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.resampled import METRICS
from mmer.metrics.seeds import ComparedSystems, SeedFigure, SystemSeeds
from mmer.reporting.panels import PALETTE, error_bars
from mmer.reporting.summary import (
    MAIN,
    Column,
    difference_text,
    groups_unknown,
    listed,
    samples_text,
    size_text,
    table_text,
    value_text,
)

_TEMPLATE = Path(__file__).with_name("seeds.html")
_VERDICTS = {
    "not significant": "does not differ significantly from",
    "undefined": "cannot be compared with",
    "better": "is better than",
}
_MORE = {name: title for name, title in METRICS.items() if name not in HEADLINE and title != "mAP"}


def seeds_frame(compared: ComparedSystems) -> pd.DataFrame:
    """One row per system and metric, as a program reads it.

    `mean`, its interval `low` and `high`, the `deviation` over seeds, the figures of the single
    seeds, and of each other system the difference to it with p-value and verdict.
    """
    rows = []
    for system in compared.systems:
        for name, figure in system.metrics.items():
            row: dict[str, object] = {
                "system": system.info.title,
                "metric": name,
                "mean": figure.mean.value,
                "low": figure.mean.low,
                "high": figure.mean.high,
                "deviation": figure.deviation,
                "seeds": " ".join(map(str, system.seeds)),
                "values": " ".join("" if v is None else f"{v:.6f}" for v in figure.values),
                "corpus": system.info.corpus,
                "split": system.info.split,
                "synthetic": system.info.synthetic,
            }
            for other in compared.systems:
                if other is not system:
                    pair = system.info.title, other.info.title
                    one = compared.difference(*pair, name)
                    row |= {
                        f"minus {pair[1]}": one.difference,
                        f"minus {pair[1]}: low": one.low,
                        f"minus {pair[1]}: high": one.high,
                        f"minus {pair[1]}: corrected p": one.corrected_p_value,
                        f"minus {pair[1]}: verdict": one.verdict,
                    }
            rows.append(row)
    return pd.DataFrame(rows)


def seeds_text(compared: ComparedSystems, width: int = 120) -> str:
    """The table for a terminal of `width` columns, with what it means below it."""
    systems, best = compared.systems, best_system(compared)
    columns = [
        Column("system", 4, [one.info.title for one in systems]),
        Column("seeds", 4, [f"{len(one.seeds) or 'none'}" for one in systems]),
    ]
    for name, stays in (
        (MAIN, 4),
        ("macro_f1", 3),
        ("accuracy", 2),
        ("macro_average_precision", 1),
    ):
        cells = [figure_text(one.metrics[name], "\n") for one in systems]
        columns.append(Column(METRICS[name], stays, cells))
    found = [
        ""
        if one is best
        else difference_text(
            _difference(compared, best, one), "\n", compared.smallest_p_value(MAIN)
        )
        for one in systems
    ]
    columns.append(Column(f"{best.info.title}\nminus it,\n{HEADLINE[MAIN]}", 3, found))
    title = samples_text(compared.info, compared.samples, compared.bootstrap.groups)
    return table_text(title, columns, [answer(compared), *notes(compared)], width)


def best_system(compared: ComparedSystems) -> SystemSeeds:
    """That with the highest mean of micro-F1, significant or not; the first of equals."""

    def mean(one: SystemSeeds) -> float:
        value = one.metrics[MAIN].mean.value
        return -1.0 if value is None else value

    return max(compared.systems, key=mean)


def answer(compared: ComparedSystems) -> str:
    """Which system is best, or that none is, in a sentence."""
    best = best_system(compared)
    if best.metrics[MAIN].mean.value is None:
        return f"{HEADLINE[MAIN]} is undefined for every system."
    single = any(len(one.seeds) == 1 for one in compared.systems)
    lead = f"{'With one training seed, ' if single else ''}{best.info.title} has the highest "
    lead += HEADLINE[MAIN]
    named: dict[str, list[str]] = {}
    for other in compared.systems:
        if other is not best:
            verdict = _difference(compared, best, other).verdict
            named.setdefault(verdict, []).append(other.info.title)
    if not named:
        return f"{best.info.title} is the only system."
    if set(named) == {"better"}:
        return f"{lead} and is significantly better than every other system."
    said = [f"{_VERDICTS[v]} {listed(named[v])}" for v in _VERDICTS if v in named]
    none = "" if "better" in named else ": none is shown to be best"
    return f"{lead}, but {'; it '.join(said)}{none}."


def notes(compared: ComparedSystems) -> list[str]:
    """What has to be known to read the table, a sentence or two each."""
    drawn, info = compared.bootstrap, compared.info
    several = [one for one in compared.systems if len(one.seeds) > 1]
    single = [one.info.title for one in compared.systems if len(one.seeds) == 1]
    found = [
        f"± is the standard deviation over seeds; [ ] the {drawn.level:.0%} interval of the mean "
        f"({drawn.method}, {drawn.resamples} resamples; and over seeds)."
        if several
        else f"[ ]: {drawn.level:.0%} interval ({drawn.method}, {drawn.resamples} resamples)."
    ]
    if single:
        found.append(
            f"{listed(single)}: one training seed. What these figures owe to chance in training "
            "is not known, and no difference from them counts that chance in."
        )
    if any(not one.seeds for one in compared.systems):
        found.append("No seeds: the system draws no random numbers, another fit gives the same.")
    if len(compared.pairs) > 1:
        found.append(
            f"Differences are paired; p-values are corrected over all {len(compared.pairs)} pairs "
            "by Holm's procedure. Where p is above 0.05 or the interval covers 0, the difference "
            "is not significant. (The page of one training corrects for fewer comparisons.)"
        )
    if compared.pairs and compared.smallest_p_value(MAIN) > 1 - drawn.level:
        found.append(
            f"{drawn.groups} groups, worth {drawn.effective_groups:.1f} of equal size, are too few "
            f"for {len(compared.pairs)} pairs: no difference could be significant, however large."
        )
    if any(len(one.seeds) == 2 for one in compared.systems):
        found.append("Two seeds hardly tell how far seeds differ: their intervals are very wide.")
    found.append(
        f"{listed(list(HEADLINE.values()))} are each under thresholds that were chosen for it on "
        "validation; systems with nothing to calibrate have their own."
    )
    if not info.groups_known:
        found.append(
            groups_unknown("intervals are narrower than they should be and differences less sure")
        )
    if best := info.bayes_optimal:
        scores = (f"{HEADLINE[name]} {best[name]:.3f}" for name in HEADLINE if name in best)
        found.append(f"Bayes-optimal score, not exceeded on average: {', '.join(scores)}.")
    return found


def figure_text(figure: SeedFigure, separator: str = " ") -> str:
    """Mean, deviation over seeds and interval, as text."""
    deviation = "" if figure.deviation is None else f" ± {figure.deviation:.3f}"
    low, high = figure.mean.low, figure.mean.high
    bounds = "" if low is None else f"{separator}[{low:.3f}, {high:.3f}]"
    return f"{value_text(figure.mean.value)}{deviation}{bounds}"


def render_seeds(compared: ComparedSystems, corpus: str) -> str:
    """The comparison as one page of HTML that opens from disk, with Plotly inside."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"figure": figure_text, "difference": difference_text}
    options = {"full_html": False, "include_plotlyjs": False, "default_width": "100%"}
    config = {"displayModeBar": False, "responsive": True}
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        corpus=corpus,
        compared=compared,
        info=compared.info,
        answer=answer(compared),
        notes=notes(compared),
        size=size_text(compared.samples, compared.bootstrap.groups, compared.info.groups_known),
        headline=HEADLINE,
        tables=[{**HEADLINE, "macro_average_precision": "mAP"}, _MORE],
        plotlyjs=get_plotlyjs(),
        figures=[
            seeds_figure(compared, name).to_html(div_id=f"figure-{name}", config=config, **options)
            for name in HEADLINE
        ],
    )


def seeds_figure(compared: ComparedSystems, metric: str) -> go.Figure:
    """Every seed a point, the mean with its interval."""
    systems = compared.systems[::-1]  # the first on top
    titles = [one.info.title.replace(" ", "<br>", 1) for one in systems]
    figures = [one.metrics[metric] for one in systems]
    seeds = [(t, v) for t, f in zip(titles, figures, strict=True) for v in f.values]
    drawn = go.Figure(layout={"template": "plotly_white", "showlegend": False})
    drawn.add_scatter(
        x=[value for _, value in seeds],
        y=[title for title, _ in seeds],
        mode="markers",
        name="one seed",
        marker={"color": PALETTE[5], "size": 8, "symbol": "circle-open"},
    )
    drawn.add_scatter(
        x=[one.mean.value for one in figures],
        y=titles,
        mode="markers",
        name="mean",
        marker={"color": PALETTE[1], "size": 9},
        error_x=error_bars([one.mean for one in figures]),
    )
    if best := (compared.info.bayes_optimal or {}).get(metric):
        drawn.add_vline(best, line_dash="dot", line_color="#5f6368")
    margin = {"l": 8, "r": 12, "t": 36, "b": 8}
    height = 100 + 46 * len(systems)
    drawn.update_layout(title_text=METRICS[metric], title_x=0.5, height=height, margin=margin)
    drawn.update_yaxes(automargin=True)
    return drawn


def _difference(compared: ComparedSystems, first: SystemSeeds, second: SystemSeeds) -> Difference:
    return compared.difference(first.info.title, second.info.title, MAIN)
