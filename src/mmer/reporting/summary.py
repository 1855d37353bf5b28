"""The table at the end of a run: systems side by side, and which differences are significant."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from math import ceil, floor, log10
from textwrap import fill
from typing import NamedTuple

import pandas as pd
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from mmer.evaluation.assessment import Assessment, Comparison
from mmer.metrics.intervals import Difference, Differences, Interval
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.scores import ScoresInfo

MAIN = "micro_f1"
"""The metric in which it is said in words how systems stand."""

_VERDICTS = {
    "better": "is better than",
    "not significant": "does not differ significantly from",
    "worse": "is worse than",
    "undefined": "cannot be compared with",
}


class Column(NamedTuple):
    """A column of the printed table; `stays` is how long when the width shrinks: 0 goes first."""

    title: str
    stays: int
    cells: list[str]


def summary_frame(comparison: Comparison) -> pd.DataFrame:
    """One row per system with numbers in columns, as a program reads it.

    Each headline metric has its value, `_low` and `_high`; then the first system's difference to
    this one, `_difference` with `_low` and `_high`, `_p_value`, `_corrected_p_value` (Holm's) and
    `_verdict`, empty for the first.
    """
    rows = []
    for assessment, differences in paired(comparison):
        info, metrics = assessment.info, assessment.metrics
        row: dict[str, object] = {
            "system": info.title,
            "model": info.model,
            "corpus": info.corpus,
            "split": info.split,
            "synthetic": info.synthetic,
            "samples": metrics.samples,
            "groups": metrics.groups,
            "groups_known": info.groups_known,
            "seed": info.seed,
            "kept_epoch": info.kept_epoch,
            "macro_average_precision": metrics.macro_average_precision,
            "labels_per_sample_predicted": metrics.labels_per_sample_predicted,
        }
        for name, figure in assessment.intervals.metrics.items():
            row |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
        for name, one in differences.metrics.items() if differences else ():
            row |= {
                f"{name}_difference": one.difference,
                f"{name}_difference_low": one.low,
                f"{name}_difference_high": one.high,
                f"{name}_p_value": one.p_value,
                f"{name}_corrected_p_value": one.corrected_p_value,
                f"{name}_verdict": one.verdict,
            }
        rows.append(row)
    return pd.DataFrame(rows).astype({"seed": "Int64", "kept_epoch": "Int64"})


def summary_text(comparison: Comparison, width: int = 120) -> str:
    """The table for a terminal of `width` columns, with what it means below it."""
    info, metrics = comparison.assessments[0].info, comparison.assessments[0].metrics
    title = samples_text(info, metrics.samples, metrics.groups)
    columns, notes = _columns(comparison), [answer_text(comparison), *notes_below(comparison)]
    shown = fitting(columns, width)
    if any(column.title == "mAP" for column in shown):
        notes.append(
            "mAP: mean of the labels' average precision. Labels: predicted per sample, where "
            f"{value_text(metrics.labels_per_sample_true, 2)} are true."
        )
    return table_text(title, columns, notes, width)


def table_text(title: str, columns: list[Column], notes: list[str], width: int) -> str:
    """A table for a terminal of `width` columns, with its title above it and notes below.

    Where not all columns fit, those that matter less are left out; no number is broken.
    """
    console = _console(width)
    shown = fitting(columns, width)
    with console.capture() as captured:
        console.print(_table(shown))
    if left_out := [column.title.replace("\n", " ") for column in columns if column not in shown]:
        notes = [*notes, f"Not shown for want of width: {'; '.join(left_out)}."]
    table_lines = (line.rstrip() for line in captured.get().splitlines())
    wrapped = (fill(note, width) for note in notes)
    return "\n".join([fill(title, width), "", *table_lines, "", *wrapped])


def fitting(columns: list[Column], width: int) -> list[Column]:
    """The columns that a terminal of `width` columns has room for."""
    console = _console(width)
    unbounded = console.options.update(width=10_000)
    for least in range(1 + max(column.stays for column in columns)):
        shown = [column for column in columns if column.stays >= least]
        if Measurement.get(console, unbounded, _table(shown)).minimum <= width:
            break
    return shown


def answer_text(comparison: Comparison, *, bounds: bool = False) -> str:
    """How the first system stands against each other, in one sentence; perhaps with intervals."""
    title, found = comparison.assessments[0].info.title, comparison.differences
    if not found:
        return f"No other system stands beside {title}."
    named: dict[str, list[str]] = {}
    for other in found:
        one = other.metrics[MAIN]
        told = f" ({_difference_and_bounds(one)})" if bounds and one.difference is not None else ""
        named.setdefault(one.verdict, []).append(f"{other.second}{told}")
    said = [
        f"{text} {listed(named[verdict])}"
        for verdict, text in _VERDICTS.items()
        if verdict in named
    ]
    *most, last = said
    clauses = f"{', '.join(most)}, and {last}" if most else last
    corrected = " after Holm's correction" if len(found) > 1 else ""
    this = "This fit of " if comparison.assessments[0].info.seed is not None else ""
    return f"{this}{title} {clauses}, in {HEADLINE[MAIN]}{corrected}."


def notes_below(comparison: Comparison) -> list[str]:
    """What has to be known to read the table, a sentence or two each."""
    first, infos = comparison.assessments[0], [one.info for one in comparison.assessments]
    drawn = first.intervals.bootstrap
    notes = [
        f"[ ]: {drawn.level:.0%} interval ({drawn.method}, {drawn.resamples} resamples, fewer of "
        "ranking metrics where samples are many); it says "
        "how far a figure depends on the recordings in the split, not on the training seed."
    ]
    if seeds := seeds_text(infos):
        notes.append(seeds)
    if not first.info.groups_known:
        notes.append(
            groups_unknown("intervals are narrower than they should be and differences less sure")
        )
    if comparison.differences:
        notes.append(_differences_note(comparison))
    if first.of_metric:
        notes.append(
            f"{listed(list(HEADLINE.values()))} are each under thresholds that were chosen for it "
            "on validation; systems with nothing to calibrate have their own."
        )
    if best := first.info.bayes_optimal:
        scores = (
            f"{HEADLINE[name]} {value:.3f}" for name, value in best.items() if name in HEADLINE
        )
        notes.append(
            f"Bayes-optimal score, which no system can exceed on average: {', '.join(scores)}."
        )
    if kept := [f"{one.title} {one.kept_epoch}" for one in infos if one.kept_epoch is not None]:
        notes.append(f"Kept epoch: {', '.join(kept)}.")
    return notes


def seeds_text(infos: Sequence[ScoresInfo]) -> str:
    """That systems were trained with one seed each, if they were trained with any."""
    seeded = [one for one in infos if one.seed is not None]
    if not seeded:
        return ""
    seeds = {one.seed for one in seeded}
    each = (
        f"{seeded[0].seed}"
        if len(seeds) == 1
        else ", ".join(f"{one.title} {one.seed}" for one in seeded)
    )
    return (
        f"One training seed ({each}): what the figures of {listed([one.title for one in seeded])} "
        "owe to chance in training is not known. Several: "
        f"kedro run --pipelines=compare_{seeded[0].corpus}"
    )


def _differences_note(comparison: Comparison) -> str:
    title, count = comparison.assessments[0].info.title, len(comparison.differences)
    corrected = f", corrected by Holm's procedure for {count} comparisons" if count > 1 else ""
    few = (
        " No difference could be: there are too few groups for so many comparisons."
        if smallest_p_value(comparison, MAIN) > 0.05
        else ""
    )
    return (
        f"Difference: {title} minus this system, on the same resamples. p is two-sided{corrected}; "
        "≤ marks the smallest that so many groups and resamples can show. Where p is above 0.05 or "
        f"the interval covers 0, the difference is not significant.{few}"
    )


def groups_unknown(consequence: str) -> str:
    """What has to be said where the corpus's files do not tell which samples belong together."""
    return (
        "Groups are unknown: the corpus does not say which samples belong together, so each counts "
        "as a group of its own, as if samples were independent; if those of one recording are "
        f"alike, {consequence}."
    )


def samples_text(info: ScoresInfo, samples: int, groups: int) -> str:
    """Which samples a table is of."""
    return (
        f"{info.corpus}, {'SYNTHETIC corpus, ' if info.synthetic else ''}{info.split} split: "
        f"{size_text(samples, groups, info.groups_known)}"
    )


def size_text(samples: int, groups: int, groups_known: bool) -> str:
    """How many samples there are, in how many groups."""
    return f"{samples} samples" + (f" in {groups} groups" if groups_known else ", groups unknown")


def value_text(value: float | None, digits: int = 3) -> str:
    """A figure as text."""
    return "undefined" if value is None else f"{value:.{digits}f}"


def interval_text(interval: Interval, separator: str = " ") -> str:
    """A figure as text, with its interval if there is one."""
    bounds = [] if interval.low is None else [f"[{interval.low:.3f}, {interval.high:.3f}]"]
    return separator.join([value_text(interval.value), *bounds])


def difference_text(one: Difference, separator: str = " ", smallest_p: float | None = None) -> str:
    """A difference as text, with its interval, corrected p-value if `smallest_p` is given, verdict.

    Args:
        smallest_p: See `smallest_p_value`.
    """
    if one.difference is None:
        return one.verdict
    p = [] if smallest_p is None else [p_text(one, smallest_p)]
    return separator.join([_difference_and_bounds(one, separator), *p, one.verdict])


def p_text(one: Difference, smallest: float) -> str:
    """The corrected p-value; at the bootstrap's floor no more is known than that it is so small."""
    p = one.corrected_p_value
    if p is None:
        return "p undefined"
    if p <= smallest * (1 + 1e-9):
        digits = 1 - floor(log10(p))
        return f"p ≤ {min(1.0, ceil(p * 10**digits - 1e-9) / 10**digits):.2g}"
    return f"p = {p:.3f}" if p >= 0.001 else f"p = {p:.1g}"


def smallest_p_value(comparison: Comparison, metric: str) -> float:
    """What no corrected p-value of the metric's differences falls below."""
    known = [one for one in comparison.differences if one.metrics[metric].p_value is not None]
    return min(1.0, sum(one.bootstrap.smallest_p_value for one in known))


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _difference_and_bounds(one: Difference, separator: str = " ") -> str:
    return f"{one.difference:+.3f}{separator}[{one.low:+.3f}, {one.high:+.3f}]"


def paired(comparison: Comparison) -> list[tuple[Assessment, Differences | None]]:
    """Each system with the first one's difference to it, which the first has not."""
    differences = (None, *comparison.differences)
    return list(zip(comparison.assessments, differences, strict=True))


def _columns(comparison: Comparison) -> list[Column]:
    systems = comparison.assessments
    columns = [Column("system", 4, [one.info.title for one in systems])]
    for name, stays in (("micro_f1", 4), ("macro_f1", 3), ("accuracy", 2)):
        cells = [interval_text(one.intervals.metrics[name], "\n") for one in systems]
        columns.append(Column(HEADLINE[name], stays, cells))
    precision = [
        interval_text(one.intervals.metrics["macro_average_precision"], "\n") for one in systems
    ]
    labels = [value_text(one.metrics.labels_per_sample_predicted, 2) for one in systems]
    columns += [Column("mAP", 1, precision), Column("labels", 1, labels)]
    for name, stays in ((MAIN, 4), ("macro_f1", 0)) if comparison.differences else ():
        smallest = smallest_p_value(comparison, name)
        found = [
            difference_text(one.metrics[name], "\n", smallest) for one in comparison.differences
        ]
        columns.append(Column(f"difference\nin {HEADLINE[name]}", stays, ["", *found]))
    return columns


def _console(width: int) -> Console:
    return Console(file=StringIO(), width=width, markup=False, highlight=False)


def _table(columns: list[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for i, column in enumerate(columns):
        cells = [column.title, *column.cells]
        # titles of systems, the first column, may be broken between words, numbers may not
        pieces = " ".join(cells).split() if i == 0 else "\n".join(cells).splitlines()
        table.add_column(column.title, no_wrap=i > 0, min_width=max(map(len, pieces)))
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row, end_section=True)
    return table
