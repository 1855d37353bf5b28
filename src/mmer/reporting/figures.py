"""The figures of a run, as Plotly figures that a page or a pipeline viewer shows.

Numbers go in as lists, not arrays: Plotly would encode arrays in a way that older viewers of its
JSON cannot read.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.metrics import average_precision_score, precision_recall_curve

from mmer.evaluation.metrics import decide
from mmer.evaluation.summary import HEADLINE
from mmer.samples.scores import Scores

# Okabe and Ito's palette, told apart with any kind of colour vision, then two more.
PALETTE = (
    "#E69F00",
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#7F6A00",
    "#5B4B8A",
    "#444444",
)
_GREY, _INK = "#9AA0A6", "#202124"
_MOST_POINTS = 200
_BOX = {"lowerfence": "5%", "q1": "25%", "median": "50%", "q3": "75%", "upperfence": "95%"}


def label_colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour per label, the same in every figure of a corpus."""
    return {label: PALETTE[i % len(PALETTE)] for i, label in enumerate(labels)}


def learning_curves(history: list[dict[str, float]], *, synthetic: bool) -> go.Figure:
    """Loss terms and validation metrics over the epochs.

    Args:
        history: Per epoch `epoch`, `valid_<metric>` for each validation metric, and the mean of
            each loss term under its name, `total` among them.
        synthetic: Said in the title.
    """
    valid = [name for name in history[0] if name.startswith("valid_")]
    losses = [name for name in history[0] if name not in (*valid, "epoch", "seconds")]
    figure = make_subplots(1, 2, subplot_titles=("training losses", "validation"))
    _loss_curves(figure, history, sorted(losses, key=lambda name: name != "total"))
    for name, colour in zip(valid, PALETTE[1:], strict=False):
        _validation_curve(figure, history, name, colour)
    figure.update_yaxes(type="log", row=1, col=1)
    figure.update_xaxes(title="epoch")
    figure.update_layout(legend={"x": -0.07, "xanchor": "right"}, margin={"l": 200})
    return _finish(figure, "Learning curves", synthetic)


def precision_recall(scores: Scores, thresholds: np.ndarray) -> go.Figure:
    """Precision against recall of each label, the chosen threshold marked.

    Args:
        scores: N samples by L labels.
        thresholds: (L,), one per label.

    Raises:
        InputError: What `decide` refuses.
    """
    decisions, colours = decide(scores, thresholds), label_colours(scores.labels)
    truths = [scores.truth[:, column] for column in range(len(scores.labels))]
    columns = [scores.scores[:, column] for column in range(len(scores.labels))]
    titles = [
        f"{label} ({int(t.sum())} of {len(t)}), AP {average_precision_score(t, s):.2f}"
        if t.any()
        else f"{label}: never occurs"
        for label, t, s in zip(scores.labels, truths, columns, strict=True)
    ]
    figure, cells = _panels(titles)
    for i, (label, cell) in enumerate(zip(scores.labels, cells, strict=True)):
        if not truths[i].any():
            continue
        precision, recall, _ = precision_recall_curve(truths[i], columns[i])
        kept = np.unique(np.linspace(0, len(recall) - 1, _MOST_POINTS).astype(int))
        figure.add_scatter(
            x=recall[kept].tolist(),
            y=precision[kept].tolist(),
            line={"color": colours[label], "width": 2.5},
            name=label,
            **cell,
        )
        rate = float(truths[i].mean())
        guess = {"color": _GREY, "dash": "dot"}
        figure.add_scatter(x=[0, 1], y=[rate, rate], line=guess, mode="lines", name="prior", **cell)
        _mark_threshold(figure, cell, truths[i], decisions[:, i], float(thresholds[i]))
    figure.update_xaxes(range=[0, 1.03], title="recall", title_standoff=4)
    figure.update_yaxes(range=[0, 1.05], title="precision", title_standoff=4)
    figure.update_layout(showlegend=False)
    title = f"Precision and recall on {scores.split}, chosen thresholds marked"
    return _finish(figure, title, scores.synthetic, rows=ceil(len(titles) / 3))


def reliability(bins: dict[str, dict[str, dict]], *, synthetic: bool) -> go.Figure:
    """Observed share of positives against the probability given, before and after calibration.

    Args:
        bins: Label -> "before" and "after" -> `probability`, `frequency` and `count` of each bin
            and the `expected_calibration_error` (ECE), all on validation.
        synthetic: Said in the title.
    """
    errors = [
        [b[s]["expected_calibration_error"] for s in ("before", "after")] for b in bins.values()
    ]
    figure, cells = _panels(
        [f"{name}: ECE {e[0]:.3f} to {e[1]:.3f}" for name, e in zip(bins, errors, strict=True)]
    )
    colours = label_colours(list(bins))
    for (label, stages), cell in zip(bins.items(), cells, strict=True):
        diagonal = {"color": _GREY, "dash": "dot", "width": 1}
        figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=diagonal, **cell)
        for stage, colour in (("before", _GREY), ("after", colours[label])):
            curve = stages[stage]
            figure.add_scatter(
                x=list(curve["probability"]),
                y=list(curve["frequency"]),
                customdata=list(curve["count"]),
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
    return _finish(figure, title, synthetic, rows=ceil(len(bins) / 3))


def co_occurrence_heatmaps(pairs: dict, *, synthetic: bool) -> go.Figure:
    """Share of the samples with one label that have another too: true, predicted, difference.

    Args:
        pairs: What `mmer.evaluation.failures.co_occurrence` gives.
        synthetic: Said in the title.
    """
    shares = {}
    for kind in ("true", "predicted"):
        counts = np.array(pairs[kind], dtype=float)
        alone = np.diag(counts)[:, None]
        shares[kind] = np.divide(counts, alone, out=np.full_like(counts, np.nan), where=alone > 0)
    shares["predicted minus true"] = shares["predicted"] - shares["true"]
    figure = make_subplots(1, 3, subplot_titles=list(shares), shared_yaxes=True)
    for column, (kind, share) in enumerate(shares.items(), 1):
        np.fill_diagonal(share, np.nan)
        signed = kind == "predicted minus true"
        figure.add_heatmap(
            x=pairs["labels"],
            y=pairs["labels"],
            z=_lists(share),
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


def modality_robustness(
    by_subset: list[dict], by_missing_rate: list[dict], *, synthetic: bool
) -> go.Figure:
    """Metrics by the modalities shown, and by the share of modalities hidden at random.

    Args:
        by_subset: What `mmer.evaluation.modality.by_modality_subset` gives.
        by_missing_rate: What `mmer.evaluation.modality.by_missing_rate` gives.
        synthetic: Said in the title.
    """
    titles = ("modalities shown", "modalities hidden at random")
    figure = make_subplots(1, 2, subplot_titles=titles, shared_yaxes=True)
    names = ["<br>+ ".join(row["modalities"]) for row in by_subset]
    hidden = [row["hidden"] for row in by_missing_rate]
    for i, (metric, title) in enumerate(HEADLINE.items()):
        colour = PALETTE[1 + i]
        figure.add_bar(
            x=names,
            y=[row[metric] for row in by_subset],
            name=title,
            marker={"color": colour},
            row=1,
            col=1,
        )
        values = [row[metric] for row in by_missing_rate]
        line = {"color": colour, "width": 3}
        figure.add_scatter(
            x=hidden, y=values, mode="lines+markers", line=line, name=title, row=1, col=2
        )
        _note(figure, hidden[-1], values[-1], title, colour, 2)
    figure.update_xaxes(title="share hidden", tickformat=".0%", row=1, col=2)
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(showlegend=False)
    return _finish(figure, "Robustness to absent modalities", synthetic)


def label_f1(assessed: list[dict], *, synthetic: bool) -> go.Figure:
    """F1 of each label with its 95 % interval, each system beside the others.

    Args:
        assessed: What `mmer.evaluation.summary.assess` gives.
        synthetic: Said in the title.
    """
    per_label = assessed[0]["metrics"]["per_label"]
    names = [f"{label}<br>{row['support']} true" for label, row in per_label.items()]
    figure = go.Figure()
    for one, colour in zip(assessed, _system_colours(len(assessed)), strict=True):
        intervals = [one["intervals"]["per_label_f1"][label] for label in per_label]
        figure.add_bar(
            x=names,
            y=[row["value"] for row in intervals],
            error_y=_error_bars(intervals),
            marker={"color": colour},
            name=one["metrics"]["system"],
        )
    figure.update_yaxes(title="F1", rangemode="tozero")
    return _finish(figure, "F1 per label, 95 % intervals", synthetic)


def systems(assessed: list[dict], *, synthetic: bool) -> go.Figure:
    """Micro-F1, macro-F1 and accuracy of each system with their 95 % intervals.

    Args:
        assessed: What `mmer.evaluation.summary.assess` gives.
        synthetic: Said in the title.
    """
    figure = make_subplots(1, 3, subplot_titles=list(HEADLINE.values()), shared_yaxes=True)
    names = [one["metrics"]["system"] for one in assessed]
    for column, metric in enumerate(HEADLINE, 1):
        intervals = [one["intervals"]["metrics"][metric] for one in assessed]
        figure.add_scatter(
            x=[row["value"] for row in intervals],
            y=names,
            error_x=_error_bars(intervals),
            mode="markers+text",
            text=["" if row["value"] is None else f"{row['value']:.3f}" for row in intervals],
            textposition="top center",
            marker={"size": 11, "color": _system_colours(len(names))},
            showlegend=False,
            row=1,
            col=column,
        )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(rangemode="tozero")
    return _finish(figure, "Systems on the same samples, 95 % intervals", synthetic)


def failures(by_length: list[dict], by_label_count: list[dict], *, synthetic: bool) -> go.Figure:
    """Micro-F1 and accuracy by the samples' length and by how many labels they have.

    Args:
        by_length: What `mmer.evaluation.failures.by_length` gives.
        by_label_count: What `mmer.evaluation.failures.by_label_count` gives.
        synthetic: Said in the title.
    """
    titles = ("length in steps", "labels truly present")
    figure = make_subplots(1, 2, subplot_titles=titles, shared_yaxes=True)
    lengths = [f"{row['from']} to {row['to']}<br>n = {row['samples']}" for row in by_length]
    counts = [f"{row['labels']}<br>n = {row['samples']}" for row in by_label_count]
    for i, metric in enumerate(("micro_f1", "accuracy")):
        for column, (names, rows) in enumerate(((lengths, by_length), (counts, by_label_count)), 1):
            figure.add_bar(
                x=names,
                y=[row[metric] for row in rows],
                name=HEADLINE[metric],
                marker={"color": PALETTE[1 + 2 * i]},
                showlegend=column == 1,
                row=1,
                col=column,
            )
    figure.update_yaxes(rangemode="tozero")
    return _finish(figure, "Where it fails: by length, by number of labels", synthetic)


def corpus_overview(report: dict) -> go.Figure:
    """A corpus: label rates and co-occurrence, lengths, missing modalities, counts and findings.

    Args:
        report: What `mmer.evaluation.data_report.data_report` gives.
    """
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
    labels, splits = report["labels"], report["splits"]
    for (split, counted), colour in zip(splits.items(), PALETTE, strict=False):
        _split_panels(figure, split, counted, colour)
    figure.add_heatmap(
        x=labels,
        y=labels,
        z=splits["train"]["co_occurrence"],
        texttemplate="%{z}",
        colorscale="Blues",
        showscale=False,
        row=1,
        col=2,
    )
    names = ("what", "split", "ours", "published", "explanation")
    columns = [[row[name] for row in report["published"]] for name in names]
    _table(figure, names, columns, [2, 1, 1, 1.3, 4], column=1)
    _table(figure, ("finding",), [report["findings"]], [1], column=2)
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(autorange="reversed", row=1, col=2)
    figure.update_layout(boxmode="group")
    sizes = [f"{split} {c['samples']} in {c['groups']} groups" for split, c in splits.items()]
    title = f"{report['corpus']}: samples: {', '.join(sizes)}"
    return _finish(figure, title, report["synthetic"], rows=3)


def _loss_curves(figure: go.Figure, history: list[dict[str, float]], names: list[str]) -> None:
    for i, name in enumerate(names):
        # A logarithmic axis has no place for a term that is 0.
        values = [record[name] if record[name] > 0 else None for record in history]
        heavy = {"color": _INK, "width": 3}
        figure.add_scatter(
            x=[record["epoch"] for record in history],
            y=values,
            name=name.replace("_", " "),
            line=heavy if name == "total" else {"color": PALETTE[i % len(PALETTE)]},
            row=1,
            col=1,
        )


def _validation_curve(
    figure: go.Figure, history: list[dict[str, float]], name: str, colour: str
) -> None:
    """One validation metric, named at its end, its best epoch marked."""
    epochs, values = [r["epoch"] for r in history], [r[name] for r in history]
    metric = name.removeprefix("valid_")
    title, best = HEADLINE.get(metric, metric), int(np.argmax(values))
    shared = {"showlegend": False, "name": title, "row": 1, "col": 2}
    figure.add_scatter(x=epochs, y=values, line={"color": colour, "width": 3}, **shared)
    figure.add_scatter(
        x=[epochs[best]],
        y=[values[best]],
        mode="markers+text",
        text=[f"epoch {epochs[best]}: {values[best]:.3f}"],
        textposition="top center",
        marker={"color": colour, "size": 10},
        **shared,
    )
    _note(figure, epochs[-1], values[-1], title, colour, 2)


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


def _split_panels(figure: go.Figure, split: str, counted: dict, colour: str) -> None:
    look: dict = {"name": split, "marker": {"color": colour}}
    rates, missing = counted["label_rates"], counted["missing"]
    figure.add_bar(x=list(rates), y=list(rates.values()), row=1, col=1, **look)
    look["showlegend"] = False
    shares = [count / counted["samples"] for count in missing.values()]
    figure.add_bar(x=list(missing), y=shares, row=2, col=2, **look)
    lengths = {modality: steps for modality, steps in counted["lengths"].items() if steps}
    box = {side: [steps[at] for steps in lengths.values()] for side, at in _BOX.items()}
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
    figure: go.Figure, cell: dict, truth: np.ndarray, decided: np.ndarray, threshold: float
) -> None:
    hits, predicted = int((truth & decided).sum()), int(decided.sum())
    if predicted == 0:
        return
    recall, precision = hits / int(truth.sum()), hits / predicted
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


def _note(
    figure: go.Figure, x: float, y: float | None, text: str, colour: str, column: int
) -> None:
    """Name a line at its right end."""
    if y is not None:
        font = {"color": colour, "size": 13}
        place = {"xanchor": "left", "xshift": 8, "showarrow": False}
        figure.add_annotation(x=x, y=y, text=text, font=font, row=1, col=column, **place)


def _error_bars(intervals: list[dict]) -> dict:
    known = [row if row["low"] is not None else None for row in intervals]
    return {
        "type": "data",
        "symmetric": False,
        "array": [row["high"] - row["value"] if row else 0 for row in known],
        "arrayminus": [row["value"] - row["low"] if row else 0 for row in known],
        "thickness": 1.5,
    }


def _system_colours(count: int) -> list[str]:
    """The first system stands out, the others are greys."""
    greys = ("#5F6368", "#9AA0A6", "#C8CCD0")
    return [PALETTE[1], *(greys[i % 3] for i in range(count - 1))]


def _lists(values: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(v) else float(v) for v in row] for row in values]


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
