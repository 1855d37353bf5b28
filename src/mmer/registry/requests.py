"""From a request to samples: every cell is looked at, and what cannot be used is named.

A request is a table with a column for each modality, or a list of samples that map modalities to
sequences. A sequence is T steps of D numbers (nested lists or an array), or nothing where the
sample lacks the modality. A model that knows persons takes, and needs, columns for them besides
(`registry/told_persons.py`). Columns may stand in any order; one that is not known is refused,
because a misspelt modality would else be taken for one that is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from mmer.errors import InputError
from mmer.registry.predictor import Predictor, shortened
from mmer.registry.told_persons import ToldPersons, person_columns, told_persons
from mmer.samples.batches import Samples, samples_of
from mmer.samples.table import TableInfo
from mmer.systems.network import check_persons

MOST_NUMBERS = 2_000_000
"""Numbers in one request over the network: what is more belongs in several requests, or a file."""

MOST_ROWS = 10_000
"""Samples in one request."""

MOST_PADDED = 8 * MOST_NUMBERS
"""Numbers in one request if every sample were as long as the longest."""

Row = Mapping[str, Any]


class ReadRow(NamedTuple):
    """One sample of a request.

    Attributes:
        features: Modality -> (T, D) float32; T = 0 where it is absent.
        persons: Told to a model that knows persons, and to no other.
    """

    features: dict[str, np.ndarray]
    persons: ToldPersons | None


_TRUTH = {bool, np.bool_}
_SHOWN = 40


def requested_samples(predictor: Predictor, request: object) -> Samples:
    """The samples of a request, all of which can be scored.

    Args:
        predictor: The model that is asked.
        request: A data frame, a sample (modality -> sequence), or a list of samples.

    Raises:
        InputError: It is none of these, has no rows, or a column that is no modality; or a
            sequence's width, length, shape or values cannot be used, or one is missing without
            which the model cannot do; or persons are not told whom it knows; or it is too large.
            Rows are counted from 0.
    """
    info = predictor.table_info
    names, rows = _rows(request, info.modalities)
    check_names(names, columns_of(info))
    if not rows:
        raise InputError("request", "rows", "at least one sample", "none")
    _check_size(rows)
    read = [read_row(f"row {n}", row, info) for n, row in enumerate(rows)]
    samples = samples_of_rows(info, read, names_of(request, len(rows)))
    for row, refusal in predictor.refusals(samples).items():
        raise refusal.error(f"row {row}")
    _check_padded(samples)
    return samples


def check_info(predictor: Predictor, info: TableInfo, where: object) -> None:
    """Refuse samples that were not made as those that the model was trained on.

    Raises:
        InputError: Modalities, their order, features, widths, alignment, the rule for zeros or, as
            far as both tell, the reader and its options are others; or persons are whom the model
            does not know, or are not told to one that knows some.
    """
    trained, remedy = predictor.table_info, "Make them as the training samples were made."
    check_names(info.features, trained.modalities, where)
    told: list[tuple[str, object, object]] = [("feature widths", trained.widths, info.widths)]
    told += [
        (f"features of {m}", f.name, info.features[m].name)
        for m, f in trained.features.items()
        if m in info.features
    ]
    told += [
        ("order of modalities", trained.modalities, info.modalities),
        ("zeros_are_absent", trained.zeros_are_absent, info.zeros_are_absent),
    ]
    if predictor.requests.alignment:
        told.append(("alignment", trained.alignment, info.alignment))
    if trained.reading and info.reading:  # samples that nobody's reader made have none
        told += [
            (f"reading.{key}", trained.reading.get(key), info.reading.get(key))
            for key in {**trained.reading, **info.reading}
        ]
    for key, expected, found in told:
        if found != expected:
            raise InputError(where, key, f"{expected}, as in training", found, remedy)
    if trained.persons and not info.persons:
        expected = f"those of training, {', '.join(trained.persons.names)}"
        raise InputError(where, "persons", expected, "none", remedy)
    if trained.persons and info.persons:
        check_persons(where, info.persons, trained.persons)


def columns_of(info: TableInfo) -> tuple[str, ...]:
    """Names that a request for samples of this kind may use."""
    return (*info.modalities, *(person_columns(info.modalities) if info.persons else ()))


def read_row(where: str, row: Row, info: TableInfo) -> ReadRow:
    """A row whose names are known, checked; a modality that it does not name is absent.

    Raises:
        InputError: A sequence, or what is told of persons, cannot be used.
    """
    sent = {m: sequence(where, m, row.get(m), width) for m, width in info.widths.items()}
    features = {m: _as_trained(steps, info) for m, steps in sent.items()}
    if not info.persons:
        return ReadRow(features, None)
    told = told_persons(where, row, {m: len(steps) for m, steps in sent.items()}, info.persons)
    kept = {m: len(steps) for m, steps in features.items()}
    persons = {m: told.persons[m][:count] for m, count in kept.items()}
    segments = {m: told.segments[m][:count] for m, count in kept.items()}
    return ReadRow(features, ToldPersons(told.target, persons, segments))


def samples_of_rows(info: TableInfo, rows: Sequence[ReadRow], ids: tuple[str, ...]) -> Samples:
    """Samples of rows that have been read; labels are 0."""
    samples = samples_of(info, {m: [row.features[m] for row in rows] for m in info.modalities}, ids)
    told = [row.persons for row in rows if row.persons]
    if not told:
        return samples
    joined = {
        what: {
            m: torch.from_numpy(np.concatenate([getattr(one, what)[m] for one in told]))
            for m in info.modalities
        }
        for what in ("persons", "segments")
    }
    return replace(
        samples,
        target=torch.tensor([one.target for one in told]),
        step_persons=joined["persons"],
        step_segments=joined["segments"],
    )


def names_of(request: object, count: int) -> tuple[str, ...]:
    """What the rows of a request are called."""
    index = request.index if isinstance(request, pd.DataFrame) else range(count)
    return tuple(map(str, index))


def check_names(names: Iterable[object], known: Sequence[str], where: object = "request") -> None:
    """Refuse names that are not known, or stand there twice, with the nearest that is known.

    Raises:
        InputError: There is one.
    """
    seen: set[str] = set()
    for name in map(str, names):
        if name not in known:
            shown = shortened(name)
            remedy = f"Did you mean {nearest(shown, known)}?"
            raise InputError(where, shown, f"one of {', '.join(known)}", shown, remedy)
        if name in seen:
            raise InputError(where, name, "each name once", "several of it")
        seen.add(name)


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name that is most like this one."""
    return max(known, key=lambda k: SequenceMatcher(None, k.casefold(), name.casefold()).ratio())


def sequence(where: str, modality: str, cell: Any, width: int) -> np.ndarray:
    """A cell as (T, D) float32; T = 0 where there is nothing.

    Raises:
        InputError: It is no sequence of steps of `width` finite numbers.
    """
    if cell is None or (isinstance(cell, float) and np.isnan(cell)) or cell is pd.NA:
        return np.zeros((0, width), np.float32)
    expected = f"steps of {width} numbers each"
    if not isinstance(cell, list | tuple | np.ndarray):
        raise InputError(where, modality, expected, _short(cell))
    if len(cell) == 0:
        return np.zeros((0, width), np.float32)
    steps = cell if isinstance(cell, np.ndarray) and cell.dtype != object else _stacked(cell, width)
    if steps is None or steps.ndim != 2 or steps.shape[1] != width or steps.dtype.kind not in "iuf":
        raise InputError(where, modality, expected, _fault(cell, width))
    with np.errstate(over="ignore"):  # too large for single precision is not finite
        single = steps.astype(np.float32)
    if not np.isfinite(single).all():
        step, column = np.argwhere(~np.isfinite(single))[0]
        found = f"{steps[step, column]} in step {step}, {column}"
        raise InputError(where, modality, "finite numbers of single precision", found)
    return single


def _rows(request: object, known: tuple[str, ...]) -> tuple[list[object], list[Row]]:
    """All names that a request uses, in order, and its rows."""
    if isinstance(request, pd.DataFrame):
        names = list(request.columns)
        if len(set(names)) == len(names):
            columns = [request[name].tolist() for name in names]
            return names, [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        return names, []
    if isinstance(request, Mapping):
        request = [request]
    if not isinstance(request, list | tuple):
        expected = f"a list of samples, each of which maps {', '.join(known)} to sequences"
        raise InputError("request", "", expected, _short(request))
    for row, one in enumerate(request):
        if not isinstance(one, Mapping):
            expected = f"a sample that maps {', '.join(known)} to sequences"
            raise InputError(f"row {row}", "", expected, _short(one))
    return list(dict.fromkeys(name for one in request for name in one)), list(request)


def _check_size(rows: list[Row]) -> None:
    remedy = "Send several requests, or score the file with the pipeline."
    if len(rows) > MOST_ROWS:
        expected = f"at most {MOST_ROWS:,} samples in one request"
        raise InputError("request", "rows", expected, f"{len(rows):,}", remedy)
    count = 0
    for number, row in enumerate(rows):
        for modality, cell in row.items():
            if isinstance(cell, list) and cell and isinstance(cell[0], list):
                count += len(cell) * max(1, len(cell[0]))
            if count > MOST_NUMBERS:
                expected = f"at most {MOST_NUMBERS:,} numbers in one request"
                found = f"more, from {shortened(str(modality))} of row {number} on"
                raise InputError("request", "size", expected, found, remedy)


def _check_padded(samples: Samples) -> None:
    longest = {m: int(lengths.max()) for m, lengths in samples.host_lengths.items()}
    widths = samples.info.widths
    count = len(samples) * sum(steps * widths[m] for m, steps in longest.items())
    if count > MOST_PADDED:
        expected = f"at most {MOST_PADDED:,} numbers if all samples were as long as the longest"
        at = int(samples.longest.argmax())
        found = f"{count:,}, for {samples.longest[at]:,} steps in row {at}"
        remedy = "Send long samples apart from many short ones."
        raise InputError("request", "padded size", expected, found, remedy)


def _as_trained(steps: np.ndarray, info: TableInfo) -> np.ndarray:
    return steps[:0] if info.zeros_are_absent and not steps.any() else steps


def _stacked(cell: Any, width: int) -> np.ndarray | None:
    """Nested sequences as an array; None if not all are as wide, or hold what is no number."""
    if any(isinstance(step, list | tuple) and len(step) != width for step in cell):
        return None
    # Among numbers an array would take what is true for 1.
    if any(isinstance(step, list | tuple) and _TRUTH & set(map(type, step)) for step in cell):
        return None
    try:
        # Several arrays among lists are slow to look through element by element.
        steps = [np.asarray(step) for step in cell]
        return None if any(step.dtype.kind == "b" for step in steps) else np.asarray(steps)
    except (TypeError, ValueError):
        return None


def _fault(cell: Any, width: int) -> str:
    """What is wrong with a sequence: the first step that is not as wide, or holds no numbers."""
    if isinstance(cell, np.ndarray) and cell.dtype != object:
        return f"an array of {cell.dtype}, shape {cell.shape}"
    for number, step in enumerate(cell):
        if not isinstance(step, list | tuple | np.ndarray):
            return f"{_short(step)} as step {number}"
        if len(step) != width:
            return f"{len(step)} in step {number}"
        for column, value in enumerate(step):
            number_like = isinstance(value, int | float | np.integer | np.floating)
            if isinstance(value, bool | np.bool_) or not number_like:
                return f"{_short(value)} in step {number}, {column}"
    return "numbers of no one kind, or too large"


def _short(value: object) -> str:
    if isinstance(value, str):
        value = value[:_SHOWN]
    text = repr(value) if isinstance(value, str | int | float | bool | type(None)) else ""
    if not text or len(text) > _SHOWN:
        return f"a {type(value).__name__}"
    return text
