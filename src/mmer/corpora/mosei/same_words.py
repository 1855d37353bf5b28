"""Whether two files hold the same samples in the same order, by the vectors of their words.

A row agrees with its partner if the vectors of both are the same words in the same order, without
what is zero in either (padding, pauses, words that have no vector). One of the two may be shorter
only as far as its file cuts samples off: at one end, and where it is full. Words that differ are
far apart in some number, and whatever rounding there is between two files is far below `_TOLERANCE`
of the largest.

What this cannot tell: samples of the very same words ("thank you") that changed places, and what
stands beyond the end of a sample that was cut off. A row without any vector has nothing to compare:
where there are more than a few, nothing vouches for the files' order, and they are refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmer.errors import InputError
from mmer.formats.plain import as_float32

# Of the largest number of a row: half precision keeps it to 0.0005.
_TOLERANCE = 0.001
_MOST_WITHOUT_WORDS = 0.01
# Where two files keep different ends of a long sample, so many words must be in both at least.
_LEAST_SHARED = 5
# Words without a vector at the end of a sequence look like padding; seldom are there more.
_MOST_UNKNOWN = 3


def check_same_words(
    where: Path, key: str, ours: list[np.ndarray], theirs: list[np.ndarray]
) -> None:
    """Refuse rows of which one is not of the same words as its partner.

    Args:
        where: The file of `ours`, for the message.
        key: The place in it.
        ours: n sequences of word vectors (T, D).
        theirs: n such sequences of another file.

    Raises:
        InputError: Some are not; it names the first and how many. Or too many have no words.
    """
    empty = [
        i for i, pair in enumerate(zip(ours, theirs, strict=True)) if not any(map(_some, pair))
    ]
    if len(empty) > _MOST_WITHOUT_WORDS * len(ours):
        raise InputError(
            where,
            f"{key}[{empty[0]}]",
            "rows with word vectors, by which to see that the two files are in the same order",
            f"{len(empty)} of {len(ours)} rows without any in both, of which this is the first",
            "trust_row_order joins the files without a comparison.",
        )
    apart = [i for i, pair in enumerate(zip(ours, theirs, strict=True)) if not same_words(*pair)]
    if apart:
        raise InputError(
            where,
            f"{key}[{apart[0]}]",
            "the words of the same row in the file of the emotions",
            f"other words in {len(apart)} of {len(ours)} rows, of which this is the first",
            "The two files are not in the same order, or their features are not of one kind: "
            "trust_row_order joins them without a comparison.",
        )


def same_words(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether two sequences (T, D), padded and cut off as may be, are of the same words."""
    if ours.shape[1] != theirs.shape[1]:
        return False
    finite = [np.nan_to_num(as_float32(rows), posinf=0, neginf=0) for rows in (ours, theirs)]
    full = [_is_full(rows) for rows in finite]
    words = [rows[rows.any(axis=1)] for rows in finite]
    short, long = sorted((0, 1), key=lambda side: len(words[side]))
    a, b = words[short], words[long]
    if len(a) == len(b) and _near(a, b):
        return True
    if full[short] and (_near(a, b[: len(a)]) or _near(a, b[len(b) - len(a) :])):
        return True
    return all(full) and any(
        _near(first[len(first) - shared :], second[:shared])
        for shared in range(_LEAST_SHARED, len(a))
        for first, second in ((a, b), (b, a))
    )


def _is_full(rows: np.ndarray) -> bool:
    """Whether hardly a step is padding, so that more may have been cut off."""
    filled = np.flatnonzero(rows.any(axis=1))
    return len(filled) > 0 and len(rows) - (filled[-1] - filled[0] + 1) <= _MOST_UNKNOWN


def _near(first: np.ndarray, second: np.ndarray) -> bool:
    if not first.size:
        return True
    largest = max(np.abs(first).max(), np.abs(second).max())
    return bool((np.abs(first - second) <= _TOLERANCE * largest).all())


def _some(rows: np.ndarray) -> bool:
    """Whether there is any word vector."""
    return bool(np.nan_to_num(as_float32(rows), posinf=0, neginf=0).any())
