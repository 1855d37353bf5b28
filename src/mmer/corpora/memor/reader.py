"""MEmoR in its official files: several people in a clip, seen and heard in some of its segments.

A step is a cell, a character in a segment, where the modality shows it; without one the modality is
absent. The steps of the sample's person stand first, then those of the others by index, each
person's by number of segment, so that systems which know the order of steps and no persons find
what matters most at the beginning. The others are those who are on screen, as published.

A sample is one of three things:

- `moment`, as published: one emotion of a character at a moment. Segments are numbered outwards
  from that of the moment: 0 is its own, 1 the next, 2 the one before, 3 the one after the next, and
  so on. The number goes with the step, so systems that know segments know the moment; to others,
  two moments of a person in a clip may look the same. Where a moment lies in no segment, the
  nearest one is taken.
- `character`: the set of a character's emotions in a clip, which is our choice.
- `clip`: the set of all emotions annotated in a clip, as later programs take it. Nobody is asked
  about; the person is who speaks in most segments (of several, the first by index), which is known
  without a label.

In `character` and `clip`, segments are numbered in time from 0.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from mmer.corpora.corpus import CorpusSource
from mmer.corpora.memor.annotations import (
    ANNOTATIONS,
    CHARACTERS,
    CLIPS,
    EMOTIONS,
    TEST_IDS,
    TRAIN_IDS,
    Annotation,
    Clip,
    Emotions,
    read_annotations,
    read_clips,
    read_ids,
)
from mmer.corpora.memor.cells import AUDIO, EXTRACTORS, TEXT, Cells, ClipCells, TextKey
from mmer.corpora.memor.targets import Straddling, Target, Unit, group_of, targets, undivided
from mmer.errors import InputError
from mmer.formats.number_table import read_numbers
from mmer.formats.plain import as_float32
from mmer.samples.table import Features, Persons, Sample, Split
from mmer.schema import Settings

TRAITS = "features/character_features.csv"
_COMMON_FILES = (ANNOTATIONS, CLIPS, TRAIN_IDS, TEST_IDS, TEXT, AUDIO, TRAITS)
_GROUPS_PER_TASK = 32

Targets = Mapping[str, list[Target]]


class MemorOptions(Settings):
    """How the official files are read.

    Attributes:
        labels: Which of the two annotations: nine primary emotions or fourteen fine-grained ones.
        unit: What a sample is; see the module.
        straddling: Where annotations of one group are for training and others for testing: "test"
            tests on the group and leaves its training annotations out; "refuse" stops;
            "as_published" lets it be, and makes every annotation a group of its own (unit moment).
        text_key: What names a segment's text behind the clip: its position, as in the published
            program, or its original number, as in an earlier one.
        group_pattern: What a whole clip name matches; its group 1, or the match if it has no
            groups, is what must not stand in two splits. By default that is the clip: the files do
            not say which clips are of one episode.
    """

    labels: Emotions = "primary"
    unit: Unit = "character"
    straddling: Straddling = "test"
    text_key: TextKey = "position"
    group_pattern: re.Pattern[str] = re.compile(".+")


def read_memor(folder: Path, options: MemorOptions) -> CorpusSource:
    """Open the official files in a folder; offer a sample per clip, character or moment.

    Features are looked at when their sample is read.

    Raises:
        InputError: A file is missing, damaged or not as described; an emotion, a character or a
            clip is unknown, a clip's lists differ in length, a position is none or is for training
            and for testing, text is missing where somebody speaks; later, naming the file: widths
            differ, or there are fewer faces than names.
        UntrustedDataError: A file asks for code to be run.
    """
    annotations = read_annotations(folder / ANNOTATIONS, options.labels)
    listed = _listed(folder, annotations)
    asked_for = sorted(listed["train"] | listed["test"])
    clips = read_clips(folder / CLIPS, dict.fromkeys(annotations[i].clip for i in asked_for))
    splits, notes = _splits(folder, annotations, listed, clips, options)
    cells = ClipCells(folder, options.text_key)
    files = _files_of_clips(cells, clips, [*splits["train"].items(), *splits["test"].items()])
    return CorpusSource(
        labels=EMOTIONS[options.labels],
        features={m: Features(name=EXTRACTORS[m], width=w) for m, w in cells.widths.items()},
        alignment="none",
        files=(*(folder / name for name in _COMMON_FILES), *files),
        groups={
            split: tuple(target.group_id for own in asked.values() for target in own)
            for split, asked in splits.items()
        },
        read=lambda split, groups: _samples(cells, clips, splits[split], options, groups),
        groups_per_task=_GROUPS_PER_TASK,
        groups_known=options.straddling != "as_published",
        persons=_persons(folder / TRAITS),
        notes=notes,
        one_label=options.unit == "moment",
        task=f"{options.unit}, {options.labels}",
    )


def _listed(folder: Path, annotations: list[Annotation]) -> dict[Split, frozenset[int]]:
    """Which annotations are for training and for testing; the others are not looked at."""
    count, test_ids = len(annotations), folder / TEST_IDS
    listed: dict[Split, frozenset[int]] = {
        "train": read_ids(folder / TRAIN_IDS, count),
        "test": read_ids(test_ids, count),
    }
    if both := sorted(listed["train"] & listed["test"]):
        expected = f"no position that is in {TRAIN_IDS}"
        raise InputError(test_ids, "", expected, f"{len(both)}, such as {both[0]}")
    return listed


def _splits(
    folder: Path,
    annotations: list[Annotation],
    listed: dict[Split, frozenset[int]],
    clips: Mapping[str, Clip],
    options: MemorOptions,
) -> tuple[dict[Split, Targets], tuple[str, ...]]:
    """The samples of each split by clip, and what a user should know of them."""
    group = {name: group_of(folder, options.group_pattern, name) for name in clips}
    groups = {i: group[annotations[i].clip] for i in listed["train"] | listed["test"]}
    usable, notes = undivided(folder, listed, groups, options.straddling)
    if options.straddling == "as_published":
        if options.unit != "moment":
            expected, remedy = "unit moment", "Other units make one sample of several annotations."
            raise InputError("options", "straddling as_published", expected, options.unit, remedy)
        groups = {i: f"{group}+{i}" for i, group in groups.items()}
    if unlisted := len(annotations) - len(groups):
        notes += (f"{unlisted} annotations are neither in {TRAIN_IDS} nor in {TEST_IDS}",)
    asked: dict[Split, Targets] = {
        s: targets(annotations, own, clips, groups, options.unit) for s, own in usable.items()
    }
    nowhere = {i for i in groups if clips[annotations[i].clip].at(annotations[i].moment) is None}
    if nowhere and options.unit == "moment":
        notes += (f"{len(nowhere)} moments lie in no segment: the nearest one is taken",)
    return asked, notes


def _persons(path: Path) -> Persons:
    """Each character's traits, every column divided by its length over the characters."""
    rows = read_numbers(path)
    if len(rows) != len(CHARACTERS):
        expected = f"a row for each of {len(CHARACTERS)} characters"
        raise InputError(path, "", expected, len(rows))
    # By the largest first: the squares of what is finite may not be.
    largest = np.maximum(np.abs(rows).max(axis=0), np.finfo(np.float64).tiny)
    lengths = np.linalg.norm(rows / largest, axis=0)
    scaled = rows / largest / np.where(lengths > 0, lengths, 1)
    return Persons(names=CHARACTERS, traits=tuple(tuple(row) for row in scaled.tolist()))


def _files_of_clips(
    cells: ClipCells, clips: Mapping[str, Clip], asked: list[tuple[str, list[Target]]]
) -> list[Path]:
    """The files of these clips, once it is clear that all text is there and how wide rows are."""
    files: dict[Path, None] = {}
    wide = False
    for name, own in asked:
        clip = clips[name]
        cells.check_text(clip, _characters(clip, own))
        files[cells.face_names(clip)] = None
        if len(cells.faces(clip).frames):
            files |= dict.fromkeys(cells.visual_files(clip))
            wide = wide or cells.find_widths(clip)
    if not wide:
        where = cells.folder / "features/visual_features"
        raise InputError(where, "", "a clip with more than ten faces", "none")
    return list(files)


def _characters(clip: Clip, own: Collection[Target]) -> frozenset[int]:
    return clip.on_screen | {target.person for target in own}


def _samples(
    cells: ClipCells,
    clips: Mapping[str, Clip],
    asked: Targets,
    options: MemorOptions,
    groups: Collection[str],
) -> Iterator[Sample]:
    """The samples of some groups, clip by clip, whose cells are read once."""
    wanted = set(groups)
    for name, every in asked.items():
        if own := [target for target in every if target.group_id in wanted]:
            clip = clips[name]
            found = cells.of(clip, _characters(clip, own))
            for target in own:
                yield _sample(clip, target, found, len(EMOTIONS[options.labels]))


def _sample(clip: Clip, target: Target, cells: Cells, labels: int) -> Sample:
    number = partial(outwards, target.segment) if target.segment is not None else int
    characters = _characters(clip, [target])
    features: dict[str, np.ndarray | None] = {}
    persons: dict[str, np.ndarray] = {}
    segments: dict[str, np.ndarray] = {}
    for modality, found in cells.items():
        order = sorted(
            (character != target.person, character, number(position), position)
            for character, position in found
            if character in characters
        )
        rows = [found[character, position] for _, character, _, position in order]
        features[modality] = as_float32(np.stack(rows)) if rows else None
        persons[modality] = np.array([step[1] for step in order], np.int32)
        segments[modality] = np.array([step[2] for step in order], np.int32)
    shown = clip.segments if target.segment is None else [clip.segments[target.segment]]
    return Sample(
        sample_id=target.sample_id,
        group_id=target.group_id,
        features=features,
        labels=np.isin(np.arange(labels), list(target.labels)).astype(np.uint8),
        start=min(segment.start for segment in shown),
        end=max(segment.end for segment in shown),
        person=target.person,
        step_persons=persons,
        step_segments=segments,
    )


def outwards(own: int, position: int) -> int:
    """Number of a segment as seen from `own`: itself 0, the next 1, the one before 2, and so on."""
    return 2 * (position - own) - 1 if position > own else 2 * (own - position)
