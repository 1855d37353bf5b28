"""Systems x seeds and what they cost: for programs, the terminal, a paper, and as a page."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from mmer.corpora.corpus import Published
from mmer.evaluation.costs import ComparedCosts
from mmer.metrics.intervals import Difference, Interval
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.resampled import METRICS
from mmer.metrics.seeds import ComparedSystems, SeedFigure, SystemSeeds
from mmer.reporting import latex
from mmer.reporting.costs import (
    COST_TITLES,
    NOT_MEASURED,
    UNKNOWN,
    cost_figure,
    cost_notes,
    cost_rows,
    cost_texts,
    costs_of,
)
from mmer.reporting.pages import rendered
from mmer.reporting.panels import PALETTE, error_bars, panels
from mmer.reporting.summary import (
    MAIN,
    Column,
    difference_text,
    groups_unknown,
    interval_text,
    listed,
    samples_text,
    size_text,
    table_text,
    value_text,
)

_COSTS_IN_A_PAPER = 4
_VERDICTS = {
    "not significant": "does not differ significantly from",
    "undefined": "cannot be compared with",
    "better": "is better than",
}
_SHOWN = {**HEADLINE, "macro_average_precision": "mAP"}
_MORE = {name: title for name, title in METRICS.items() if name not in HEADLINE and title != "mAP"}


def seeds_frame(compared: ComparedSystems, costs: ComparedCosts) -> pd.DataFrame:
    """One row per system and figure, F1 of a label, or cost, as a program reads it.

    `mean`, its interval `low` and `high`, the `deviation` over seeds, the `values` of the single
    seeds; of what the Bayes-optimal score is known of, the share of the possible with its interval;
    and of each other system the difference to it with p-value and verdict. What the machine does
    not tell is empty.
    """
    rows = [*_metric_rows(compared), *_cost_rows(compared, costs)]
    return pd.DataFrame(rows)


def _metric_rows(compared: ComparedSystems) -> Iterator[dict[str, object]]:
    for system in compared.systems:
        for name, figure in system.metrics.items():
            share = compared.share_of_possible(system.info.title, name)
            yield {
                **_figure_row(system, name, figure),
                "share_of_possible": share.value if share else None,
                "share_of_possible_low": share.low if share else None,
                "share_of_possible_high": share.high if share else None,
                **_differences(compared, system, name),
            }
        for label, figure in system.label_f1.items():
            yield _figure_row(system, f"F1 of {label}", figure)


def _figure_row(system: SystemSeeds, name: str, figure: SeedFigure) -> dict[str, object]:
    return {
        **_of_system(system, name),
        "mean": figure.mean.value,
        "low": figure.mean.low,
        "high": figure.mean.high,
        "deviation": figure.deviation,
        "values": " ".join("" if v is None else f"{v:.6f}" for v in figure.values),
    }


def _differences(compared: ComparedSystems, system: SystemSeeds, name: str) -> dict[str, object]:
    row: dict[str, object] = {}
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
    return row


def _cost_rows(compared: ComparedSystems, costs: ComparedCosts) -> Iterator[dict[str, object]]:
    for system in compared.systems:
        for one in cost_rows(costs_of(costs, system.info.title)):
            yield {
                **_of_system(system, one.name),
                "mean": one.mean,
                "deviation": one.deviation,
                "values": " ".join("" if v is None else f"{v:.9g}" for v in one.values),
            }


def _of_system(system: SystemSeeds, metric: str) -> dict[str, object]:
    return {
        "system": system.info.title,
        "metric": metric,
        "seeds": " ".join(map(str, system.seeds)),
        "corpus": system.info.corpus,
        "split": system.info.split,
        "synthetic": system.info.synthetic,
    }


def seeds_latex(compared: ComparedSystems, costs: ComparedCosts) -> str:
    """The tables for a paper, with booktabs; what has to be said below stands in comments."""
    titles = [one.info.title for one in compared.systems]
    shares = _shares(compared)
    head = ["", *_SHOWN.values(), *(["share of the possible"] if shares else [])]
    rows: list[list[str]] = []
    for title, system in zip(titles, compared.systems, strict=True):
        cells = [_latex_cell(compared, system, name) for name in _SHOWN]
        below = [latex.bounds(system.metrics[name].mean) for name in _SHOWN]
        if shares:
            cells.append(latex.number(shares[title].value))
            below.append(latex.bounds(shares[title]))
        told = cost_texts(costs_of(costs, title))[:_COSTS_IN_A_PAPER]
        known = ["--" if text in (UNKNOWN, NOT_MEASURED) else latex.escaped(text) for text in told]
        rows.append([latex.escaped(title), *cells, *known])
        rows.append(["", *below, *[""] * len(told)])
    size = samples_text(compared.info, compared.samples, compared.bootstrap.groups)
    comments = [
        f"Caption: {size}.",
        "Bold: the highest mean. Dagger: not significantly different from it.",
        *notes(compared),
        *cost_notes(costs),
    ]
    table = latex.table([*head, *COST_TITLES[:_COSTS_IN_A_PAPER]], [rows], comments)
    return f"{table}\n{_label_latex(compared)}"


def _label_latex(compared: ComparedSystems) -> str:
    rows: list[list[str]] = []
    for system in compared.systems:
        figures = system.label_f1.values()
        means = [latex.escaped(mean_text(figure)) for figure in figures]
        rows.append([latex.escaped(system.info.title), *means])
        rows.append(["", *(latex.bounds(figure.mean) for figure in figures)])
    return latex.table(["", *compared.info.labels], [rows], ["F1 of each label."])


def _latex_cell(compared: ComparedSystems, system: SystemSeeds, metric: str) -> str:
    """Mean and deviation, marked if it is the best, or not shown to differ from the best."""
    figure = system.metrics[metric]
    text = latex.escaped(mean_text(figure))
    best = best_system(compared, metric)
    if figure.mean.value is None:
        return text
    if system is best:
        return latex.bold(text)
    alike = _difference(compared, best, system, metric).verdict == "not significant"
    return text + latex.DAGGER if alike else text


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
    if shares := _shares(compared):
        cells = [interval_text(one, "\n") for one in shares.values()]
        columns.append(Column("share of\nthe possible", 3, cells))
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


def best_system(compared: ComparedSystems, metric: str = MAIN) -> SystemSeeds:
    """That with the highest mean, significant or not; the first of equals."""

    def mean(one: SystemSeeds) -> float:
        value = one.metrics[metric].mean.value
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
    if _shares(compared):
        found.append(
            f"Share of the possible: how far {HEADLINE[MAIN]} goes from "
            f"{compared.of_every_label[MAIN]:.3f}, that of predicting every label, to the "
            "Bayes-optimal score. Its interval is that of the system's own figure."
        )
    return found


def figure_text(figure: SeedFigure, separator: str = " ") -> str:
    """Mean, deviation over seeds and interval, as text."""
    low, high = figure.mean.low, figure.mean.high
    bounds = "" if low is None else f"{separator}[{low:.3f}, {high:.3f}]"
    return f"{mean_text(figure)}{bounds}"


def mean_text(figure: SeedFigure) -> str:
    """Mean and deviation over seeds, as text."""
    deviation = "" if figure.deviation is None else f" ± {figure.deviation:.3f}"
    return f"{value_text(figure.mean.value)}{deviation}"


def render_seeds(
    compared: ComparedSystems, corpus: str, costs: ComparedCosts, published: Published
) -> str:
    """The comparison as one page of HTML that opens from disk, with Plotly inside.

    Args:
        corpus: Title for readers.
        published: What others report on it.
    """
    figures = {name: seeds_figure(compared, name) for name in HEADLINE}
    titles = [one.info.title for one in compared.systems]
    return rendered(
        "seeds.html",
        {**figures, "costs": cost_figure(compared, costs)},
        {"figure_text": figure_text},
        title=f"Systems on {corpus}",
        synthetic=compared.info.synthetic,
        corpus=corpus,
        compared=compared,
        info=compared.info,
        answer=answer(compared),
        notes=notes(compared),
        size=size_text(compared.samples, compared.bootstrap.groups, compared.info.groups_known),
        headline=HEADLINE,
        tables=[_SHOWN, _MORE],
        shares=_shares(compared),
        cost_titles=COST_TITLES,
        costs={title: cost_texts(costs_of(costs, title)) for title in titles},
        cost_notes=cost_notes(costs),
        published=published,
    )


def seeds_figure(compared: ComparedSystems, metric: str) -> go.Figure:
    """Every seed a point, the mean with its interval."""
    systems = compared.systems[::-1]  # the first on top
    titles = [one.info.title.replace(" ", "<br>", 1) for one in systems]
    figures = [one.metrics[metric] for one in systems]
    seeds = [(t, v) for t, f in zip(titles, figures, strict=True) for v in f.values]
    drawn, _ = panels(METRICS[metric], compared.info.synthetic, columns=1)
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
    if best := compared.info.bayes_optimal.get(metric):
        drawn.add_vline(best, line_dash="dot", line_color="#5f6368")
    drawn.update_layout(
        title_text=drawn.layout.title.text.replace(" <", "<br><"),
        title_font_size=14,
        height=120 + 46 * len(systems),
        margin={"l": 8, "r": 12, "t": 56, "b": 8},
        showlegend=False,
    )
    drawn.update_yaxes(automargin=True, range=[-0.5, len(systems) - 0.5])
    return drawn.update_xaxes(automargin=True)


def _shares(compared: ComparedSystems) -> dict[str, Interval]:
    """Title -> share of the possible, where it is known."""
    titles = [one.info.title for one in compared.systems]
    found = {title: compared.share_of_possible(title, MAIN) for title in titles}
    return {title: share for title, share in found.items() if share is not None}


def _difference(
    compared: ComparedSystems, first: SystemSeeds, second: SystemSeeds, metric: str = MAIN
) -> Difference:
    return compared.difference(first.info.title, second.info.title, metric)
