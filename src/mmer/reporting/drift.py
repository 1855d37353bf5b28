"""The page of new samples beside those that a model was made with."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from mmer.evaluation.drift import CONFIDENT, Drift
from mmer.reporting.pages import rendered
from mmer.reporting.panels import PALETTE, panels
from mmer.reporting.summary import listed

_BEFORE, _NOW = "training", "new samples"
_COLOURS = {_BEFORE: PALETTE[1], _NOW: PALETTE[0]}


def drift_page(drift: Drift) -> str:
    """As HTML: what deserves a look first, then every comparison."""
    figures = {"rates": rates_figure(drift), "lengths": lengths_figure(drift)}
    title = f"{drift.corpus}: new samples beside training"
    return rendered(
        "drift.html",
        figures,
        {"share": _share, "number": _number},
        title=title,
        synthetic=drift.synthetic,
        drift=drift,
        answer=answer(drift),
        confident=CONFIDENT,
        rates=list(
            zip(
                drift.labels,
                drift.reference.predictions.label_rates,
                drift.predictions.label_rates,
                drift.reference.predictions.mean_probabilities,
                drift.predictions.mean_probabilities,
                strict=True,
            )
        ),
    )


def answer(drift: Drift) -> str:
    """In a sentence or two, whether the model's figures may be trusted here."""
    if not drift.flags:
        return (
            f"Nothing in {drift.samples} new samples differs from training by more than is "
            "tolerated. That does not show that the model is right about them: only labels would."
        )
    return (
        f"{len(drift.flags)} of what is looked at differs by more than is tolerated: "
        f"{listed([flag.what for flag in drift.flags])}. What the model scored on test need not "
        "hold here."
    )


def rates_figure(drift: Drift) -> go.Figure:
    """Share of samples in which each label is predicted."""
    figure, (cell,) = panels("Share of samples with each label predicted", drift.synthetic)
    for name, told in (("validation", drift.reference), (_NOW, drift)):
        colour = _COLOURS[_NOW if name == _NOW else _BEFORE]
        rates = told.predictions.label_rates
        figure.add_bar(x=drift.labels, y=rates, name=name, marker={"color": colour}, **cell)
    return figure.update_yaxes(rangemode="tozero", tickformat=".0%")


def lengths_figure(drift: Drift) -> go.Figure:
    """How many samples have at most so many steps, of each modality."""
    names = [one.modality for one in drift.modalities]
    columns = max(1, min(3, len(names)))
    heading = "Share of samples with at most so many steps"
    figure, cells = panels(heading, drift.synthetic, names, columns)
    for modality, cell in zip(names, cells, strict=True):
        for name, told in ((_BEFORE, drift.reference.features), (_NOW, drift.features)):
            lengths = told.modalities[modality].lengths
            if not lengths:
                continue
            steps, counts = np.array(list(lengths)), np.array(list(lengths.values()))
            figure.add_scatter(
                x=[0, *steps.tolist()],
                y=[0.0, *(counts.cumsum() / counts.sum()).tolist()],
                name=name,
                legendgroup=name,
                showlegend=modality == names[0],
                mode="lines",
                line={"color": _COLOURS[name], "shape": "hv"},
                **cell,
            )
    figure.update_xaxes(title="steps")
    return figure.update_yaxes(range=[0, 1.02], tickformat=".0%")


def _share(value: float | None) -> str:
    return "—" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"
