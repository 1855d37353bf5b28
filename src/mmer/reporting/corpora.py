"""Systems x corpora of which the Bayes-optimal score is known: what a system can learn.

What is said of a system is said of its share of the possible in micro-F1: 0 is predicting every
label, 1 the Bayes-optimal score.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from mmer.metrics.intervals import Interval
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.seeds import ComparedCorpora, ComparedOn, ComparedSystems, SystemSeeds
from mmer.reporting import latex
from mmer.reporting.heatmap import heat_map
from mmer.reporting.pages import rendered
from mmer.reporting.seeds import answer, best_system, mean_text
from mmer.reporting.summary import (
    MAIN,
    Column,
    fitting,
    groups_unknown,
    interval_text,
    listed,
    size_text,
    table_text,
    value_text,
)

LEARNED, NOT_LEARNED = 0.9, 0.5
"""Shares above which a system has learned what there is to learn, and below which it has not."""

_UNKNOWN = "Bayes-optimal unknown"
_SHARES = {MAIN: "share of the possible", "macro_f1": "the same in macro-F1"}
_CLASSES = {
    "learns": "learns",
    "in part": "in part, or not clear",
    "not": "does not learn",
    "unknown": "not known",
}


def corpora_frame(compared: ComparedCorpora) -> pd.DataFrame:
    """One row per corpus and system, as a program reads it; what is not known is empty."""
    rows = []
    for on in compared.corpora:
        bayes, constant = on.compared.info.bayes_optimal, on.compared.of_every_label
        best = best_system(on.compared).info.title
        for one in on.compared.systems:
            title = one.info.title
            row: dict[str, object] = {
                "corpus": on.compared.info.corpus,
                "title": on.corpus,
                "system": title,
                "learned": learned(on.compared.share_of_possible(title, MAIN)),
                "best": title == best,
                "verdict_of_best": None if title == best else _against_best(on, title),
                "seeds": " ".join(map(str, one.seeds)),
                "split": one.info.split,
                "synthetic": one.info.synthetic,
            }
            for name in _SHARES:
                share, figure = on.compared.share_of_possible(title, name), one.metrics[name]
                row |= _ends(f"{name}_share_of_possible", share) | _ends(name, figure.mean)
                row |= {
                    f"{name}_deviation": figure.deviation,
                    f"{name}_of_every_label": constant.get(name),
                    f"{name}_bayes_optimal": bayes.get(name),
                }
            rows.append(row)
    return pd.DataFrame(rows)


def corpora_text(compared: ComparedCorpora, width: int = 120) -> str:
    """The table for a terminal of `width` columns: without intervals where they do not fit."""
    titles, corpora = _titles(compared), [on.corpus for on in compared.corpora]
    for separator in ("\n", None):
        columns = [Column("", 1, corpora)]
        for title in titles:
            cells = [_cell(on, title, separator) for on in compared.corpora]
            columns.append(Column(title.replace(" ", "\n"), 0, cells))
        if len(fitting(columns, width)) == len(columns):
            break
    heading = "Share of the possible in micro-F1: 0 predicts every label, 1 is Bayes-optimal."
    if any(on.compared.info.synthetic for on in compared.corpora):
        heading = f"SYNTHETIC corpora. {heading}"
    marks = "*: the best, or not significantly different from it."
    return table_text(heading, columns, [marks, *answers(compared), *notes(compared)], width)


def corpora_latex(compared: ComparedCorpora) -> str:
    """The table for a paper, with booktabs; what has to be said below it stands in comments."""
    titles, rows = _titles(compared), []
    for on in compared.corpora:
        alike = not_shown_worse(on.compared)
        cells, below = [], []
        for title in titles:
            share = _share(on, title)
            text = "--" if share is None else latex.number(share.value)
            marked = latex.bold(text) if title == alike[0] else text + latex.DAGGER
            cells.append(marked if share and title in alike else text)
            below.append(latex.bounds(share) if share else "")
        rows += [[latex.escaped(on.corpus), *cells], ["", *below]]
    synthetic = [on.corpus for on in compared.corpora if on.compared.info.synthetic]
    told = f" SYNTHETIC: {listed(synthetic)}." if synthetic else ""
    comments = [
        f"Caption: share of the possible in micro-F1.{told}",
        "Bold: the highest micro-F1. Dagger: not significantly different from it. Dash: the "
        "Bayes-optimal score is not known.",
        *notes(compared),
    ]
    return latex.table(["", *titles], [rows], comments)


def corpora_figure(compared: ComparedCorpora) -> go.Figure:
    """Heat map of the share of the possible: corpora in rows, systems in columns."""
    titles = _titles(compared)
    shares = [[_share(on, title) for title in titles] for on in compared.corpora]
    return heat_map(
        "Share of the possible in micro-F1: 0 predicts every label, 1 is Bayes-optimal",
        any(on.compared.info.synthetic for on in compared.corpora),
        [on.corpus for on in compared.corpora],
        titles,
        [[None if share is None else share.value for share in row] for row in shares],
        [["?" if s is None else value_text(s.value, 2) for s in row] for row in shares],
        colours="Blues",
        ends=(0.0, 1.0),
    )


def render_corpora(compared: ComparedCorpora) -> str:
    """The comparisons as one page of HTML that opens from disk, with Plotly inside."""
    return rendered(
        "corpora.html",
        {"shares": corpora_figure(compared)},
        {"mean": mean_text},
        title="What systems can learn",
        synthetic=any(on.compared.info.synthetic for on in compared.corpora),
        corpora=compared.corpora,
        answers=answers(compared),
        best=best_ones(compared),
        notes=notes(compared),
        shares=_SHARES,
        headline=HEADLINE,
        classes=_CLASSES,
        learned=learned,
        unknown=_UNKNOWN,
        facts=_facts,
    )


def learned(share: Interval | None) -> str:
    """What a share says, a key of the words for it: "learns", "not", "in part" or "unknown"."""
    if share is None or share.low is None or share.high is None:
        return "unknown"
    if share.low > LEARNED:
        return "learns"
    return "not" if share.high < NOT_LEARNED else "in part"


def answers(compared: ComparedCorpora) -> list[str]:
    """What each system learns and what it does not, a sentence each."""
    return [_answer(compared, title) for title in _titles(compared)]


def best_ones(compared: ComparedCorpora) -> list[str]:
    """Which system is best on each corpus, and which do not differ significantly from it."""
    return [f"{on.corpus}: {answer(on.compared)}" for on in compared.corpora]


def not_shown_worse(compared: ComparedSystems) -> list[str]:
    """Titles of the system with the highest micro-F1 and of those that do not differ from it
    significantly."""
    best = best_system(compared).info.title
    others = [one.info.title for one in compared.systems if one.info.title != best]
    verdicts = {title: compared.difference(best, title, MAIN).verdict for title in others}
    return [best, *(title for title in others if verdicts[title] == "not significant")]


def notes(compared: ComparedCorpora) -> list[str]:
    """What has to be known to read the table, a sentence or two each."""
    each = [on.compared for on in compared.corpora]
    drawn = each[0].bootstrap
    found = [
        f"Share of the possible: ({HEADLINE[MAIN]} - that of predicting every label) / "
        "(the Bayes-optimal score - that of predicting every label). Below 0 a system is worse "
        "than predicting every label; above 1 is luck with the test samples.",
        f"[ ] is the {drawn.level:.0%} interval of the system's own figure ({drawn.method}; and "
        "over seeds where there are several). A system learns what its interval has above "
        f"{LEARNED}, does not learn what it has below {NOT_LEARNED}, and all between is in part, "
        "or not clear.",
        "Differences are paired, and p-values corrected by Holm's procedure over all pairs of "
        "systems on one corpus; not over corpora.",
    ]
    if any(len(one.seeds) == 1 for of in each for one in of.systems):
        found.append(
            "With one training seed: what a figure owes to chance in training is not known, and no "
            "interval counts it in."
        )
    unknown = [on.corpus for on in compared.corpora if MAIN not in on.compared.info.bayes_optimal]
    if unknown:
        found.append(f"The Bayes-optimal score is not known of {listed(unknown)}.")
    found += [f"Of {on.corpus}: {on.caveat}." for on in compared.corpora if on.caveat]
    if not all(of.info.groups_known for of in each):
        found.append(
            groups_unknown("intervals are narrower than they should be and differences less sure")
        )
    return found


def _answer(compared: ComparedCorpora, title: str) -> str:
    named: dict[str, list[str]] = {}
    for on in compared.corpora:
        if _system(on, title):
            named.setdefault(learned(_share(on, title)), []).append(on.corpus)
    known = sum(len(names) for key, names in named.items() if key != "unknown")
    if len(named.get("not", ())) == known > 1:
        named["none"] = named.pop("not")
    words = {
        "learns": "learns {}",
        "in part": "learns {} in part, or not clearly",
        "not": "does not learn {}",
        "none": "learns none of {}",
        "unknown": "cannot be judged on {}",
    }
    said = [
        word.format(known if key == "none" else _some(named[key], known))
        for key, word in words.items()
        if key in named
    ]
    return f"{title} {'; '.join(said)}."


def _some(names: Sequence[str], count: int) -> str:
    return f"all {count}" if len(names) == count > 1 else listed(names)


def _titles(compared: ComparedCorpora) -> list[str]:
    """Of all systems, in the order in which they first appear."""
    systems = [one for on in compared.corpora for one in on.compared.systems]
    return list(dict.fromkeys(one.info.title for one in systems))


def _system(on: ComparedOn, title: str) -> SystemSeeds | None:
    return next((one for one in on.compared.systems if one.info.title == title), None)


def _share(on: ComparedOn, title: str) -> Interval | None:
    return on.compared.share_of_possible(title, MAIN) if _system(on, title) else None


def _cell(on: ComparedOn, title: str, separator: str | None) -> str:
    """A share as text, with its interval if there is a separator; why there is none."""
    if not _system(on, title):
        return "-"
    share, mark = _share(on, title), " *" if title in not_shown_worse(on.compared) else ""
    if share is None:
        return "unknown"
    ends = interval_text(share, "\n").partition("\n")[2] if separator else ""
    return f"{value_text(share.value)}{mark}\n{ends}".rstrip()


def _against_best(on: ComparedOn, title: str) -> str:
    best = best_system(on.compared).info.title
    return on.compared.difference(best, title, MAIN).verdict


def _ends(name: str, interval: Interval | None) -> dict[str, object]:
    found = interval or Interval(value=None, low=None, high=None, undefined=0.0)
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _facts(on: ComparedOn) -> list[str]:
    """What its shares rest on."""
    drawn, info = on.compared.bootstrap, on.compared.info
    size = size_text(on.compared.samples, drawn.groups, info.groups_known)
    told = {
        "predicting every label": on.compared.of_every_label,
        "Bayes-optimal": info.bayes_optimal,
    }
    return [
        f"{info.split} split: {size}",
        *(
            f"{name}: {HEADLINE[MAIN]} {value_text(of[MAIN])}"
            for name, of in told.items()
            if MAIN in of
        ),
    ]
