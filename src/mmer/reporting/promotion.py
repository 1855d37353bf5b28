"""Why a candidate became champion or did not, on a page; and the table of champions."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from mmer.evaluation.champions import Champions
from mmer.evaluation.promotion import Decision
from mmer.metrics.intervals import Differences, Interval
from mmer.metrics.resampled import METRICS, UNBOUNDED
from mmer.reporting.pages import rendered
from mmer.reporting.panels import GREY, PALETTE, error_bars, panels
from mmer.reporting.summary import Column, table_text, value_text

_COLOURS = {"better": PALETTE[3], "worse": PALETTE[2]}


def champions_frame(champions: Champions) -> pd.DataFrame:
    """One row for each time that another version became champion, as a program reads it."""
    columns = ["place", "when", "what", "version", "before", "system", "micro_f1", "model"]
    rows = [
        {
            "place": entry.place,
            "when": entry.when,
            "what": entry.move.kind,
            "version": entry.move.number,
            "before": entry.move.before,
            "system": entry.version.title,
            "micro_f1": entry.version.micro_f1,
            "model": entry.version.model,
            "synthetic": entry.version.synthetic,
            "by": entry.by,
            "run": entry.run,
            "told": entry.move.told,
        }
        for entry in champions.entries
    ]
    return pd.DataFrame(rows, columns=[*columns, "synthetic", "by", "run", "told"])


def champions_text(champions: Champions, width: int = 120) -> str:
    """The table for a terminal of `width` columns."""
    if not champions.entries:
        return f"{champions.name} has had no champion yet."
    entries, moves = champions.entries, [one.move for one in champions.entries]
    columns = [
        Column("version", 4, [one.number for one in moves]),
        Column("system", 4, [one.version.title for one in entries]),
        Column("what", 4, [one.kind for one in moves]),
        Column("before", 3, [one.before or "none" for one in moves]),
        Column("micro-F1", 2, [value_text(one.version.micro_f1) for one in entries]),
        Column("when (UTC)", 2, [one.when[:16].replace("T", " ") for one in entries]),
        Column("by", 1, [one.by for one in entries]),
    ]
    title = f"Champions of {champions.name}; now version {champions.champion}"
    return table_text(title, columns, [], width).rstrip()


def promotion_text(decision: Decision, champions: Champions) -> str:
    """What became of the candidate, in a sentence."""
    overtaken = _overtaken(decision, champions)
    return f"{decision.candidate.name}: {overtaken}{decision.told}."


def promotion_page(decision: Decision, champions: Champions) -> str:
    """All that the decision rests on, as a page."""
    candidate, champion = decision.candidate, decision.champion
    figures = {}
    if decision.differences:
        figures["differences"] = _differences_figure(decision.differences, candidate.synthetic)
    outcome = "overtaken" if _overtaken(decision, champions) else decision.verdict
    return rendered(
        "promotion.html",
        figures,
        {},
        title=f"Version {candidate.number} of {candidate.name}: {outcome}",
        synthetic=candidate.synthetic,
        decision=decision,
        candidate=candidate,
        champion=champion,
        champions=champions,
        answer=_answer(decision, champions),
        metrics=METRICS,
    )


def _answer(decision: Decision, champions: Champions) -> str:
    """The outcome in a sentence; the figures of refusals stand in a table."""
    champion = decision.champion
    if decision.verdict != "refused" or (champion and champion.number == decision.candidate.number):
        return promotion_text(decision, champions)
    rules = "; ".join(dict.fromkeys(check.rule for check in decision.refusals))
    return f"{len(decision.refusals)} of {len(decision.checks)} conditions not met: {rules}."


def _overtaken(decision: Decision, champions: Champions) -> str:
    """What has to be said if another promotion was faster."""
    if decision.verdict != "promoted" or champions.champion == decision.candidate.number:
        return ""
    now = f"version {champions.champion} became champion meanwhile"
    return f"overtaken, {now}. What had been decided: "


def _differences_figure(differences: Differences, synthetic: bool) -> go.Figure:
    """Candidate minus champion, with intervals."""
    metrics = {METRICS[n]: one for n, one in differences.metrics.items() if n not in UNBOUNDED}
    kinds = {"metrics": metrics, "F1 of labels": dict(differences.label_f1)}
    heading = "Candidate minus champion, on the same test samples"
    figure, places = panels(heading, synthetic, list(kinds), columns=2, horizontal_spacing=0.2)
    for place, found in zip(places, kinds.values(), strict=True):
        known = {name: one for name, one in found.items() if one.difference is not None}
        bars = [
            Interval(value=one.difference, low=one.low, high=one.high, undefined=0)
            for one in known.values()
        ]
        colours = [_COLOURS.get(one.verdict, GREY) for one in known.values()]
        figure.add_scatter(
            x=[one.value for one in bars],
            y=list(known),
            mode="markers",
            error_x={**error_bars(bars), "color": GREY},
            marker={"size": 10, "color": colours},
            showlegend=False,
            **place,
        )
        figure.add_vline(x=0, line_color=GREY, line_dash="dot", **place)
        figure.update_yaxes(range=[len(known) - 0.5, -0.5], automargin=True, **place)
    return figure
