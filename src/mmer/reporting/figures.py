"""The figures of a run, as Plotly figures that a page or a pipeline viewer shows.

Numbers go in as lists, not arrays: Plotly would encode arrays in a way that older viewers of its
JSON cannot read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from textwrap import wrap
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from sklearn.metrics import precision_recall_curve

from mmer.calibration.calibration import Calibration
from mmer.corpora.bayes_optimal import name_of_subset
from mmer.evaluation.assessment import Assessment, Comparison, check_model
from mmer.evaluation.failures import Bucket, CoOccurrence, Failures
from mmer.evaluation.robustness import MissingRateFigures, Robustness, SubsetFigures
from mmer.metrics.counts import ratio
from mmer.metrics.metrics import HEADLINE, number
from mmer.metrics.scores import Scores
from mmer.reporting.panels import (
    DOTTED,
    FEW,
    GREY,
    INK,
    PALETTE,
    error_bars,
    opacity,
    panels,
    system_colours,
)
from mmer.training.history import History

_COLOURS = dict(zip(HEADLINE, PALETTE[1:], strict=False))
_MOST_POINTS = 200


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
        figure, _ = panels(heading, synthetic, [f"{title} is not trained in epochs."], columns=1)
        return figure.update_xaxes(visible=False).update_yaxes(visible=False)
    epochs, validation = [epoch.epoch for epoch in history.epochs], "validation"
    chosen_by = [epoch.selection for epoch in history.epochs]
    if history.kept is not None:
        kept = chosen_by[epochs.index(history.kept)]
        validation = f"validation: epoch {history.kept} kept, {kept:.3f}"
    titles = ["training losses", validation]
    figure, (left, right) = panels(heading, synthetic, titles, 2, horizontal_spacing=0.18)
    for i, name in enumerate(sorted(history.epochs[0].losses, key=lambda name: name != "total")):
        # A logarithmic axis has no place for a term that is 0.
        values = [epoch.losses[name] or None for epoch in history.epochs]
        colour = INK if name == "total" else PALETTE[i % len(PALETTE)]
        figure.add_scatter(
            x=epochs, y=values, name=name.replace("_", " "), line_color=colour, **left
        )
    look = {"name": history.criterion, "marker": {"color": PALETTE[1], "size": 10}, **right}
    look |= {"showlegend": False}
    figure.add_scatter(x=epochs, y=chosen_by, mode="lines", **look)
    if history.kept is not None:
        figure.add_scatter(x=[history.kept], y=[kept], mode="markers", **look)
    # Ticks at each digit of a power of ten would cover each other on a small figure.
    figure.update_yaxes(type="log", dtick="D2", **left).update_yaxes(
        title="<br>".join(wrap(history.criterion, 30)), **right
    )
    figure.update_xaxes(title="epoch", nticks=min(len(epochs), 8))
    return figure.update_layout(legend={"x": -0.09, "xanchor": "right"}, margin={"l": 230})


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
    figure, cells = panels(heading, scores.info.synthetic, titles)
    for i, (row, cell) in enumerate(zip(rows, cells, strict=True)):
        if not row.support:
            continue
        precision, recall, _ = precision_recall_curve(scores.truth[:, i], scores.scores[:, i])
        kept = np.unique(np.linspace(0, len(recall) - 1, _MOST_POINTS).astype(int))
        x, y, line = recall[kept].tolist(), precision[kept].tolist(), {"color": colours[row.label]}
        figure.add_scatter(x=x, y=y, mode="lines", line=line, name=row.label, **cell)
        rate = row.support / count
        figure.add_scatter(x=[0, 1], y=[rate] * 2, line=DOTTED, mode="lines", name="prior", **cell)
        if row.precision is not None and row.recall is not None:
            figure.add_scatter(
                x=[row.recall],
                y=[row.precision],
                mode="markers+text",
                marker={"color": INK, "size": 10},
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

    At a point of the latter stands how many samples it is of; a point of fewer than ten is hollow.
    """
    split = assessment.info.split
    stages = zip(calibration.probabilities, assessment.reliability, strict=True)
    pairs = [(one.before, seen) for one, seen in stages]
    titles = [
        f"{label}: ECE {before.expected_calibration_error:.3f}, "
        f"{after.expected_calibration_error:.3f}"
        for label, (before, after) in zip(calibration.labels, pairs, strict=True)
    ]
    heading = f"Reliability: scores on validation (grey, first), probabilities on {split} (second)"
    figure, cells = panels(heading, assessment.info.synthetic, titles)
    colours = label_colours(calibration.labels).values()
    for pair, colour, cell in zip(pairs, colours, cells, strict=True):
        figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=DOTTED, **cell)
        for curve, name, line in zip(pair, ("scores", split), (GREY, colour), strict=True):
            figure.add_scatter(
                x=curve.probability,
                y=curve.frequency,
                customdata=curve.count,
                hovertemplate="given %{x:.2f}, observed %{y:.2f}, %{customdata} samples",
                mode="lines+markers+text",
                text=[f"{count}" if name == split else "" for count in curve.count],
                textposition="top center",
                textfont={"size": 10},
                cliponaxis=False,
                line={"color": line},
                marker={
                    "size": [4 + 2 * np.log10(count) for count in curve.count],
                    "symbol": [
                        "circle" if count >= FEW else "circle-open" for count in curve.count
                    ],
                },
                name=name,
                **cell,
            )
    figure.update_xaxes(range=[0, 1], title="probability given", title_standoff=4)
    figure.update_yaxes(range=[0, 1.08], title="share observed", title_standoff=4)
    return figure.update_layout(showlegend=False)


def co_occurrence_heatmaps(pairs: CoOccurrence, synthetic: bool) -> go.Figure:
    """Share of the samples with one label that have another too: true, predicted, difference.

    Beside a label stands how many samples have it, or are given it.
    """
    counts = {"true": np.array(pairs.true), "predicted": np.array(pairs.predicted)}
    shares = {kind: ratio(n, np.diag(n)[:, None], np.nan) for kind, n in counts.items()}
    shares["predicted minus true"] = shares["predicted"] - shares["true"]
    figure, cells = panels(
        "Co-occurrence of labels", synthetic, list(shares), horizontal_spacing=0.13
    )
    for (kind, share), cell in zip(shares.items(), cells, strict=True):
        of = np.diag(counts[kind]) if kind in counts else None
        rows = [
            label if of is None else f"{label} ({of[i]})" for i, label in enumerate(pairs.labels)
        ]
        np.fill_diagonal(share, np.nan)
        signed = kind == "predicted minus true"
        figure.add_heatmap(
            x=pairs.labels,
            y=rows,
            z=[[number(value) for value in row] for row in share],
            texttemplate="%{z:+.2f}" if signed else "%{z:.2f}",
            colorscale="RdBu_r" if signed else "Blues",
            zmin=-0.5 if signed else 0,
            zmax=0.5 if signed else 1,
            showscale=False,
            hoverongaps=False,
            **cell,
        )
    figure.update_yaxes(autorange="reversed", showgrid=False, automargin=True)
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
    widths = [0.62, 0.38]
    figure, cells = panels(heading, synthetic, titles, 2, shared_yaxes=True, column_widths=widths)
    names = ["<br>+ ".join(row.modalities) for row in robustness.by_subset]
    hidden = [row.hidden for row in robustness.by_missing_rate]
    sides: list[tuple[Callable, Sequence, Sequence[SubsetFigures | MissingRateFigures], dict]] = [
        (figure.add_bar, names, robustness.by_subset, cells[0]),
        (figure.add_scatter, hidden, robustness.by_missing_rate, cells[1]),
    ]
    for metric, title in HEADLINE.items():
        colour = {"color": _COLOURS[metric]}
        for add, x, rows, cell in sides:
            intervals = [row.intervals[metric] for row in rows]
            values, bars = [one.value for one in intervals], error_bars(intervals)
            look = {"name": title, "marker": colour, "showlegend": cell is cells[0], **cell}
            add(x=x, y=values, error_y=bars, **look)
        if (constant := best_constant(comparison, metric)) is not None:
            line = {"color": _COLOURS[metric], "dash": "dot", "width": 1.5}
            for cell in cells:
                look = {"name": f"best constant: {title}", "showlegend": cell is cells[0], **cell}
                figure.add_hline(constant.intervals.metrics[metric].value, line=line, **look)
    if best := comparison.assessments[0].info.bayes_optimal:
        known = [best.get(name_of_subset(row.modalities)) for row in robustness.by_subset[1:]]
        marker = {"symbol": "line-ew-open", "size": 18, "color": INK}
        look = {"mode": "markers", "marker": marker, "name": "Bayes-optimal micro-F1"}
        figure.add_scatter(x=names, y=[best.get("micro_f1"), *known], **look, **cells[0])
    figure.update_xaxes(title="share hidden", tickformat=".0%", **cells[1])
    return figure.update_yaxes(rangemode="tozero")


def best_constant(comparison: Comparison, metric: str) -> Assessment | None:
    """The best of the systems that have nothing to calibrate, the constants."""
    constants = [
        one
        for one in comparison.assessments
        if one.info.fixed_threshold is not None and one.intervals.metrics[metric].value is not None
    ]
    return max(constants, key=lambda one: one.intervals.metrics[metric].value or 0.0, default=None)


def label_f1(comparison: Comparison, synthetic: bool) -> go.Figure:
    """F1 of each label with its 95 % interval, each system beside the others.

    Bars of labels that fewer than ten samples have are pale.
    """
    assessments = comparison.assessments
    per_label = assessments[0].metrics.per_label
    figure, _ = panels("F1 per label, 95 % intervals", synthetic, columns=1)
    for one, colour in zip(assessments, system_colours(len(assessments)), strict=True):
        intervals = [one.intervals.label_f1[row.label] for row in per_label]
        figure.add_bar(
            x=[f"{row.label}<br>{row.support} true" for row in per_label],
            y=[interval.value for interval in intervals],
            error_y=error_bars(intervals),
            marker={"color": colour, "opacity": opacity(row.support for row in per_label)},
            name=one.info.title,
        )
    return figure.update_yaxes(title="F1", rangemode="tozero")


def _systems(comparison: Comparison, synthetic: bool) -> go.Figure:
    """Headline metrics of each system with their 95 % intervals."""
    heading = "Systems on the same samples, 95 % intervals"
    figure, cells = panels(heading, synthetic, list(HEADLINE.values()), shared_yaxes=True)
    names = [one.info.title for one in comparison.assessments]
    for metric, cell in zip(HEADLINE, cells, strict=True):
        intervals = [one.intervals.metrics[metric] for one in comparison.assessments]
        figure.add_scatter(
            x=[interval.value for interval in intervals],
            y=names,
            error_x={**error_bars(intervals), "color": INK},
            mode="markers+text",
            text=["" if one.value is None else f"{one.value:.3f}" for one in intervals],
            textposition="top center",
            marker={"size": 11, "color": system_colours(len(names))},
            **cell,
        )
    figure.update_xaxes(rangemode="tozero", nticks=5).update_yaxes(range=[len(names) - 0.5, -0.8])
    return figure.update_layout(showlegend=False, height=130 + 60 * len(names))


def _failures(failures: Failures, synthetic: bool) -> go.Figure:
    """Micro-F1 and accuracy by the samples' length and by how many labels they have.

    Bars of fewer than ten samples are pale.
    """
    heading = "By length and by number of labels, 95 % intervals"
    titles = ["length in steps", "labels truly present"]
    figure, (left, right) = panels(heading, synthetic, titles, 2, shared_yaxes=True)
    for rows, cell in ((failures.by_length, left), (failures.by_label_count, right)):
        names = [
            f"{row.least}{f' to {row.most}' if row.most > row.least else ''}<br>n = {row.samples}"
            for row in rows
        ]
        _headline_bars(figure, names, rows, ("micro_f1", "accuracy"), cell)
    return figure.update_yaxes(rangemode="tozero")


def _headline_bars(
    figure: go.Figure,
    names: list[str],
    rows: Sequence[Bucket],
    metrics: Iterable[str],
    cell: dict[str, int],
) -> None:
    for metric in metrics:
        intervals = [row.intervals[metric] for row in rows]
        marker = {"color": _COLOURS[metric], "opacity": opacity(row.samples for row in rows)}
        look = {"name": HEADLINE[metric], "showlegend": cell["col"] == 1, "marker": marker}
        values, bars = [one.value for one in intervals], error_bars(intervals)
        figure.add_bar(x=names, y=values, error_y=bars, **look, **cell)
