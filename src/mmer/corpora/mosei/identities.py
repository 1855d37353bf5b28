"""What files that are cut into samples say of each sample: its name, its video, and when it is."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

from mmer.corpora.mosei.padded import Times
from mmer.errors import InputError
from mmer.formats.plain import describe, text


class Identities(NamedTuple):
    """Of n samples.

    Attributes:
        sample_ids: n names.
        group_ids: n names of videos; None where the file has none.
        times: n pairs of start and end in seconds; None where unknown.
    """

    sample_ids: list[str]
    group_ids: list[str] | None
    times: list[Times]


def without_identities(split: str, count: int) -> Identities:
    """Those of a file that has none: samples are numbered, and nobody knows their videos."""
    return Identities([f"{split}[{i}]" for i in range(count)], None, [(None, None)] * count)


def read_identities(where: Path, field: str, rows: object, count: int) -> Identities:
    """Those that a field has as `count` rows: a name, or video, start and end.

    A name is like `video[3]` or `video$_$3`; others tell no video unless several samples share one.

    Raises:
        InputError: It has other rows.
    """
    if not isinstance(rows, list | tuple) or len(rows) != count:
        raise InputError(where, field, f"{count} ids", describe(rows))
    names: list[str] = []
    times: list[Times] = []
    for i, row in enumerate(rows):
        key = f"{field}[{i}]"
        parts = row if isinstance(row, list | tuple) else [row]
        if len(parts) not in (1, 3):
            raise InputError(where, key, "a name, or video, start and end", describe(row))
        name, *ends = text(where, key, parts[0]), *(_seconds(where, key, p) for p in parts[1:])
        names.append(f"{name}[{ends[0]:.3f}-{ends[1]:.3f}]" if ends else name)
        times.append((ends[0], ends[1]) if ends else (None, None))
    videos = [re.split(r"\[|\$_\$", name)[0] for name in names]
    # Names that are not taken apart, and none of them twice, may be those of samples.
    told = videos != names or len(set(videos)) < len(videos)
    return Identities(names, videos if told else None, times)


def _seconds(where: Path, key: str, value: object) -> float:
    try:
        seconds = float(value if isinstance(value, int | float) else text(where, key, value))
    except (ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InputError(where, key, "a time in seconds", describe(value))
    return seconds
