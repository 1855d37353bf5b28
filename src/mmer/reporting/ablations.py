"""Which parts of a system earn their place: for programs, the terminal, a paper, and as a page.

What is said of a part is said of micro-F1: it earns its place where the whole system is
significantly better than what is left without it, and harms where it is significantly worse.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill

import pandas as pd
import plotly.graph_objects as go

from mmer.metrics.intervals import Difference, Interval
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.resampled import METRICS
from mmer.metrics.seeds import ComparedCorpora, ComparedOn, ComparedSystems, SystemSeeds
from mmer.reporting import latex
from mmer.reporting.heatmap import heat_map
from mmer.reporting.pages import rendered
from mmer.reporting.panels import PALETTE, error_bars, panels
from mmer.reporting.summary import (
    MAIN,
    Column,
    difference_text,
    fitting,
    groups_unknown,
    listed,
    p_text,
    size_text,
    table_text,
)

_VERDICTS = {
    "better": "earns its place",
    "worse": "harms",
    "not significant": "not shown to matter",
    "undefined": "undefined",
}
_PLURAL = {"earns its place": "earn their place", "harms": "harm"}
_MARKS = {"better": "▲ ", "worse": "▼ "}
_SHOWN = {MAIN: HEADLINE[MAIN], "macro_f1": HEADLINE["macro_f1"], "macro_average_precision": "mAP"}
_FULL_COLOUR = 0.1


def ablations_frame(ablated: ComparedCorpora) -> pd.DataFrame:
    """One row per corpus, system, part and figure, as a program reads it.

    `whole` and `ablated` are means over seeds; the `difference` is the former minus the latter,
    with its interval, p-value and verdict.
    """
    return pd.DataFrame(
        [
            {
                "corpus": on.compared.info.corpus,
                "title": on.corpus,
                "system": whole_of(on).info.title,
                "without": one.info.without,
                "metric": name,
                "whole": whole_of(on).metrics[name].mean.value,
                "ablated": one.metrics[name].mean.value,
                "difference": found.difference,
                "low": found.low,
                "high": found.high,
                "corrected_p_value": found.corrected_p_value,
                "verdict": verdict_on(found),
                "seeds": " ".join(map(str, one.seeds)),
                "split": one.info.split,
                "synthetic": one.info.synthetic,
            }
            for on in ablated.corpora
            for one in parts_of(on)
            for name in METRICS
            for found in [_without(on, one, name)]
        ]
    )


def ablations_text(ablated: ComparedCorpora, width: int = 120) -> str:
    """Tables for a terminal of `width` columns, and what they mean: those of a system on several
    corpora are one of parts x corpora, or as many as the width asks for."""
    found = []
    for several in _by_system(ablated).values():
        found += (
            _tables_of_several(several, width) if len(several) > 1 else [_table(several[0], width)]
        )
    below = [fill(told, width) for told in (*answers(ablated), *notes(ablated))]
    return "\n\n".join([*found, "\n".join(below)])


def _table(on: ComparedOn, width: int) -> str:
    """Of one system on one corpus: its parts, with all that is known of them."""
    parts = parts_of(on)
    columns = [Column("without", 4, [part_name(one) for one in parts])]
    for name, title in _SHOWN.items():
        smallest = on.compared.smallest_p_value(name)
        cells = [_told(_without(on, one, name), smallest) for one in parts]
        columns.append(Column(title, 4 if name == MAIN else 2, cells))
        if name == MAIN:
            cells = [verdict_on(_without(on, one, name)).replace(" to ", "\nto ") for one in parts]
            columns.append(Column("verdict", 3, cells))
    return table_text(_title(on), columns, [], width).rstrip()


def _tables_of_several(several: list[ComparedOn], width: int) -> list[str]:
    """Of one system on several corpora: the differences in micro-F1, as many abreast as fit."""
    parts, (_, cells) = _part_names(several), _cells_of(several)
    first = Column("without", 1, parts)
    rest = [
        Column(on.corpus.replace(" ", "\n"), 0, [row[i] for row in cells])
        for i, on in enumerate(several)
    ]
    title = (
        f"{whole_of(several[0]).info.title}: whole minus what is left, {HEADLINE[MAIN]}. "
        "▲ earns its place, ▼ harms."
    )
    if any(on.compared.info.synthetic for on in several):
        title = f"SYNTHETIC corpora. {title}"
    found = []
    while rest:
        most = len(rest)
        while most > 1 and len(fitting([first, *rest[:most]], width)) <= most:
            most -= 1
        found.append(table_text(title, [first, *rest[:most]], [], width).rstrip())
        rest = rest[most:]
    return found


def ablations_latex(ablated: ComparedCorpora) -> str:
    """The table for a paper, with booktabs; what has to be said below it stands in comments."""
    head = ["without", *(f"{title}: difference" for title in _SHOWN.values()), "p", "verdict"]
    parts = []
    for on in ablated.corpora:
        rows = [latex.spanning(_title(on), len(head))]
        for one in parts_of(on):
            found = {name: _without(on, one, name) for name in _SHOWN}
            p = p_text(found[MAIN], on.compared.smallest_p_value(MAIN))
            rows.append(
                [
                    latex.escaped(part_name(one)),
                    *(_latex_cell(of) for of in found.values()),
                    latex.escaped(p.removeprefix("p ").removeprefix("= ")),
                    verdict_on(found[MAIN]),
                ]
            )
        parts.append(rows)
    marks = "Bold: significant after Holm's correction. p and verdict are of micro-F1."
    return latex.table(head, parts, [f"Caption: {_caption(ablated)}", marks, *notes(ablated)])


def render_ablations(ablated: ComparedCorpora) -> str:
    """The ablations as one page of HTML that opens from disk, with Plotly inside."""
    infos = [on.compared.info for on in ablated.corpora]
    return rendered(
        "ablations.html",
        ablation_figures(ablated),
        {"verdict": verdict_on, "told": _told},
        title=_heading(ablated),
        synthetic=any(info.synthetic for info in infos),
        corpora=ablated.corpora,
        answers=answers(ablated),
        notes=notes(ablated),
        shown=_SHOWN,
        parts_of=parts_of,
        part_name=part_name,
        without=_without,
        whole_of=whole_of,
        title_of=_title,
        size_of=_size,
    )


def ablation_figures(ablated: ComparedCorpora) -> dict[str, go.Figure]:
    """For each system, its parts on several corpora as a heat map, or on one with intervals."""
    found = {}
    for number, several in enumerate(_by_system(ablated).values()):
        figure = _heat_map(several) if len(several) > 1 else _intervals(several[0])
        found[f"parts-{number}"] = figure
    return found


def answers(ablated: ComparedCorpora) -> list[str]:
    """Which parts earn their place, which harm, and which are not shown to do either."""
    found = []
    for several in _by_system(ablated).values():
        of_one = len(several) == 1
        found += _answers_on_one(several[0]) if of_one else list(_answers_on_several(several))
    return found


def notes(ablated: ComparedCorpora) -> list[str]:
    """What has to be known to read the tables, a sentence or two each."""
    compared = [on.compared for on in ablated.corpora]
    drawn = compared[0].bootstrap
    found = [
        "Differences: the whole system minus what is left of it without the part, trained anew and "
        "with its own choices on validation, on the same test samples. [ ] is the "
        f"{drawn.level:.0%} interval ({drawn.method}; and over seeds where there are several), p "
        "is two-sided and corrected by Holm's procedure over the parts of one table.",
        "Not shown to matter does not mean that a part is useless: the interval says how much it "
        "may still be worth.",
    ]
    if len(compared) > 1:
        found.append(
            f"There are {len(compared)} tables, each corrected for itself: even if no part "
            "mattered anywhere, about one table in twenty would show one that seems to."
        )
    single = [one for each in compared for one in each.systems if len(one.seeds) == 1]
    if single:
        found.append(
            "With one training seed: what a difference owes to chance in training is not known, "
            "and neither interval nor p counts it in."
        )
    weak = [on for on in ablated.corpora if _hopeless(on.compared)]
    if weak:
        where = listed([_title(on) for on in weak])
        found.append(f"Too few groups for any difference to be significant: {where}.")
    if not all(each.info.groups_known for each in compared):
        found.append(
            groups_unknown("intervals are narrower than they should be and differences less sure")
        )
    return found


def whole_of(on: ComparedOn) -> SystemSeeds:
    """The system with all of its parts."""
    return on.compared.systems[0]


def parts_of(on: ComparedOn) -> tuple[SystemSeeds, ...]:
    """What is left of it without each part."""
    return on.compared.systems[1:]


def part_name(ablated: SystemSeeds) -> str:
    """The part that was taken away, for readers."""
    return (ablated.info.without or "nothing").replace("_", " ")


def verdict_on(found: Difference) -> str:
    """What is said of a part of which this is the difference."""
    return _VERDICTS[found.verdict]


def _without(on: ComparedOn, ablated: SystemSeeds, metric: str) -> Difference:
    return on.compared.difference(whole_of(on).info.title, ablated.info.title, metric)


def _by_system(ablated: ComparedCorpora) -> dict[str, list[ComparedOn]]:
    found: dict[str, list[ComparedOn]] = {}
    for on in ablated.corpora:
        found.setdefault(whole_of(on).info.title, []).append(on)
    return found


def _answers_on_one(on: ComparedOn) -> list[str]:
    named: dict[str, list[str]] = {}
    for one in parts_of(on):
        named.setdefault(_without(on, one, MAIN).verdict, []).append(part_name(one))
    whole = whole_of(on).info.title
    told = {
        "better": "without {it}, micro-F1 is significantly lower",
        "worse": "without {it}, micro-F1 is significantly higher",
        "not significant": "without {it}, micro-F1 does not differ significantly",
        "undefined": "micro-F1 is undefined",
    }
    lead, found = f"{_single([on])}{whole} on {on.corpus}: ", []
    for verdict, why in told.items():
        if names := named.get(verdict):
            it = "it" if len(names) == 1 else "any one of them"
            said = f"{listed(names)} {_said(verdict, len(names))}: {why.format(it=it)}."
            found.append(f"{lead}{said}")
    if "better" not in named:
        found.insert(0, f"{lead}no part is shown to earn its place.")
    return found


def _said(verdict: str, parts: int) -> str:
    words = _VERDICTS[verdict]
    if verdict in ("better", "worse"):
        return words if parts == 1 else _PLURAL[words]
    be = "is" if parts == 1 else "are"
    return f"{be} {'not judged' if verdict == 'undefined' else words}"


def _answers_on_several(several: list[ComparedOn]) -> Iterator[str]:
    """One sentence for each part: on which corpora it earns its place."""
    whole = whole_of(several[0]).info.title
    for part in _part_names(several):
        named: dict[str, list[str]] = {}
        for on in several:
            for one in parts_of(on):
                if part_name(one) == part:
                    named.setdefault(_without(on, one, MAIN).verdict, []).append(on.corpus)
        count = sum(map(len, named.values()))
        said = [
            f"{_VERDICTS[verdict]} on {_some(named[verdict], count)}"
            for verdict in ("better", "worse")
            if verdict in named
        ]
        if rest := count - sum(len(named.get(verdict, ())) for verdict in ("better", "worse")):
            where = f"the other {rest}" if said else f"any of {count}"
            said.append(f"is not shown to matter on {where}")
        yield f"{_single(several)}{whole}, {part}: {'; '.join(said)}."


def _single(several: list[ComparedOn]) -> str:
    seeds = [one.seeds for on in several for one in on.compared.systems]
    return "With one training seed, " if any(len(one) == 1 for one in seeds) else ""


def _some(names: list[str], count: int) -> str:
    return f"all {count}" if len(names) == count > 1 else listed(names)


def _part_names(several: list[ComparedOn]) -> list[str]:
    return list(dict.fromkeys(part_name(one) for on in several for one in parts_of(on)))


def _heat_map(several: list[ComparedOn]) -> go.Figure:
    """Parts x corpora of one system."""
    values, cells = _cells_of(several)
    most = max([_FULL_COLOUR, *(abs(one) for row in values for one in row if one is not None)])
    return heat_map(
        f"What the parts of {whole_of(several[0]).info.title} are worth in {HEADLINE[MAIN]}",
        any(on.compared.info.synthetic for on in several),
        _part_names(several),
        [on.corpus for on in several],
        values,
        cells,
        colours="RdBu",
        ends=(-most, most),
    )


def _cells_of(several: list[ComparedOn]) -> tuple[list[list[float | None]], list[list[str]]]:
    """Parts x corpora of one system: differences in micro-F1, and what is said of them."""
    parts = _part_names(several)
    values: list[list[float | None]] = [[None] * len(several) for _ in parts]
    cells = [["—"] * len(several) for _ in parts]
    for column, on in enumerate(several):
        for one in parts_of(on):
            found, row = _without(on, one, MAIN), parts.index(part_name(one))
            values[row][column] = found.difference
            mark = _MARKS.get(found.verdict, "")
            text = "undefined" if found.difference is None else f"{found.difference:+z.2f}"
            cells[row][column] = f"{mark}{text}"
    return values, cells


def _intervals(on: ComparedOn) -> go.Figure:
    """The difference that each part makes, with its interval; hollow where not significant."""
    whole = whole_of(on).info.title
    title = f"What the parts of {whole} are worth in {HEADLINE[MAIN]} on {on.corpus}"
    figure, _ = panels(title, on.compared.info.synthetic, columns=1)
    pairs = [(part_name(one), _without(on, one, MAIN)) for one in parts_of(on)]
    known = [(name, found) for name, found in pairs if found.difference is not None]
    intervals = [
        Interval(value=found.difference, low=found.low, high=found.high, undefined=0.0)
        for _, found in known
    ]
    figure.add_scatter(
        x=[one.value for one in intervals],
        y=[name for name, _ in known],
        mode="markers",
        marker={
            "color": PALETTE[1],
            "size": 10,
            "symbol": ["circle" if found.significant else "circle-open" for _, found in known],
        },
        error_x=error_bars(intervals),
        customdata=[verdict_on(found) for _, found in known],
        hovertemplate="%{y}: %{x:+.3f}, %{customdata}<extra></extra>",
    )
    figure.add_vline(0, line_dash="dot", line_color="#5f6368")
    figure.update_yaxes(range=[len(known) - 0.5, -0.5], automargin=True)
    figure.update_xaxes(title="whole minus what is left", automargin=True)
    return figure.update_layout(height=170 + 34 * len(known), margin={"l": 8, "r": 12})


def _told(found: Difference, smallest_p: float) -> str:
    """A difference with its interval, and p-value below."""
    if found.difference is None:
        return "undefined"
    return (
        f"{difference_text(found).removesuffix(found.verdict).strip()}\n{p_text(found, smallest_p)}"
    )


def _latex_cell(found: Difference) -> str:
    if found.difference is None or found.low is None or found.high is None:
        return "undefined"
    numbers = (found.difference, found.low, found.high)
    value, low, high = (f"{one:+.3f}".replace("-", "$-$") for one in numbers)
    return rf"{latex.bold(value) if found.significant else value} {{\scriptsize [{low}, {high}]}}"


def _title(on: ComparedOn) -> str:
    synthetic = " (synthetic)" if on.compared.info.synthetic else ""
    return f"{whole_of(on).info.title} on {on.corpus}{synthetic}"


def _size(on: ComparedOn) -> str:
    drawn, info = on.compared.bootstrap, on.compared.info
    size = size_text(on.compared.samples, drawn.groups, info.groups_known)
    seeds = ", ".join(map(str, whole_of(on).seeds))
    return f"{info.split.capitalize()} split: {size}{f'; seeds {seeds}' if seeds else ''}."


def _heading(ablated: ComparedCorpora) -> str:
    systems = listed(list(_by_system(ablated)))
    corpora = list(dict.fromkeys(on.corpus for on in ablated.corpora))
    where = corpora[0] if len(corpora) == 1 else f"{len(corpora)} corpora"
    return f"Which parts of {systems} earn their place, on {where}"


def _caption(ablated: ComparedCorpora) -> str:
    synthetic = [on.corpus for on in ablated.corpora if on.compared.info.synthetic]
    told = f" SYNTHETIC: {listed(list(dict.fromkeys(synthetic)))}." if synthetic else ""
    return f"{_heading(ablated)}.{told}"


def _hopeless(compared: ComparedSystems) -> bool:
    return bool(compared.pairs) and compared.smallest_p_value(MAIN) > 1 - compared.bootstrap.level
