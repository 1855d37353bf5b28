"""What systems cost, beside how good they are: as numbers, texts and a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import mean, stdev
from typing import NamedTuple

import plotly.graph_objects as go

from mmer.evaluation.costs import ComparedCosts, Cost, Machine
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.seeds import ComparedSystems
from mmer.reporting.panels import error_bars, panels, system_colours
from mmer.reporting.summary import MAIN, Column, listed, table_text

UNKNOWN = "not told by this machine"
NOT_MEASURED = "not measured"
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "x")


class Unit(NamedTuple):
    """In which values are given from `least` on."""

    name: str
    size: float
    least: float


_PLAIN = (Unit("", 1, 0),)
_TIME = (Unit("h", 3600, 7200), Unit("min", 60, 120), Unit("s", 1, 0))
_ENERGY = (Unit("MJ", 1e6, 1e6), Unit("kJ", 1e3, 1e3), Unit("J", 1, 0))
_MEMORY = (Unit("GB", 1e9, 1e9), Unit("MB", 1e6, 1e6), Unit("kB", 1e3, 0))


class Quantity(NamedTuple):
    """Something that a cell costs.

    Attributes:
        name: For programs, with the unit.
        title: For readers.
        of: Its value; None where the machine does not tell.
    """

    name: str
    title: str
    of: Callable[[Cost], float | None]
    units: tuple[Unit, ...]


_SHOWN = (
    Quantity("parameters", "parameters", lambda one: one.parameters, _PLAIN),
    Quantity("training_seconds", "training time", lambda one: one.training.seconds, _TIME),
    Quantity("training_joules", "energy of training", lambda one: one.training.energy, _ENERGY),
    Quantity(
        "scored_samples_per_second",
        "samples scored per second",
        lambda one: one.samples_per_second,
        _PLAIN,
    ),
    Quantity(
        "training_memory_bytes", "memory in training", lambda one: one.training.memory, _MEMORY
    ),
    Quantity("scoring_memory_bytes", "memory in scoring", lambda one: one.scoring.memory, _MEMORY),
)
_FOR_PROGRAMS = (
    *_SHOWN,
    Quantity("scoring_seconds", "time of scoring", lambda one: one.scoring.seconds, _TIME),
    Quantity("scoring_joules", "energy of scoring", lambda one: one.scoring.energy, _ENERGY),
)
COST_TITLES = tuple(one.title for one in _SHOWN)


class CostRow(NamedTuple):
    """What a system costs, as numbers.

    Attributes:
        values: One for each seed; None where the machine did not tell.
        mean: None if any of them is.
    """

    name: str
    values: tuple[float | None, ...]
    mean: float | None
    deviation: float | None


def costs_of(costs: ComparedCosts, title: str) -> tuple[Cost, ...]:
    """Of every seed of a system; none if it was not measured."""
    return next((one.costs for one in costs.systems if one.title == title), ())


def cost_rows(costs: Sequence[Cost]) -> Iterator[CostRow]:
    """Everything that the seeds of a system cost, as a program reads it."""
    for quantity in _FOR_PROGRAMS if costs else ():
        values = tuple(quantity.of(one) for one in costs)
        known = [value for value in values if value is not None]
        several = len(known) == len(values) > 1
        yield CostRow(
            quantity.name,
            values,
            mean(known) if len(known) == len(values) else None,
            stdev(known) if several else None,
        )


def cost_texts(costs: Sequence[Cost]) -> list[str]:
    """What the seeds of a system cost, a text for each of `COST_TITLES`."""
    if not costs:
        return [NOT_MEASURED] * len(_SHOWN)
    return [_text([one.of(cost) for cost in costs], one.units) for one in _SHOWN]


def cost_notes(costs: ComparedCosts) -> list[str]:
    """What has to be known to read them, a sentence or two each."""
    all_costs = [cost for one in costs.systems for cost in one.costs]
    if not all_costs:
        return ["What these systems cost was not measured."]
    ran = [one for cost in all_costs for one in (cost.machine, cost.scored_on) if one]
    machines = list(dict.fromkeys(map(_machine_text, ran)))
    found = [
        f"Measured on {machines[0]}."
        if len(machines) == 1
        else "Measured on different machines or numbers of threads, so that times and energy of "
        f"systems say little about which of them costs more: {'; '.join(machines)}."
    ]
    if any(len(one.costs) > 1 for one in costs.systems):
        found.append("Of several seeds: the mean, and in brackets the least and the most.")
    found.append(
        "Time is by the clock, and longer where the machine had other work. Memory is the peak "
        "beyond what the process held before; what the first system loads, later ones find."
    )
    counters = list(dict.fromkeys(name for cost in all_costs for name in cost.machine.energy))
    found.append(
        f"Energy is what the counters of {listed(counters)} counted meanwhile, for whatever ran."
        if counters
        else "No counter of energy could be read, so energy is unknown."
    )
    return found


def costs_text(costs: ComparedCosts, width: int = 120) -> str:
    """The table for a terminal of `width` columns, with what it means below it."""
    texts = [cost_texts(one.costs) for one in costs.systems]
    columns = [Column("system", 4, [one.title for one in costs.systems])]
    for i, (title, stays) in enumerate(zip(COST_TITLES, (3, 4, 0, 2, 1, 0), strict=True)):
        cells = [row[i].replace(" (", "\n(").replace(UNKNOWN, "not told") for row in texts]
        columns.append(Column(title.replace(" ", "\n", 1), stays, cells))
    return table_text("What it costs", columns, cost_notes(costs), width)


def cost_figure(compared: ComparedSystems, costs: ComparedCosts) -> go.Figure:
    """Micro-F1 against the time of training, of those systems of which both are known."""
    figure, _ = panels("What training time buys", compared.info.synthetic, columns=1)
    colours = system_colours(len(compared.systems))
    for i, one in enumerate(compared.systems):
        measured = costs_of(costs, one.info.title)
        interval = one.metrics[MAIN].mean
        if not measured or interval.value is None:
            continue
        seconds = mean(cost.training.seconds for cost in measured)
        figure.add_scatter(
            x=[seconds],
            y=[interval.value],
            error_y=error_bars([interval]),
            mode="markers",
            name=one.info.title,
            marker={"color": colours[i], "size": 12, "symbol": _SYMBOLS[i % len(_SYMBOLS)]},
            showlegend=True,
            hovertemplate=f"{_text([seconds], _TIME)}, {HEADLINE[MAIN]} %{{y:.3f}}",
        )
    figure.update_xaxes(type="log", title="seconds of training", dtick=1, exponentformat="none")
    figure.update_yaxes(title=HEADLINE[MAIN])
    return figure.update_layout(height=420, margin={"l": 70, "r": 20, "t": 60})


def _text(values: Sequence[float | None], units: tuple[Unit, ...]) -> str:
    """Mean and range, in the unit that suits the mean."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "not told by every machine" if known else UNKNOWN
    average = mean(known)
    unit = next(one for one in units if average >= one.least)
    least, most = (_digits(value / unit.size) for value in (min(known), max(known)))
    spread = f" ({least} to {most})" if least != most else ""
    return f"{_digits(average / unit.size)} {unit.name}".strip() + spread


def _digits(value: float) -> str:
    """Three significant digits, and all of a number of parameters."""
    if value == round(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 else f"{value:.1g}"


def _machine_text(machine: Machine) -> str:
    threads = f"{machine.threads} thread{'s' if machine.threads > 1 else ''}"
    device = "" if machine.device == "cpu" else f"{machine.device}, "
    return f"{device}{machine.processor}, {threads}"
