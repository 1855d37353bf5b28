"""The figures of a run, as Plotly figures that a page or a pipeline viewer shows.

Numbers go in as lists, not arrays: Plotly would encode arrays in a way that older viewers of its
JSON cannot read.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.metrics import precision_recall_curve

from mmer.calibration.calibration import Calibration
from mmer.corpora.data_report import DataReport, SplitReport
from mmer.evaluation.assessment import Assessment, Comparison, check_model
from mmer.evaluation.failures import CoOccurrence, Failures
from mmer.evaluation.robustness import Robustness
from mmer.metrics.counts import ratio
from mmer.metrics.intervals import Interval
from mmer.metrics.metrics import HEADLINE, number
from mmer.metrics.scores import Scores
from mmer.training.history import History

# Okabe and Ito's palette, told apart with any kind of colour vision, then two more.
PALETTE = (
    *("#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"),
    *("#7F6A00", "#5B4B8A", "#444444"),
)
_GREY, _INK = "#9AA0A6", "#202124"
_MOST_POINTS = 200
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
    """All figures of one system's evaluation.

    Args:
        scores: Of the system.
        calibration: Of the system.
        comparison: The system first, the others beside it.
        failures: Of the system.
        robustness: Of the system.

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
        reliability=reliability(calibration, synthetic),
        robustness=modality_robustness(robustness, synthetic),
        co_occurrence=co_occurrence_heatmaps(failures.co_occurrence, synthetic),
        failures=_failures(failures, synthetic),
    )


def label_colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour per label, the same in every figure of a corpus."""
    return {label: PALETTE[i % len(PALETTE)] for i, label in enumerate(labels)}


def learning_curves(history: History, title: str, synthetic: bool) -> go.Figure:
    """Every term of the loss, and what the epoch was chosen by, over the epochs.

    Args:
        history: Without epochs, the figure says so.
        title: Of the system.
        synthetic: Said in the figure's title.
    """
    if not history.epochs:
        figure = go.Figure()
        note = f"{title} is not trained in epochs."
        figure.add_annotation(text=note, showarrow=False, xref="paper", yref="paper", x=0.5, y=0.5)
        figure.update_xaxes(visible=False)
        figure.update_yaxes(visible=False)
        return _finish(figure, f"Learning curves of {title}", synthetic)
    figure = make_subplots(1, 2, subplot_titles=("training losses", "validation"))
    _loss_curves(figure, history)
    _selection_curve(figure, history)
    figure.update_yaxes(type="log", row=1, col=1)
    figure.update_xaxes(title="epoch")
    figure.update_layout(legend={"x": -0.07, "xanchor": "right"}, margin={"l": 200})
    return _finish(figure, f"Learning curves of {title}", synthetic)


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
    figure, cells = _panels(titles)
    for i, (row, cell) in enumerate(zip(rows, cells, strict=True)):
        if not row.support:
            continue
        precision, recall, _ = precision_recall_curve(scores.truth[:, i], scores.scores[:, i])
        kept = np.unique(np.linspace(0, len(recall) - 1, _MOST_POINTS).astype(int))
        figure.add_scatter(
            x=recall[kept].tolist(),
            y=precision[kept].tolist(),
            line={"color": colours[row.label], "width": 2.5},
            name=row.label,
            **cell,
        )
        rate, guess = row.support / count, {"color": _GREY, "dash": "dot"}
        figure.add_scatter(x=[0, 1], y=[rate, rate], line=guess, mode="lines", name="prior", **cell)
        if row.precision is not None and row.recall is not None:
            _mark_threshold(figure, cell, row.precision, row.recall, assessment.thresholds[i])
    figure.update_xaxes(range=[0, 1.03], title="recall", title_standoff=4)
    figure.update_yaxes(range=[0, 1.05], title="precision", title_standoff=4)
    figure.update_layout(showlegend=False)
    title = f"Precision and recall on {scores.info.split}, chosen thresholds marked"
    return _finish(figure, title, scores.info.synthetic, rows=ceil(len(titles) / 3))


def reliability(calibration: Calibration, synthetic: bool) -> go.Figure:
    """Observed share of positives against the probability given, before and after calibration."""
    labels = dict(zip(calibration.labels, calibration.probabilities, strict=True))
    titles = [
        f"{label}: ECE {one.before.expected_calibration_error:.3f} to "
        f"{one.after.expected_calibration_error:.3f}"
        for label, one in labels.items()
    ]
    figure, cells = _panels(titles)
    colours = label_colours(calibration.labels)
    for (label, one), cell in zip(labels.items(), cells, strict=True):
        diagonal = {"color": _GREY, "dash": "dot", "width": 1}
        figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=diagonal, **cell)
        stages = (("before", one.before, _GREY), ("after", one.after, colours[label]))
        for stage, curve, colour in stages:
            figure.add_scatter(
                x=list(curve.probability),
                y=list(curve.frequency),
                customdata=list(curve.count),
                hovertemplate="given %{x:.2f}, observed %{y:.2f}, %{customdata} samples",
                mode="lines+markers",
                line={"color": colour, "width": 2.5},
                name=stage,
                **cell,
            )
    figure.update_xaxes(range=[0, 1], title="probability given", title_standoff=4)
    figure.update_yaxes(range=[0, 1], title="share observed", title_standoff=4)
    figure.update_layout(showlegend=False)
    title = "Reliability on validation, before (grey) and after calibration (coloured)"
    return _finish(figure, title, synthetic, rows=ceil(len(labels) / 3))


def co_occurrence_heatmaps(pairs: CoOccurrence, synthetic: bool) -> go.Figure:
    """Share of the samples with one label that have another too: true, predicted, difference."""
    shares = {}
    for kind, numbers in (("true", pairs.true), ("predicted", pairs.predicted)):
        counts = np.array(numbers, dtype=float)
        shares[kind] = ratio(counts, np.diag(counts)[:, None], np.nan)
    shares["predicted minus true"] = shares["predicted"] - shares["true"]
    figure = make_subplots(1, 3, subplot_titles=list(shares), shared_yaxes=True)
    for column, (kind, share) in enumerate(shares.items(), 1):
        np.fill_diagonal(share, np.nan)
        signed = kind == "predicted minus true"
        figure.add_heatmap(
            x=list(pairs.labels),
            y=list(pairs.labels),
            z=[[number(value) for value in row] for row in share],
            texttemplate="%{z:+.2f}" if signed else "%{z:.2f}",
            colorscale="RdBu_r" if signed else "Blues",
            zmin=-0.5 if signed else 0,
            zmax=0.5 if signed else 1,
            showscale=False,
            hoverongaps=False,
            row=1,
            col=column,
        )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(title="of the samples with …", col=1)
    figure.update_xaxes(title="… this share also has")
    return _finish(figure, "Co-occurrence of labels", synthetic)


def modality_robustness(robustness: Robustness, synthetic: bool) -> go.Figure:
    """Figures by the modalities shown, and by the share of modalities hidden at random."""
    titles = ("modalities shown", "modalities hidden at random")
    figure = make_subplots(1, 2, subplot_titles=titles, shared_yaxes=True)
    names = ["<br>+ ".join(row.modalities) for row in robustness.by_subset]
    hidden = [row.hidden for row in robustness.by_missing_rate]
    for (metric, title), colour in zip(HEADLINE.items(), PALETTE[1:], strict=False):
        shown = [getattr(row.figures, metric) for row in robustness.by_subset]
        look = {"name": title, "row": 1}
        figure.add_bar(x=names, y=shown, marker={"color": colour}, col=1, **look)
        values = [getattr(row.figures, metric) for row in robustness.by_missing_rate]
        line = {"color": colour, "width": 3}
        figure.add_scatter(x=hidden, y=values, mode="lines+markers", line=line, col=2, **look)
        if values and values[-1] is not None:
            font, place = {"color": colour, "size": 13}, {"xanchor": "left", "xshift": 8}
            look = {"text": title, "font": font, "showarrow": False, "row": 1, "col": 2, **place}
            figure.add_annotation(x=hidden[-1], y=values[-1], **look)
    figure.update_xaxes(title="share hidden", tickformat=".0%", row=1, col=2)
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(showlegend=False)
    return _finish(figure, "Robustness to absent modalities", synthetic)


def label_f1(comparison: Comparison, synthetic: bool) -> go.Figure:
    """F1 of each label with its 95 % interval, each system beside the others."""
    assessments = comparison.assessments
    per_label = assessments[0].metrics.per_label
    names = [f"{row.label}<br>{row.support} true" for row in per_label]
    figure = go.Figure()
    for one, colour in zip(assessments, _system_colours(len(assessments)), strict=True):
        intervals = [one.intervals.label_f1[row.label] for row in per_label]
        figure.add_bar(
            x=names,
            y=[interval.value for interval in intervals],
            error_y=_error_bars(intervals),
            marker={"color": colour},
            name=one.info.title,
        )
    figure.update_yaxes(title="F1", rangemode="tozero")
    return _finish(figure, "F1 per label, 95 % intervals", synthetic)


def corpus_overview(report: DataReport) -> go.Figure:
    """A corpus: label rates and co-occurrence, lengths, missing modalities, counts and findings."""
    plots, tables = [{"type": "xy"}] * 2, [{"type": "table"}] * 2
    figure = make_subplots(
        3,
        2,
        specs=[plots, plots, tables],
        subplot_titles=(
            "share of samples with each label",
            "training samples with both labels",
            "steps per sample (5, 25, 50, 75, 95 %)",
            "share of samples without a modality",
            "beside the published counts",
            "what deserves a look",
        ),
        vertical_spacing=0.1,
    )
    for (split, counted), colour in zip(report.splits.items(), PALETTE, strict=False):
        _split_panels(figure, split, counted, colour)
    figure.add_heatmap(
        x=list(report.info.labels),
        y=list(report.info.labels),
        z=[list(row) for row in report.splits["train"].co_occurrence],
        texttemplate="%{z}",
        colorscale="Blues",
        showscale=False,
        row=1,
        col=2,
    )
    names = ("what", "split", "ours", "published", "difference")
    columns = [[getattr(row, name) for row in report.published] for name in names]
    _table(figure, names, columns, [2, 1, 1, 1, 1], column=1)
    _table(figure, ("finding",), [list(report.findings)], [1], column=2)
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(autorange="reversed", row=1, col=2)
    figure.update_layout(boxmode="group")
    sizes = [f"{split} {c.samples} in {c.groups} groups" for split, c in report.splits.items()]
    title = f"{report.info.corpus}: samples: {', '.join(sizes)}"
    return _finish(figure, title, report.info.synthetic, rows=3)


def _systems(comparison: Comparison, synthetic: bool) -> go.Figure:
    """Micro-F1, macro-F1 and accuracy of each system with their 95 % intervals."""
    figure = make_subplots(1, 3, subplot_titles=list(HEADLINE.values()), shared_yaxes=True)
    names = [one.info.title for one in comparison.assessments]
    for column, metric in enumerate(HEADLINE, 1):
        intervals = [one.intervals.metrics[metric] for one in comparison.assessments]
        figure.add_scatter(
            x=[interval.value for interval in intervals],
            y=names,
            error_x=_error_bars(intervals),
            mode="markers+text",
            text=["" if one.value is None else f"{one.value:.3f}" for one in intervals],
            textposition="top center",
            marker={"size": 11, "color": _system_colours(len(names))},
            showlegend=False,
            row=1,
            col=column,
        )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(rangemode="tozero")
    return _finish(figure, "Systems on the same samples, 95 % intervals", synthetic)


def _failures(failures: Failures, synthetic: bool) -> go.Figure:
    """Micro-F1 and accuracy by the samples' length and by how many labels they have."""
    titles = ("length in steps", "labels truly present")
    figure = make_subplots(1, 2, subplot_titles=titles, shared_yaxes=True)
    lengths = [f"{row.least} to {row.most}<br>n = {row.samples}" for row in failures.by_length]
    counts = [f"{row.least}<br>n = {row.samples}" for row in failures.by_label_count]
    panels = ((lengths, failures.by_length), (counts, failures.by_label_count))
    for metric, colour in (("micro_f1", PALETTE[1]), ("accuracy", PALETTE[3])):
        for column, (names, rows) in enumerate(panels, 1):
            figure.add_bar(
                x=names,
                y=[getattr(row.figures, metric) for row in rows],
                name=HEADLINE[metric],
                marker={"color": colour},
                showlegend=column == 1,
                row=1,
                col=column,
            )
    figure.update_yaxes(rangemode="tozero")
    return _finish(figure, "Where it fails: by length, by number of labels", synthetic)


def _loss_curves(figure: go.Figure, history: History) -> None:
    names = sorted(history.epochs[0].losses, key=lambda name: name != "total")
    for i, name in enumerate(names):
        # A logarithmic axis has no place for a term that is 0.
        values = [epoch.losses[name] for epoch in history.epochs]
        heavy = {"color": _INK, "width": 3}
        figure.add_scatter(
            x=[epoch.epoch for epoch in history.epochs],
            y=[value if value > 0 else None for value in values],
            name=name.replace("_", " "),
            line=heavy if name == "total" else {"color": PALETTE[i % len(PALETTE)]},
            row=1,
            col=1,
        )


def _selection_curve(figure: go.Figure, history: History) -> None:
    """What the epoch was chosen by, the kept epoch marked."""
    values = {epoch.epoch: epoch.selection for epoch in history.epochs}
    shared = {"showlegend": False, "name": history.criterion, "row": 1, "col": 2}
    line = {"color": PALETTE[1], "width": 3}
    figure.add_scatter(x=list(values), y=list(values.values()), line=line, **shared)
    if history.kept is not None:
        figure.add_scatter(
            x=[history.kept],
            y=[values[history.kept]],
            mode="markers+text",
            text=[f"epoch {history.kept} kept: {values[history.kept]:.3f}"],
            textposition="top center",
            marker={"color": PALETTE[1], "size": 10},
            **shared,
        )
    figure.update_yaxes(title=history.criterion, row=1, col=2)


def _panels(titles: list[str]) -> tuple[go.Figure, list[dict[str, int]]]:
    """Small multiples, three in a row, and the cell of each."""
    rows = ceil(len(titles) / 3)
    figure = make_subplots(
        rows,
        3,
        subplot_titles=titles,
        horizontal_spacing=0.07,
        vertical_spacing=0.32 / rows,
    )
    return figure, [{"row": i // 3 + 1, "col": i % 3 + 1} for i in range(len(titles))]


def _split_panels(figure: go.Figure, split: str, counted: SplitReport, colour: str) -> None:
    look: dict = {"name": split, "marker": {"color": colour}}
    rates, missing = counted.label_rates, counted.missing
    figure.add_bar(x=list(rates), y=list(rates.values()), row=1, col=1, **look)
    look["showlegend"] = False
    shares = [count / counted.samples for count in missing.values()]
    figure.add_bar(x=list(missing), y=shares, row=2, col=2, **look)
    lengths = {modality: steps for modality, steps in counted.lengths.items() if steps}
    box = {side: [getattr(steps, at) for steps in lengths.values()] for side, at in _BOX.items()}
    figure.add_box(x=list(lengths), row=2, col=1, **box, **look)


def _table(
    figure: go.Figure, names: Sequence[str], columns: list[list], widths: list[float], column: int
) -> None:
    figure.add_table(
        header={"values": list(names), "align": "left", "fill": {"color": "#F1F3F4"}},
        cells={"values": columns, "align": "left", "fill": {"color": "white"}},
        columnwidth=widths,
        row=3,
        col=column,
    )


def _mark_threshold(
    figure: go.Figure, cell: dict, precision: float, recall: float, threshold: float
) -> None:
    figure.add_scatter(
        x=[recall],
        y=[precision],
        mode="markers+text",
        marker={"color": _INK, "size": 10},
        text=[f"> {threshold:.2f}"],
        textposition="top right" if recall < 0.7 else "top left",
        hovertemplate="recall %{x:.3f}, precision %{y:.3f}",
        name="threshold",
        **cell,
    )


def _error_bars(intervals: list[Interval]) -> dict:
    reach = [
        (0.0, 0.0)
        if one.value is None or one.low is None or one.high is None
        else (one.value - one.low, one.high - one.value)
        for one in intervals
    ]
    return {
        "type": "data",
        "symmetric": False,
        "array": [above for _, above in reach],
        "arrayminus": [below for below, _ in reach],
        "thickness": 1.5,
    }


def _system_colours(count: int) -> list[str]:
    """The first system stands out, the others are greys."""
    greys = ("#5F6368", "#9AA0A6", "#C8CCD0")
    return [PALETTE[1], *(greys[i % 3] for i in range(count - 1))]


def _finish(figure: go.Figure, title: str, synthetic: bool, rows: int = 1) -> go.Figure:
    if synthetic:
        title += " <span style='color:#B3261E'>(synthetic corpus)</span>"
    figure.update_layout(
        template="plotly_white",
        title={"text": title, "x": 0.01, "xanchor": "left"},
        font={"family": "system-ui, sans-serif", "size": 13, "color": _INK},
        height=120 + 300 * rows,
        margin={"t": 90, "b": 60, "r": 80, "l": figure.layout.margin.l or 70},
    )
    return figure
