"""CMU-MOSEI word-aligned, as the published programs take it: `train_valid_test.pt`.

A file of `torch.save`: per split `src-text` (T, 300), `src-visual` (T, 35) and `src-audio` (T, 74)
per sample, on shared steps, and `tgt`, the sample's emotions as ids between the marks of a
sequence's begin and end. `dict/tgt` says which id means which emotion. The file has no ids of
videos, so each sample is a group of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmer.corpora.corpus import CorpusSource
from mmer.corpora.mosei.features import EXTRACTORS, MODALITIES, Modality
from mmer.corpora.mosei.padded import PaddedOptions, PaddedSplit, padded_source, split_features
from mmer.errors import InputError
from mmer.formats.plain import describe, field
from mmer.formats.torch_archive import read_torch
from mmer.samples.table import SPLITS, Split

FILE = "train_valid_test.pt"
FIELDS: dict[Modality, str] = {m: f"src-{m}" for m in MODALITIES}
_FIRST_EMOTION = 4
_BEGIN, _END = 2, 3


def read_tailor(path: Path, options: PaddedOptions) -> CorpusSource:
    """Open `train_valid_test.pt` or the one in a folder, check it, and offer its samples.

    Raises:
        InputError: The file is missing, damaged, or not what the options say.
        UntrustedDataError: The file asks for code to be run.
    """
    path = path / FILE if path.is_dir() else path
    content = read_torch(path)
    labels = label_sets(path, content, options.labels)
    splits: dict[Split, PaddedSplit] = {}
    for split in SPLITS:
        count = len(labels[split])
        splits[split] = PaddedSplit(
            features=split_features(path, content, split, FIELDS, options),
            labels=labels[split],
            sample_ids=[f"{split}[{i}]" for i in range(count)],
            group_ids=None,
            times=[(None, None)] * count,
        )
    return padded_source((path,), options, splits, EXTRACTORS, aligned=True)


def label_sets(path: Path, content: object, labels: tuple[str, ...]) -> dict[Split, np.ndarray]:
    """Per split the emotions as (n, L) of 0 and 1, columns in the order of `labels`.

    Raises:
        InputError: The file names other emotions, or a sample's ids are not a set of emotions
            between the marks of begin and end.
    """
    column = _columns(path, field(path, content, "dict", "tgt"), labels)
    sets: dict[Split, np.ndarray] = {}
    for split in SPLITS:
        targets = field(path, content, split, "tgt")
        if isinstance(targets, np.ndarray) and targets.ndim == 2:
            targets = list(targets)
        if not isinstance(targets, list | tuple) or len(targets) == 0:
            found = describe(targets)
            raise InputError(path, f"{split}/tgt", "a list of emotions for each sample", found)
        sets[split] = np.zeros((len(targets), len(labels)), np.uint8)
        for i, target in enumerate(targets):
            sets[split][i, _present(path, f"{split}/tgt[{i}]", target, column)] = 1
    return sets


def _columns(path: Path, vocabulary: object, labels: tuple[str, ...]) -> dict[int, int]:
    """Emotion id in the file -> column of the table."""
    if not isinstance(vocabulary, dict) or any(type(i) is not int for i in vocabulary.values()):
        found = describe(vocabulary)
        raise InputError(path, "dict/tgt", "a dict of names and their ids", found)
    emotions = {i: name for name, i in vocabulary.items() if i >= _FIRST_EMOTION}
    if sorted(map(str, emotions.values())) != sorted(labels):
        found = ", ".join(map(describe, list(emotions.values())[:20])) or "none"
        remedy = "Name the file's own emotions in the option `labels`."
        raise InputError(path, "dict/tgt", f"the emotions {', '.join(labels)}", found, remedy)
    return {i: labels.index(str(name)) for i, name in emotions.items()}


def _present(path: Path, key: str, target: object, column: dict[int, int]) -> list[int]:
    """Columns of a sample's emotions."""
    if isinstance(target, np.ndarray) and target.ndim == 1 and target.dtype.kind in "iu":
        target = target.tolist() if len(target) <= len(column) + 2 else None
    expected = f"{_BEGIN}, ids of emotions, each at most once, {_END}"
    if not isinstance(target, list | tuple) or not 2 <= len(target) <= len(column) + 2:
        raise InputError(path, key, expected, describe(target))
    begin, *ids, end = target
    numbers = all(type(i) is int for i in target)
    if not numbers or (begin, end) != (_BEGIN, _END) or len({*ids} & {*column}) < len(ids):
        raise InputError(path, key, expected, ", ".join(map(describe, target)))
    return [column[emotion] for emotion in ids]
