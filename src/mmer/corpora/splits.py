"""Which groups (videos, dialogues) stand in which split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path

import numpy as np

from mmer.corpora.corpus import CorpusSource, ValidationSplit
from mmer.errors import InputError
from mmer.samples.table import SPLITS, Split


def split_groups(
    where: Path, source: CorpusSource, validation: ValidationSplit
) -> dict[Split, tuple[str, ...]]:
    """The groups of each split; validation takes some of training's if the source has no own.

    Raises:
        InputError: Two splits share a group, or there are too few to draw from.
    """
    splits = {split: tuple(dict.fromkeys(groups)) for split, groups in source.groups.items()}
    check_disjoint(where, splits)
    if "valid" not in splits:
        chosen = _draw(where, splits["train"], validation)
        splits["valid"] = tuple(group for group in splits["train"] if group in chosen)
        splits["train"] = tuple(group for group in splits["train"] if group not in chosen)
    return {split: splits[split] for split in SPLITS}


def check_disjoint(where: object, groups: Mapping[Split, Iterable[str]]) -> None:
    """Refuse splits that share a group by an InputError."""
    for first, second in combinations(groups, 2):
        if shared := sorted(set(groups[first]) & set(groups[second])):
            found = f"{len(shared)} shared, such as {', '.join(shared[:3])}"
            key = f"splits {first} and {second}"
            remedy = "Give each group (a video, a dialogue) to one split alone."
            raise InputError(where, key, "no group in both", found, remedy)


def _draw(where: Path, groups: tuple[str, ...], validation: ValidationSplit) -> set[str]:
    """The groups that validation takes: the seed's share of them, at least one and not all."""
    if len(groups) < 2:
        expected = "at least 2 groups, of which validation takes some"
        raise InputError(where, "train", expected, len(groups))
    count = min(max(round(validation.share * len(groups)), 1), len(groups) - 1)
    shuffled = np.random.default_rng(validation.seed).permutation(sorted(groups))
    return set(shuffled[:count].tolist())
