"""CMU-MOSEI unaligned, as the published programs take it: `mosei_senti_data_noalign.pkl`.

A pickle: per split `text` (n, 50, 300), `vision` (n, 500, 35), `audio` (n, 500, 74) and mostly `id`
(video, start, end). It holds sentiment only; the emotions come from `train_valid_test.pt` BY ROW
NUMBER, as the published programs take them. That the rows belong together is checked: the two
files hold vectors of the same words.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from mmer.corpora.corpus import CorpusSource
from mmer.corpora.mosei import tailor
from mmer.corpora.mosei.features import EXTRACTORS, Modality
from mmer.corpora.mosei.padded import (
    PaddedOptions,
    PaddedSplit,
    Times,
    padded_source,
    split_features,
)
from mmer.errors import InputError
from mmer.formats.plain import as_float32, describe, field, sequences, text
from mmer.formats.restricted_pickle import read_pickle
from mmer.formats.torch_archive import read_torch
from mmer.samples.table import SPLITS, Split

FILE = "mosei_senti_data_noalign.pkl"
FIELDS: dict[Modality, str] = {"text": "text", "visual": "vision", "audio": "audio"}
_ROWS_COMPARED = 500
_LEAST_SHARED_WORDS = 0.5
_MOST_ROWS_APART = 0.1


def read_noalign(folder: Path, options: PaddedOptions) -> CorpusSource:
    """Open the unaligned features, join the aligned file's emotions row by row, offer the samples.

    Raises:
        InputError: A file is missing, damaged or not what the options say, or the two do not have
            the same rows.
        UntrustedDataError: A file asks for code to be run.
    """
    features, labels = folder / FILE, folder / tailor.FILE
    content, label_content = read_pickle(features), read_torch(labels)
    sets = tailor.label_sets(labels, label_content, options.labels)
    splits: dict[Split, PaddedSplit] = {}
    for split in SPLITS:
        rows = split_features(features, content, split, FIELDS, options)
        count, name = len(rows["text"]), tailor.FIELDS["text"]
        texts = field(labels, label_content, split, name)
        words = sequences(labels, f"{split}/{name}", texts)
        if {count, len(words)} != {len(sets[split])}:
            expected = f"as many samples as sets of emotions in {labels.name}, {len(sets[split])}"
            raise InputError(features, split, expected, f"{count}, and {len(words)} texts there")
        note = _check_same_order(features, split, rows["text"], words)
        identities = _identities(features, split, content, count)
        splits[split] = PaddedSplit(rows, sets[split], *identities, note=note)
    return padded_source((features, labels), options, splits, EXTRACTORS, aligned=False)


def _check_same_order(
    where: Path, split: str, ours: list[np.ndarray], theirs: list[np.ndarray]
) -> str:
    """Refuse rows of other words than the same row of the other file; a note if that is unknown."""
    compared = np.linspace(0, len(ours) - 1, min(len(ours), _ROWS_COMPARED)).astype(int)
    pairs = [(_words(ours[i]), _words(theirs[i])) for i in compared]
    ours_all, theirs_all = (set[bytes]().union(*side) for side in zip(*pairs, strict=True))
    if not ours_all & theirs_all:
        return (
            "no word vector in common with the file of the emotions, so that the order of their "
            "rows could not be compared"
        )
    apart = np.mean([len(a & b) < _LEAST_SHARED_WORDS * min(len(a), len(b)) for a, b in pairs])
    if apart > _MOST_ROWS_APART:
        raise InputError(
            where,
            f"{split}/text",
            "the words of the same row in the file of the emotions",
            f"other words in {apart:.0%} of {len(compared)} rows compared",
            "The two files are not in the same order.",
        )
    return ""


def _words(rows: np.ndarray) -> set[bytes]:
    """The distinct word vectors among (T, D) rows."""
    return {row.tobytes() for row in np.round(as_float32(rows), 4) if row.any()}


def _identities(
    where: Path, split: str, content: object, count: int
) -> tuple[list[str], list[str] | None, list[Times]]:
    """Names of samples and videos, start and end, as far as the file has them."""
    if "id" not in (fields := field(where, content, split)):
        return [f"{split}[{i}]" for i in range(count)], None, [(None, None)] * count
    rows = fields["id"]
    if not isinstance(rows, list | tuple) or len(rows) != count:
        raise InputError(where, f"{split}/id", f"{count} ids", describe(rows))
    names: list[str] = []
    times: list[Times] = []
    for i, row in enumerate(rows):
        key = f"{split}/id[{i}]"
        parts = row if isinstance(row, list | tuple) else [row]
        if len(parts) not in (1, 3):
            raise InputError(where, key, "a name, or video, start and end", describe(row))
        name, *ends = text(where, key, parts[0]), *(_seconds(where, key, p) for p in parts[1:])
        names.append(f"{name}[{ends[0]:.3f}-{ends[1]:.3f}]" if ends else name)
        times.append((ends[0], ends[1]) if ends else (None, None))
    return names, [name.partition("[")[0] for name in names], times


def _seconds(where: Path, key: str, value: object) -> float:
    try:
        seconds = float(value if isinstance(value, int | float) else text(where, key, value))
    except (ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InputError(where, key, "a time in seconds", describe(value))
    return seconds
