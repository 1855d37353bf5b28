"""Figures of what a corpus holds: for its page in the pipeline viewer, and for the report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import plotly.graph_objects as go

from mmer.corpora.data_report import DataReport, Finding
from mmer.corpora.split_report import SplitReport
from mmer.reporting.panels import PALETTE, opacity, panels
from mmer.reporting.summary import size_text

_BOX = {"lowerfence": "q5", "q1": "q25", "median": "median", "q3": "q75", "upperfence": "q95"}


def corpus_overview(report: DataReport) -> go.Figure:
    """A corpus: label rates and co-occurrence, lengths, missing modalities, counts and findings."""
    known = report.info.groups_known
    sizes = [f"{s}: {size_text(c.samples, c.groups, known)}" for s, c in report.splits.items()]
    figure, (rates, pairs, lengths, missing, published, findings) = panels(
        f"{report.info.corpus}: {'; '.join(sizes)}",
        report.info.synthetic,
        [
            "share of samples with each label",
            "training samples with both labels",
            "steps per sample (5, 25, 50, 75, 95 %)",
            "share of samples without a modality",
            "beside the published counts",
            "what deserves a look",
        ],
        columns=2,
        specs=[[{"type": kind}] * 2 for kind in ("xy", "xy", "table")],
    )
    _rate_bars(figure, report, rates)
    _pair_heatmap(figure, report, pairs)
    _length_boxes(figure, report, lengths)
    for (split, counted), colour in _coloured_splits(report):
        shares = {m: count / counted.samples for m, count in counted.missing.items()}
        look = {"name": split, "marker": {"color": colour}, "showlegend": False}
        figure.add_bar(x=list(shares), y=list(shares.values()), **look, **missing)
    names = ("what", "split", "ours", "published", "difference")
    counts = {name: [getattr(row, name) for row in report.published] for name in names}
    counts["accounted for by"] = ["; ".join(row.explanations) for row in report.published]
    told = {name: [getattr(row, name) for row in report.findings] for name in Finding.model_fields}
    for table, cell in ((counts, published), (told, findings)):
        figure.add_table(
            header={"values": list(table), "align": "left", "fill": {"color": "#F1F3F4"}},
            cells={"values": list(table.values()), "align": "left", "fill": {"color": "white"}},
            **cell,
        )
    figure.update_yaxes(rangemode="tozero").update_yaxes(autorange="reversed", **pairs)
    return figure.update_layout(boxmode="group")


class DataFigures(NamedTuple):
    """The figures of what a corpus holds, each small enough for a narrow page."""

    label_rates: go.Figure
    label_pairs: go.Figure
    lengths: go.Figure


def data_figures(report: DataReport) -> DataFigures:
    """Label rates, co-occurrence and lengths of a corpus, of its frequent labels."""
    titles = (
        "Share of samples with each label",
        "Training samples with both labels",
        "Steps per sample (5, 25, 50, 75, 95 %)",
    )
    found = []
    for title, draw in zip(titles, (_rate_bars, _pair_heatmap, _length_boxes), strict=True):
        figure, (cell,) = panels(title, report.info.synthetic, columns=1)
        draw(figure, report, cell)
        figure.update_layout(
            height=380,
            title_text=figure.layout.title.text.replace(" <", "<br><"),
            title_font_size=14,
            margin={"l": 10, "r": 10, "t": 60, "b": 10},
            legend={"orientation": "h", "y": -0.22, "yanchor": "top"},
            boxmode="group",
        )
        figure.update_xaxes(automargin=True).update_yaxes(automargin=True, rangemode="tozero")
        found.append(figure)
    found[1].update_yaxes(autorange="reversed", rangemode="normal")
    return DataFigures(*found)


def _coloured_splits(report: DataReport) -> Iterable[tuple[tuple[str, SplitReport], str]]:
    return zip(report.splits.items(), PALETTE, strict=False)


def _rate_bars(figure: go.Figure, report: DataReport, cell: dict[str, int]) -> None:
    labels = report.frequent_labels
    for (split, counted), colour in _coloured_splits(report):
        rates = [counted.label_rates[label] for label in labels]
        pale = opacity(counted.label_counts[label] for label in labels)
        look = {"name": split, "marker": {"color": colour, "opacity": pale}}
        figure.add_bar(x=labels, y=rates, **look, **cell)


def _pair_heatmap(figure: go.Figure, report: DataReport, cell: dict[str, int]) -> None:
    labels, together = report.frequent_labels, report.splits["train"].co_occurrence
    look = {"texttemplate": "%{z}", "colorscale": "Blues", "showscale": False}
    figure.add_heatmap(x=labels, y=labels, z=together, **look, **cell)


def _length_boxes(figure: go.Figure, report: DataReport, cell: dict[str, int]) -> None:
    alone = len(figure.data) == 0
    for (split, counted), colour in _coloured_splits(report):
        known = {modality: steps for modality, steps in counted.lengths.items() if steps}
        box = {side: [getattr(steps, at) for steps in known.values()] for side, at in _BOX.items()}
        look = {"name": split, "marker": {"color": colour}, "showlegend": alone}
        figure.add_box(x=list(known), **box, **look, **cell)
