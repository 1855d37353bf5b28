"""Tables for a paper: LaTeX with the package booktabs and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import wrap

from mmer.metrics.intervals import Interval
from mmer.reporting.summary import value_text

DAGGER = r"$^\dagger$"
_WIDTH = 98
_SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    **{sign: f"\\{sign}" for sign in "%&_#${}"},
}


def escaped(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def bold(latex: str) -> str:
    """Marked as what is best."""
    return rf"\textbf{{{latex}}}"


def number(value: float | None) -> str:
    """A figure, with a minus sign that is one."""
    return value_text(value).replace("-", "$-$")


def bounds(interval: Interval) -> str:
    """The ends of an interval, for the line below its value; nothing where there is none."""
    if interval.low is None:
        return ""
    return rf"{{\scriptsize [{number(interval.low)}, {number(interval.high)}]}}"


def spanning(text: str, columns: int) -> list[str]:
    """A row of one cell, the name of what stands below it."""
    return [rf"\multicolumn{{{columns}}}{{@{{}}l}}{{\emph{{{escaped(text)}}}}}"]


def table(
    head: Sequence[str], parts: Iterable[Iterable[Sequence[str]]], comments: Iterable[str]
) -> str:
    """A table, with what it means in comments above it.

    Args:
        head: Titles of the columns, as text.
        parts: Rows of cells, which are LaTeX; between two parts there is a rule.
        comments: Text.
    """
    told = [f"% {line}" for comment in comments for line in wrap(comment, _WIDTH)]
    lines = [*told, rf"\begin{{tabular}}{{@{{}}l{'r' * (len(head) - 1)}@{{}}}}", r"\toprule"]
    lines.append(_row([escaped(one) for one in head]))
    for part in parts:
        lines += [r"\midrule", *map(_row, part)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _row(cells: Sequence[str]) -> str:
    row = " & ".join(cells)
    # behind the end of a row, a bracket would begin the length of what is to be left free below it
    return rf"{'{}' if row.startswith('[') else ''}{row} \\"
