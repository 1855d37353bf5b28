"""CMU-MOSEI in the tensors of the corpus's own tool: `tensors.pkl`.

What `get_tensors` of the CMU-MultimodalSDK returns, put into a pickle: for each fold a dict of the
sequences by their root names, (n, T, D), padded in front or behind, and the labels (n, 1, 7). The
tool itself returns a list of folds in the order in which they are asked for: train, valid, test.
Some have "<root name> id" beside a sequence: for each sample `video[3]`, or video, start and end.
Without it samples are groups of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from mmer.corpora.corpus import CorpusSource, LabelNames
from mmer.corpora.mosei.features import MODALITIES, Modality
from mmer.corpora.mosei.identities import Identities, read_identities, without_identities
from mmer.corpora.mosei.labels import (
    EMOTIONS,
    HIGHEST_INTENSITY,
    LABEL_COLUMNS,
    Emotion,
    LabelColumns,
    in_range,
)
from mmer.corpora.mosei.padded import (
    PaddedOptions,
    PaddedSplit,
    nonzero_span,
    padded_source,
    split_features,
)
from mmer.errors import InputError
from mmer.formats import plain
from mmer.formats.restricted_pickle import read_pickle
from mmer.samples.table import SPLITS, Split

FILE = "tensors.pkl"
_SAMPLES_LOOKED_AT = 100
_Names = Annotated[tuple[str, ...], Field(min_length=1)]
_Sequences = Annotated[dict[Modality, _Names], Field(min_length=len(MODALITIES))]
_ROOT_NAMES: dict[Modality, tuple[str, ...]] = {
    "text": ("glove_vectors",),
    "visual": ("FACET 4.2",),
    "audio": ("COAVAREP", "COVAREP"),  # both are official spellings
}


class TensorsOptions(PaddedOptions):
    """How the tensors of the corpus's tool are read; see also `PaddedOptions`.

    Attributes:
        labels: Some or all of the six emotions, in the order of the table's columns.
        sequences: Modality -> root names that its sequence may have; the file has one of them.
        label_sequence: Root name of the labels.
        label_columns: What the columns of the labels are; the file does not say. Tools of before
            2019 wrote anger, disgust, fear, happy, sad, surprise.
        emotion_threshold: An emotion is present if its intensity (0 to 3) is above this.
        label_tolerance: How far out of range a label may be to be clamped to it.
        alignment: "word" if all was averaged onto the words before; "none" if every sequence has
            its own steps, as the tool's example leaves them.
    """

    labels: LabelNames[Emotion] = EMOTIONS
    sequences: _Sequences = _ROOT_NAMES
    label_sequence: str = "All Labels"
    label_columns: LabelColumns = LABEL_COLUMNS
    emotion_threshold: float = Field(default=0.0, ge=0, lt=HIGHEST_INTENSITY)
    label_tolerance: float = Field(default=0.0, ge=0, le=1)
    alignment: Literal["word", "none"] = "word"


def read_tensors(path: Path, options: TensorsOptions) -> CorpusSource:
    """Open `tensors.pkl` or the one in a folder, check it, and offer its samples.

    Raises:
        InputError: The file is missing, damaged, or not what the options say; a label is out of
            range; or sequences that should share their steps do not.
        UntrustedDataError: The file asks for code to be run.
    """
    path = path / FILE if path.is_dir() else path
    content = _folds(path, read_pickle(path))
    names = _sequence_names(path, content, options)
    splits = {split: _split(path, content, split, names, options) for split in SPLITS}
    aligned = options.alignment == "word"
    order = ", ".join(options.label_columns)
    note = f"{FILE} does not name its label columns; as label_columns says: {order}"
    source = padded_source((path,), options, splits, names, aligned=aligned, notes=(note,))
    if aligned:
        for name, split in splits.items():
            _check_shared_steps(path, name, split)
    return source


def _folds(path: Path, content: object) -> object:
    """Fold by name, as some files have it."""
    if isinstance(content, list | tuple) and len(content) == len(SPLITS):
        return dict(zip(SPLITS, content, strict=True))
    if isinstance(content, dict):
        return content
    expected = f"folds by name, or a list of {', '.join(SPLITS)}"
    raise InputError(path, "", expected, plain.describe(content))


def _sequence_names(path: Path, content: object, options: TensorsOptions) -> dict[Modality, str]:
    """Root name of each modality's sequence in this file."""
    stored, names = plain.field(path, content, "train"), {}
    for modality, known in options.sequences.items():
        found = [name for name in known if isinstance(stored, dict) and name in stored]
        if len(found) != 1:
            fields = list(stored)[:20] if isinstance(stored, dict) else [stored]
            there = ", ".join(map(plain.describe, fields))
            expected = f"one of the sequences {', '.join(known)}"
            remedy = "The option `sequences` says what they are called."
            raise InputError(path, "train", expected, there, remedy)
        names[modality] = found[0]
    return names


def _split(
    path: Path, content: object, split: Split, names: dict[Modality, str], options: TensorsOptions
) -> PaddedSplit:
    stored = plain.field(path, content, split, options.label_sequence)
    key, columns = f"{split}/{options.label_sequence}", len(LABEL_COLUMNS)
    count = len(stored) if plain.is_numeric(stored) and stored.ndim else 0
    if count == 0 or stored.shape not in ((count, 1, columns), (count, columns)):
        expected = f"numbers of shape (n, 1, {columns})"
        raise InputError(path, key, expected, plain.describe(stored))
    known = _identities(path, plain.field(path, content, split), split, names, options, count)
    order = [options.label_columns.index(name) for name in LABEL_COLUMNS]
    values = stored.reshape(count, columns)[:, order]
    inside = in_range(path, known.sample_ids, values, options.label_tolerance)
    clamped = int((inside != values).sum())
    present = inside[:, 1:] > options.emotion_threshold
    return PaddedSplit(
        split_features(path, content, split, names, options),
        present[:, [EMOTIONS.index(label) for label in options.labels]].astype(np.uint8),
        *known,
        note=f"{clamped} labels out of range were clamped (label_tolerance)" if clamped else "",
    )


def _identities(
    path: Path,
    record: dict,
    split: str,
    names: dict[Modality, str],
    options: TensorsOptions,
    count: int,
) -> Identities:
    """What the file says of its samples, beside one sequence or several that must agree."""
    keys = [f"{name} id" for name in (options.label_sequence, *names.values())]
    found = {
        key: read_identities(path, f"{split}/{key}", record[key], count)
        for key in keys
        if key in record
    }
    if not found:
        return without_identities(split, count)
    first, *others = found
    for key in others:
        pairs = zip(found[first].sample_ids, found[key].sample_ids, strict=True)
        apart = [row for row, (ours, theirs) in enumerate(pairs) if ours != theirs]
        if apart:
            where, other = f"{split}/{key}[{apart[0]}]", found[key].sample_ids[apart[0]]
            expected = f"the id beside {first}, {found[first].sample_ids[apart[0]]}"
            raise InputError(path, where, expected, other)
    return found[first]


def _check_shared_steps(path: Path, name: Split, split: PaddedSplit) -> None:
    """Refuse sequences of own rates, most of which have something where there is no word."""
    count = len(split.labels)
    chosen = np.linspace(0, count - 1, min(count, _SAMPLES_LOOKED_AT)).astype(int)
    outside = 0
    for i in chosen:
        spans = {m: nonzero_span(split.features[m][i]) for m in MODALITIES}
        begin, end = spans.pop("text")
        outside += any(b < e and (b < begin or e > end) for b, e in spans.values())
    if outside > len(chosen) / 2:
        raise InputError(
            path,
            name,
            "sequences that were averaged onto the words",
            f"{outside} of {len(chosen)} samples with something where there is no word",
            "Sequences that keep their own steps are read with alignment: none.",
        )
