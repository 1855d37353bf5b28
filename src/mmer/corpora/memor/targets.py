"""Which samples there are: of what in MEmoR's clips, and in which split.

The published split is one of annotations, by position, so that it may cut a clip apart. Here a
group stands in one split alone: a clip, or what a pattern makes of its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from mmer.corpora.memor.annotations import CHARACTERS, CLIPS, TRAIN_IDS, Annotation, Clip
from mmer.errors import InputError
from mmer.formats.plain import describe
from mmer.samples.table import Split

Unit = Literal["clip", "character", "moment"]
Straddling = Literal["test", "refuse", "as_published"]


class Target(NamedTuple):
    """What a sample is about.

    Attributes:
        segment: The segment, by position, that the labels are of; None if they are of all.
        labels: Emotions, by index.
    """

    sample_id: str
    group_id: str
    person: int
    segment: int | None
    labels: frozenset[int]


class Listed(NamedTuple):
    """Positions of annotations for training and testing, and what a user should know of them."""

    splits: dict[Split, frozenset[int]]
    notes: tuple[str, ...]


def group_of(folder: Path, pattern: re.Pattern[str], clip: str) -> str:
    """What a clip belongs to; an InputError if the pattern does not match its name."""
    match = pattern.fullmatch(clip)
    group = match and (match[1] if pattern.groups else match[0])
    if not group:
        expected = f"names that match group_pattern {pattern.pattern!r}"
        raise InputError(folder / CLIPS, "clip", expected, describe(clip))
    return group


def undivided(
    folder: Path,
    splits: dict[Split, frozenset[int]],
    group: Mapping[int, str],
    straddling: Straddling,
) -> Listed:
    """The published split as it may be used: `group` maps a listed position to what it belongs to.

    Raises:
        InputError: A group is in both and that is refused, or nothing is left for training.
    """
    tested = {group[i] for i in splits["test"]}
    cut = frozenset(i for i in splits["train"] if group[i] in tested)
    if not cut:
        return Listed(splits, ())
    groups = {group[i] for i in cut}
    found = (
        f"{len(groups)} of {len(set(group.values()))} clips or groups of clips have annotations "
        f"for training ({len(cut)} of {len(splits['train'])}) and for testing"
    )
    if straddling == "refuse":
        expected = "annotations of a group for training alone, or for testing alone"
        remedy = "Option straddling: test leaves the former out."
        raise InputError(folder / TRAIN_IDS, "", expected, f"{found}: {min(groups)}", remedy)
    if straddling == "as_published":
        return Listed(splits, (f"{found}: left as published, so that scores are too high",))
    left = splits["train"] - cut
    if not left:
        expected = "annotations of groups that have none for testing"
        remedy = "Option group_pattern says what must not stand in two splits."
        raise InputError(folder / TRAIN_IDS, "", expected, "none", remedy)
    splits = {**splits, "train": left}
    return Listed(splits, (f"{found}: they are tested on, the former are not trained on",))


def targets(
    annotations: list[Annotation],
    positions: frozenset[int],
    clips: Mapping[str, Clip],
    groups: Mapping[int, str],
    unit: Unit,
) -> dict[str, list[Target]]:
    """Clip -> the samples of it, from the annotations at these positions.

    Clips of one group stand together, so that it does not matter which groups are read together;
    otherwise all are in the order of the annotations. A set of labels is one of all annotations of
    the clip, or of the character in it, wherever they are listed.
    """
    listed: dict[str, list[int]] = {}
    for position in sorted(positions):
        listed.setdefault(annotations[position].clip, []).append(position)
    first: dict[str, int] = {}
    for own in listed.values():
        first.setdefault(groups[own[0]], len(first))
    sets: dict[tuple[str, int | None], set[int]] = {}
    for one in annotations:
        for whose in (one.character, None):
            sets.setdefault((one.clip, whose), set()).add(one.emotion)

    def of_clip(name: str) -> list[Target]:
        own, clip = [annotations[i] for i in listed[name]], clips[name]
        if unit == "clip":
            labels = frozenset(sets[name, None])
            return [Target(name, groups[listed[name][0]], clip.main_speaker, None, labels)]
        if unit == "character":
            return [
                Target(
                    f"{name}+{CHARACTERS[person]}",
                    groups[listed[name][0]],
                    person,
                    None,
                    frozenset(sets[name, person]),
                )
                for person in dict.fromkeys(one.character for one in own)
            ]
        return [
            Target(
                f"{name}+{CHARACTERS[one.character]}+{position}",
                groups[position],
                one.character,
                clip.nearest(one.moment),
                frozenset((one.emotion,)),
            )
            for position, one in zip(listed[name], own, strict=True)
        ]

    return {
        name: of_clip(name) for name in sorted(listed, key=lambda n: first[groups[listed[n][0]]])
    }
