"""The figures of a run, as Plotly figures that a page or a pipeline viewer shows.

Numbers go in as lists, not arrays: Plotly would encode arrays in a way that older viewers of its
JSON cannot read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, islice
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.metrics import precision_recall_curve

from mmer.calibration.calibration import Calibration
from mmer.corpora.bayes_optimal import name_of_subset
from mmer.corpora.data_report import DataReport, Finding
from mmer.corpora.split_report import SplitReport
from mmer.evaluation.assessment import Assessment, Comparison, check_model
from mmer.evaluation.failures import Bucket, CoOccurrence, Failures
from mmer.evaluation.robustness import MissingRateFigures, Robustness, SubsetFigures
from mmer.metrics.counts import ratio
from mmer.metrics.intervals import Interval
from mmer.metrics.metrics import HEADLINE, number
from mmer.metrics.scores import Scores
from mmer.reporting.summary import size_text
from mmer.training.history import History

# Okabe and Ito's palette, told apart with any kind of colour vision, then two more.
PALETTE = (
    *("#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"),
    *("#7F6A00", "#5B4B8A", "#444444"),
)
_GREY, _INK = "#9AA0A6", "#202124"
_DOTTED = {"color": _GREY, "dash": "dot"}
_COLOURS = dict(zip(HEADLINE, PALETTE[1:], strict=False))
_MOST_POINTS = 200
_FEW = 10
_ENDS = ("value", "low", "high")
_BOX = {"lowerfence": "q5", "q1": "q25", "median": "median", "q3": "q75", "upperfence": "q95"}


class EvaluationFigures(NamedTuple):
    """The figures of one system's evaluation, by the names that pages know them by."""

    precision_recall: go.Figure
    systems: go.Figure
    label_f1: go.Figure
    reliability: go.Figure
    robustness: go.Figure
    co_occurrence: go.Figure
    failures: go.Figure


def evaluation_figures(
    scores: Scores,
    calibration: Calibration,
    comparison: Comparison,
    failures: Failures,
    robustness: Robustness,
) -> EvaluationFigures:
    """All figures of the evaluation of one system, the first of the comparison.

    Raises:
        InputError: One of them belongs to another model.
    """
    calibration.check(scores.info.model, scores.info.fingerprint)
    check_model(
        scores.info.model,
        assessment=comparison.assessments[0].info.model,
        failures=failures.model,
        robustness=robustness.model,
    )
    synthetic = scores.info.synthetic
    return EvaluationFigures(
        precision_recall=precision_recall(scores, comparison.assessments[0]),
        systems=_systems(comparison, synthetic),
        label_f1=label_f1(comparison, synthetic),
        reliability=reliability(calibration, comparison.assessments[0]),
        robustness=modality_robustness(robustness, comparison, synthetic),
        co_occurrence=co_occurrence_heatmaps(failures.co_occurrence, synthetic),
        failures=_failures(failures, synthetic),
    )


def label_colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour per label, the same in every figure of a corpus."""
    return {label: PALETTE[i % len(PALETTE)] for i, label in enumerate(labels)}


def learning_curves(history: History, title: str, synthetic: bool) -> go.Figure:
    """Of the system `title`, every term of the loss and what the epoch was chosen by."""
    heading = f"Learning curves of {title}"
    if not history.epochs:
        figure, _ = _panels(heading, synthetic, [f"{title} is not trained in epochs."], columns=1)
        return figure.update_xaxes(visible=False).update_yaxes(visible=False)
    figure, (left, right) = _panels(heading, synthetic, ["training losses", "validation"], 2)
    epochs = [epoch.epoch for epoch in history.epochs]
    for i, name in enumerate(sorted(history.epochs[0].losses, key=lambda name: name != "total")):
        # A logarithmic axis has no place for a term that is 0.
        values = [epoch.losses[name] or None for epoch in history.epochs]
        colour = _INK if name == "total" else PALETTE[i % len(PALETTE)]
        figure.add_scatter(
            x=epochs, y=values, name=name.replace("_", " "), line_color=colour, **left
        )
    chosen_by = [epoch.selection for epoch in history.epochs]
    look = {"name": history.criterion, "marker": {"color": PALETTE[1], "size": 10}, **right}
    figure.add_scatter(x=epochs, y=chosen_by, mode="lines", showlegend=False, **look)
    if history.kept is not None:
        value = chosen_by[epochs.index(history.kept)]
        figure.add_scatter(
            x=[history.kept],
            y=[value],
            text=[f"epoch {history.kept} kept: {value:.3f}"],
            mode="markers+text",
            textposition="top center",
            showlegend=False,
            **look,
        )
    figure.update_yaxes(type="log", **left).update_yaxes(title=history.criterion, **right)
    figure.update_xaxes(title="epoch")
    return figure.update_layout(legend={"x": -0.07, "xanchor": "right"}, margin={"l": 200})


def precision_recall(scores: Scores, assessment: Assessment) -> go.Figure:
    """Precision against recall of each label, the chosen threshold marked."""
    colours, count = label_colours(scores.labels), len(scores.truth)
    rows = assessment.metrics.per_label
    titles = [
        f"{row.label} ({row.support} of {count}), AP {row.average_precision:.2f}"
        if row.average_precision is not None
        else f"{row.label}: never occurs"
        for row in rows
    ]
    heading = f"Precision and recall on {scores.info.split}, chosen thresholds marked"
    figure, cells = _panels(heading, scores.info.synthetic, titles)
    for i, (row, cell) in enumerate(zip(rows, cells, strict=True)):
        if not row.support:
            continue
        precision, recall, _ = precision_recall_curve(scores.truth[:, i], scores.scores[:, i])
        kept = np.unique(np.linspace(0, len(recall) - 1, _MOST_POINTS).astype(int))
        x, y, line = recall[kept].tolist(), precision[kept].tolist(), {"color": colours[row.label]}
        figure.add_scatter(x=x, y=y, mode="lines", line=line, name=row.label, **cell)
        rate = row.support / count
        figure.add_scatter(x=[0, 1], y=[rate] * 2, line=_DOTTED, mode="lines", name="prior", **cell)
        if row.precision is not None and row.recall is not None:
            figure.add_scatter(
                x=[row.recall],
                y=[row.precision],
                mode="markers+text",
                marker={"color": _INK, "size": 10},
                text=[f"> {assessment.thresholds[i]:.2f}"],
                textposition="top right" if row.recall < 0.7 else "top left",
                hovertemplate="recall %{x:.3f}, precision %{y:.3f}",
                name="threshold",
                **cell,
            )
    figure.update_xaxes(range=[0, 1.03], title="recall", title_standoff=4)
    figure.update_yaxes(range=[0, 1.05], title="precision", title_standoff=4)
    return figure.update_layout(showlegend=False)


def reliability(calibration: Calibration, assessment: Assessment) -> go.Figure:
    """Observed share of positives against the probability given: scores, and what they became.

    A point's area grows with the samples that it stands for; below ten it is hollow.
    """
    split = assessment.info.split
    stages = zip(calibration.probabilities, assessment.reliability, strict=True)
    pairs = [(one.before, seen) for one, seen in stages]
    titles = [
        f"{label}: ECE {before.expected_calibration_error:.3f} to "
        f"{after.expected_calibration_error:.3f}"
        for label, (before, after) in zip(calibration.labels, pairs, strict=True)
    ]
    heading = f"Reliability: scores on validation (grey), probabilities on {split} (coloured)"
    figure, cells = _panels(heading, assessment.info.synthetic, titles)
    colours = label_colours(calibration.labels).values()
    for pair, colour, cell in zip(pairs, colours, cells, strict=True):
        figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=_DOTTED, **cell)
        for curve, name, line in zip(pair, ("scores", split), (_GREY, colour), strict=True):
            figure.add_scatter(
                x=curve.probability,
                y=curve.frequency,
                customdata=curve.count,
                hovertemplate="given %{x:.2f}, observed %{y:.2f}, %{customdata} samples",
                mode="lines+markers",
                line={"color": line},
                marker={
                    "size": [4 + 2 * np.log10(count) for count in curve.count],
                    "symbol": [
                        "circle" if count >= _FEW else "circle-open" for count in curve.count
                    ],
                },
                name=name,
                **cell,
            )
    figure.update_xaxes(range=[0, 1], title="probability given", title_standoff=4)
    figure.update_yaxes(range=[0, 1], title="share observed", title_standoff=4)
    return figure.update_layout(showlegend=False)


def co_occurrence_heatmaps(pairs: CoOccurrence, synthetic: bool) -> go.Figure:
    """Share of the samples with one label that have another too: true, predicted, difference."""
    true, predicted = (
        ratio(counts, np.diag(counts)[:, None], np.nan)
        for counts in map(np.array, (pairs.true, pairs.predicted))
    )
    shares = {"true": true, "predicted": predicted, "predicted minus true": predicted - true}
    figure, cells = _panels("Co-occurrence of labels", synthetic, list(shares), shared_yaxes=True)
    for (kind, share), cell in zip(shares.items(), cells, strict=True):
        np.fill_diagonal(share, np.nan)
        signed = kind == "predicted minus true"
        figure.add_heatmap(
            x=pairs.labels,
            y=pairs.labels,
            z=[[number(value) for value in row] for row in share],
            texttemplate="%{z:+.2f}" if signed else "%{z:.2f}",
            colorscale="RdBu_r" if signed else "Blues",
            zmin=-0.5 if signed else 0,
            zmax=0.5 if signed else 1,
            showscale=False,
            hoverongaps=False,
            **cell,
        )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_yaxes(title="of the samples with …", col=1)
    return figure.update_xaxes(title="… this share also has", showgrid=False)


def modality_robustness(
    robustness: Robustness, comparison: Comparison, synthetic: bool
) -> go.Figure:
    """Figures by the modalities shown, and by the share of modalities hidden at random.

    Lines show what the best system reaches that looks at no modality: below, nothing is gained.
    Where it is known, the best micro-F1 of any system that is shown these modalities stands above.
    """
    titles = ["modalities shown", "modalities hidden at random"]
    heading = "Robustness to absent modalities, 95 % intervals"
    figure, cells = _panels(heading, synthetic, titles, 2, shared_yaxes=True)
    names = ["<br>+ ".join(row.modalities) for row in robustness.by_subset]
    hidden = [row.hidden for row in robustness.by_missing_rate]
    panels: list[tuple[Callable, Sequence, Sequence[SubsetFigures | MissingRateFigures], dict]] = [
        (figure.add_bar, names, robustness.by_subset, cells[0]),
        (figure.add_scatter, hidden, robustness.by_missing_rate, cells[1]),
    ]
    for metric, title in HEADLINE.items():
        colour = {"color": _COLOURS[metric]}
        for add, x, rows, cell in panels:
            intervals = [row.intervals[metric] for row in rows]
            values, bars = [one.value for one in intervals], _error_bars(intervals)
            look = {"name": title, "marker": colour, "showlegend": cell is cells[0], **cell}
            add(x=x, y=values, error_y=bars, **look)
        if (constant := _best_constant(comparison, metric)) is not None:
            line = {"color": _COLOURS[metric], "dash": "dot", "width": 1}
            figure.add_hline(constant, line=line, annotation_text=f"constant: {title}")
    if best := comparison.assessments[0].info.bayes_optimal:
        known = [best.get(name_of_subset(row.modalities)) for row in robustness.by_subset[1:]]
        marker = {"symbol": "line-ew-open", "size": 18, "color": _INK}
        look = {"mode": "markers", "marker": marker, "name": "Bayes-optimal micro-F1"}
        figure.add_scatter(x=names, y=[best.get("micro_f1"), *known], **look, **cells[0])
    figure.update_xaxes(title="share hidden", tickformat=".0%", **cells[1])
    return figure.update_yaxes(rangemode="tozero")


def _best_constant(comparison: Comparison, metric: str) -> float | None:
    """What the best of the systems that have nothing to calibrate, the constants, reaches."""
    values = [
        one.intervals.metrics[metric].value
        for one in comparison.assessments
        if one.info.fixed_threshold is not None
    ]
    return max((value for value in values if value is not None), default=None)


def label_f1(comparison: Comparison, synthetic: bool) -> go.Figure:
    """F1 of each label with its 95 % interval, each system beside the others."""
    assessments = comparison.assessments
    per_label = assessments[0].metrics.per_label
    figure, _ = _panels("F1 per label, 95 % intervals", synthetic, columns=1)
    for one, colour in zip(assessments, _system_colours(len(assessments)), strict=True):
        intervals = [one.intervals.label_f1[row.label] for row in per_label]
        figure.add_bar(
            x=[f"{row.label}<br>{row.support} true" for row in per_label],
            y=[interval.value for interval in intervals],
            error_y=_error_bars(intervals),
            marker={"color": colour},
            name=one.info.title,
        )
    return figure.update_yaxes(title="F1", rangemode="tozero")


def corpus_overview(report: DataReport) -> go.Figure:
    """A corpus: label rates and co-occurrence, lengths, missing modalities, counts and findings."""
    known = report.info.groups_known
    sizes = [f"{s}: {size_text(c.samples, c.groups, known)}" for s, c in report.splits.items()]
    figure, (rates, pairs, lengths, missing, published, findings) = _panels(
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
        figure, (cell,) = _panels(title, report.info.synthetic, columns=1)
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
        figure.add_bar(x=labels, y=rates, name=split, marker={"color": colour}, **cell)


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


def _systems(comparison: Comparison, synthetic: bool) -> go.Figure:
    """Headline metrics of each system with their 95 % intervals."""
    heading = "Systems on the same samples, 95 % intervals"
    figure, cells = _panels(heading, synthetic, list(HEADLINE.values()), shared_yaxes=True)
    names = [one.info.title for one in comparison.assessments]
    for metric, cell in zip(HEADLINE, cells, strict=True):
        intervals = [one.intervals.metrics[metric] for one in comparison.assessments]
        figure.add_scatter(
            x=[interval.value for interval in intervals],
            y=names,
            error_x=_error_bars(intervals),
            mode="markers+text",
            text=["" if one.value is None else f"{one.value:.3f}" for one in intervals],
            textposition="top center",
            marker={"size": 11, "color": _system_colours(len(names))},
            **cell,
        )
    figure.update_xaxes(rangemode="tozero").update_yaxes(autorange="reversed")
    return figure.update_layout(showlegend=False)


def _failures(failures: Failures, synthetic: bool) -> go.Figure:
    """Micro-F1 and accuracy by the samples' length and by how many labels they have."""
    heading = "Where it fails: by length, by number of labels"
    titles = ["length in steps", "labels truly present"]
    figure, (left, right) = _panels(heading, synthetic, titles, 2, shared_yaxes=True)
    for rows, cell in ((failures.by_length, left), (failures.by_label_count, right)):
        names = [
            f"{row.least}{f' to {row.most}' if row.most > row.least else ''}<br>n = {row.samples}"
            for row in rows
        ]
        _headline_bars(figure, names, rows, ("micro_f1", "accuracy"), cell)
    return figure.update_yaxes(rangemode="tozero")


def _panels(
    heading: str, synthetic: bool, titles: Sequence[str] = ("",), columns: int = 3, **options: Any
) -> tuple[go.Figure, list[dict[str, int]]]:
    """An empty figure of panels, and the place of each."""
    rows = ceil(len(titles) / columns)
    figure = make_subplots(rows, columns, subplot_titles=titles, **options)
    if synthetic:
        heading += " <span style='color:#B3261E'>(synthetic corpus)</span>"
    figure.update_layout(
        template="plotly_white",
        title_text=heading,
        title_x=0.01,
        font={"family": "system-ui, sans-serif", "size": 13, "color": _INK},
        height=120 + 300 * rows,
        margin={"t": 90, "b": 60, "r": 80, "l": 70},
    )
    return figure, [{"row": i // columns + 1, "col": i % columns + 1} for i in range(len(titles))]


def _headline_bars(
    figure: go.Figure,
    names: list[str],
    rows: Sequence[Bucket],
    metrics: Iterable[str],
    cell: dict[str, int],
) -> None:
    for metric in metrics:
        values, marker = [getattr(row.figures, metric) for row in rows], {"color": _COLOURS[metric]}
        look = {"name": HEADLINE[metric], "showlegend": cell["col"] == 1, "marker": marker}
        figure.add_bar(x=names, y=values, **look, **cell)


def _error_bars(intervals: list[Interval]) -> dict:
    found = pd.DataFrame([dict(one) for one in intervals], columns=_ENDS, dtype=float)
    above, below = (found.high - found.value).fillna(0), (found.value - found.low).fillna(0)
    arrays = {"array": above.tolist(), "arrayminus": below.tolist()}
    return {"type": "data", "symmetric": False, "thickness": 1.5, **arrays}


def _system_colours(count: int) -> list[str]:
    """The first system stands out, the others are greys."""
    return [PALETTE[1], *islice(cycle(("#5F6368", "#9AA0A6", "#C8CCD0")), count - 1)]
