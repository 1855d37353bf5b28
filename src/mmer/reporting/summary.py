"""The table at the end of a run: every system beside the first, and what of it is only noise."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from mmer.evaluation.intervals import RESAMPLES, bootstrap_intervals, compare
from mmer.evaluation.metrics import evaluate
from mmer.samples.scores import Scores

HEADLINE = {"micro_f1": "micro-F1", "macro_f1": "macro-F1", "accuracy": "accuracy"}
_WITHOUT_INTERVAL = {"macro_average_precision": "mAP", "labels_per_sample_predicted": "labels"}


def assess(
    systems: Sequence[tuple[Scores, np.ndarray]], *, resamples: int = RESAMPLES, seed: int = 0
) -> list[dict]:
    """Metrics and intervals of each system, and the first one's lead over each of the others.

    Args:
        systems: Scores on the same samples, each with its (L,) thresholds.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        Per system what JSON can hold: `metrics` (see `evaluate`), `intervals` (see
        `bootstrap_intervals`) and `lead` (first minus this one, see `compare`; None for the first).

    Raises:
        InputError: What those three refuse.
    """
    first, first_thresholds = systems[0]
    draws = {"resamples": resamples, "seed": seed}
    return [
        {
            "metrics": evaluate(scores, thresholds),
            "intervals": bootstrap_intervals(scores, thresholds, **draws),
            "lead": None
            if scores is first
            else compare(first, first_thresholds, scores, thresholds, **draws),
        }
        for scores, thresholds in systems
    ]


def summary_frame(assessed: list[dict]) -> pd.DataFrame:
    """The table for a page: one row per system, figures with their 95 % intervals as text."""
    return pd.DataFrame(_rows(assessed, separator=" "))


def summary_text(assessed: list[dict], width: int = 112) -> str:
    """The table for a terminal, `width` characters wide, with what its columns mean below it."""
    metrics = assessed[0]["metrics"]
    origin = "SYNTHETIC corpus, " if metrics["synthetic"] else ""
    table = Table(
        title=f"{origin}{metrics['split']} split: {metrics['samples']} samples "
        f"in {metrics['groups']} groups",
        caption=_caption(assessed),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
    )
    rows = _rows(assessed, separator="\n")
    for column in rows[0]:
        table.add_column(column, no_wrap=column != "system")
    for row in rows:
        table.add_row(*row.values(), end_section=True)
    text = StringIO()
    Console(file=text, width=width, markup=False, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def verdict(compared: dict) -> str:
    """What one compared metric comes to: "better", "worse" or "within noise"."""
    if compared["difference"] is None:
        return "undefined"
    if compared["within_noise"]:
        return "within noise"
    return "better" if compared["difference"] > 0 else "worse"


def value_text(
    value: float | None, low: float | None = None, high: float | None = None, separator: str = " "
) -> str:
    """A metric as text, with its interval if there is one."""
    if value is None:
        return "undefined"
    interval = [] if low is None else [f"[{low:.3f}, {high:.3f}]"]
    return separator.join([f"{value:.3f}", *interval])


def lead_text(compared: dict, separator: str = " ") -> str:
    """A difference as text, with its interval and verdict."""
    if compared["difference"] is None:
        return "undefined"
    interval = f"[{compared['low']:+.3f}, {compared['high']:+.3f}]"
    return separator.join([f"{compared['difference']:+.3f}", interval, verdict(compared)])


def _rows(assessed: list[dict], separator: str) -> list[dict[str, str]]:
    first = assessed[0]["metrics"]["system"]
    rows = []
    for one in assessed:
        intervals, metrics = one["intervals"]["metrics"], one["metrics"]
        row = {"system": metrics["system"]}
        for name, title in HEADLINE.items():
            bounds = intervals[name]["low"], intervals[name]["high"]
            row[title] = value_text(metrics[name], *bounds, separator)
        row |= {title: value_text(metrics[name]) for name, title in _WITHOUT_INTERVAL.items()}
        for name in ("micro_f1", "macro_f1"):
            title = f"{first}'s lead,{separator}{HEADLINE[name]}"
            row[title] = lead_text(one["lead"]["metrics"][name], separator) if one["lead"] else ""
        rows.append(row)
    return rows


def _caption(assessed: list[dict]) -> str:
    metrics, intervals = assessed[0]["metrics"], assessed[0]["intervals"]
    return (
        f"[ ]: 95 % intervals, {intervals['method']} ({intervals['resamples']} resamples). "
        "Within noise: the interval of the difference covers 0.\n"
        f"Lead: {metrics['system']} minus this system. mAP: mean average precision over labels. "
        f"Labels: predicted per sample, of {metrics['labels_per_sample_true']:.2f} true ones."
    )
