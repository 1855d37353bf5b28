"""Tables of numbers in text: rows on lines, with commas between the numbers and no header."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmer.errors import InputError
from mmer.formats.plain import describe


def read_numbers(path: Path) -> np.ndarray:
    """(rows, columns) float64, all finite. Empty lines at the end do not count.

    Raises:
        InputError: The file is missing, empty or no text, its rows differ in width, or something in
            it is no finite number.
    """
    lines = read_lines(path)
    if not lines:
        raise InputError(path, "", "rows of numbers", "an empty file")
    rows = [_row(path, number, line) for number, line in enumerate(lines, start=1)]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            expected = f"{len(rows[0])} numbers, as in line 1"
            raise InputError(path, f"line {number}", expected, len(row))
    return np.array(rows)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without empty ones at its end.

    Raises:
        InputError: The file is missing or no UTF-8 text.
    """
    if not path.is_file():  # to open a pipe would wait for somebody to write to it
        raise InputError(path, "", "a text file", "no such file")
    try:
        return path.read_text(encoding="utf-8").rstrip().splitlines()
    except (OSError, UnicodeError) as error:
        raise InputError(path, "", "a text file", error) from error


def _row(path: Path, number: int, line: str) -> list[float]:
    try:
        row = [float(field) for field in line.split(",")]
    except ValueError:
        row = [np.nan]
    if not np.isfinite(row).all():
        expected = "finite numbers with commas between them"
        raise InputError(path, f"line {number}", expected, describe(line))
    return row
