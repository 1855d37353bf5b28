"""Scores side by side in Markdown, as MLflow's pages show a description."""

from __future__ import annotations

from collections.abc import Iterable

from mmer.evaluation.assessment import Comparison
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.seeds import ComparedSystems
from mmer.reporting.seeds import answer, figure_text
from mmer.reporting.summary import answer_text, interval_text, samples_text

_GAP = "&emsp; | "  # MLflow's pages draw tables without space between columns


def scores_note(compared: Comparison | ComparedSystems) -> str:
    """What the samples are, a table of the headline metrics, and in a sentence how systems stand.

    Brackets hold 95 % intervals.
    """
    if isinstance(compared, ComparedSystems):
        said = answer(compared)
        rows = [
            (one.info.title, [figure_text(one.metrics[name], " ") for name in HEADLINE])
            for one in compared.systems
        ]
        data = samples_text(compared.info, compared.samples, compared.bootstrap.groups)
    else:
        first = compared.assessments[0]
        said = answer_text(compared)
        rows = [
            (one.info.title, [interval_text(one.intervals.metrics[name]) for name in HEADLINE])
            for one in compared.assessments
        ]
        data = samples_text(first.info, first.metrics.samples, first.metrics.groups)
    return "\n\n".join([f"**{data}.**", _table(rows), said])


def _table(rows: Iterable[tuple[str, list[str]]]) -> str:
    head = ["system", *HEADLINE.values()]
    lines = [head, *([title, *cells] for title, cells in rows)]
    first, *others = (f"| {_GAP.join(line)} |" for line in lines)
    return "\n".join([first, f"|{' --- |' * len(head)}", *others])
