"""What MEmoR's JSON files and id lists say: clips, their segments, and who feels what when.

`anno.json` has two lists of annotations, `primary` and `fine_grained`; each one is a clip, a
character (index), a moment in seconds, and an emotion. `data.json` says of each clip who is on
screen, where its segments start and end, and who speaks in each. `train_id.txt` and `test_id.txt`
are positions in the list of annotations, one in a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mmer.errors import InputError
from mmer.formats.json_files import read_json
from mmer.formats.number_table import read_lines
from mmer.formats.plain import describe, field, numbers, text

Emotions = Literal["primary", "fine_grained"]
ANNOTATIONS, CLIPS = "anno.json", "data.json"
TRAIN_IDS, TEST_IDS = "train_id.txt", "test_id.txt"
CHARACTERS = ("sheldon", "leonard", "howard", "rajesh", "penny", "bernadette", "amy", "others")
_PRIMARY = (
    *("neutral", "joy", "anger", "disgust", "sadness"),
    *("surprise", "fear", "anticipation", "trust"),
)
EMOTIONS: dict[Emotions, tuple[str, ...]] = {
    "primary": _PRIMARY,
    "fine_grained": (*_PRIMARY, "serenity", "interest", "annoyance", "boredom", "distraction"),
}
_INTEGER = re.compile(r"\s*\d{1,9}\s*", re.ASCII)


class Annotation(NamedTuple):
    """An emotion of a character (index) in a clip at a moment (seconds)."""

    clip: str
    character: int
    moment: float
    emotion: int


class Segment(NamedTuple):
    """Start and end in seconds, who speaks (index), and the number that names its audio."""

    start: float
    end: float
    speaker: int
    original: int


@dataclass(frozen=True)
class Clip:
    """A clip, from `start` (seconds), who is on screen (indices), and its segments."""

    name: str
    start: float
    on_screen: frozenset[int]
    segments: tuple[Segment, ...]

    @property
    def main_speaker(self) -> int:
        """Who speaks in most segments; of several, the first by index."""
        speakers = [segment.speaker for segment in self.segments]
        return min(set(speakers), key=lambda one: (-speakers.count(one), one))

    def at(self, moment: float) -> int | None:
        """The segment, by position, in which a moment (seconds) lies; None if it lies in none."""
        for position, segment in enumerate(self.segments):
            if segment.start <= moment < segment.end:
                return position
        return None

    def nearest(self, moment: float) -> int:
        """The segment in which a moment lies, or whose start or end is closest to it."""
        gaps = [min(abs(moment - s.start), abs(moment - s.end)) for s in self.segments]
        found = self.at(moment)
        return gaps.index(min(gaps)) if found is None else found


def read_annotations(path: Path, kind: Emotions) -> list[Annotation]:
    """One of the two lists of annotations.

    Raises:
        InputError: The file is missing or damaged, an annotation lacks a field, or an emotion or a
            character is unknown.
    """
    rows = field(path, read_json(path), kind)
    if not isinstance(rows, list) or not rows:
        raise InputError(path, kind, "a list of annotations", describe(rows))
    return [_annotation(path, f"{kind}[{i}]", row, kind) for i, row in enumerate(rows)]


def read_clips(path: Path, names: Iterable[str]) -> dict[str, Clip]:
    """The clips of these names.

    Raises:
        InputError: The file is missing or damaged, a clip is not in it or lacks a field, its lists
            differ in length, or a time or a character is none.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(path, "", "a mapping from clips", describe(content))
    found = {}
    for name in names:
        if name not in content:
            expected = f"every clip that {ANNOTATIONS} names, such as {describe(name)}"
            raise InputError(path, "", expected, f"{len(content)} others")
        found[name] = _clip(path, name, content[name])
    return found


def read_ids(path: Path, count: int) -> frozenset[int]:
    """Positions in a list of `count` annotations.

    Raises:
        InputError: The file is missing or empty, or a line is no such position or repeats one.
    """
    found: set[int] = set()
    for number, line in enumerate(read_lines(path), start=1):
        key = f"line {number}"
        if not _INTEGER.fullmatch(line) or int(line) >= count:
            expected = f"a position in the {count} annotations, 0 to {count - 1}"
            raise InputError(path, key, expected, describe(line))
        if int(line) in found:
            raise InputError(path, key, "each position once", f"{int(line)} again")
        found.add(int(line))
    if not found:
        raise InputError(path, "", "positions of annotations", "none")
    return frozenset(found)


def _annotation(path: Path, key: str, row: object, kind: Emotions) -> Annotation:
    clip, character, moment, emotion = (
        _part(path, key, row, name) for name in ("clip", "character", "moment", "emotion")
    )
    known = EMOTIONS[kind]
    if emotion not in known:
        expected = f"one of {', '.join(known)}"
        raise InputError(path, f"{key}/emotion", expected, describe(emotion))
    return Annotation(
        _file_name(path, f"{key}/clip", clip),
        _character(path, f"{key}/character", character),
        _seconds(path, f"{key}/moment", moment),
        known.index(emotion),
    )


def _clip(path: Path, name: str, content: object) -> Clip:
    parts = {
        key: _part(path, name, content, key)
        for key in ("on_character", "seg_start", "seg_end", "start", "speakers", "seg_ori_ind")
    }
    if not isinstance(parts["on_character"], list):
        expected = "a list of characters"
        raise InputError(path, f"{name}/on_character", expected, describe(parts["on_character"]))
    lists = ("seg_start", "seg_end", "speakers", "seg_ori_ind")
    lengths = {key: len(parts[key]) if isinstance(parts[key], list) else None for key in lists}
    if len(set(lengths.values())) > 1 or not lengths["seg_start"]:
        found = ", ".join(f"{key}: {length}" for key, length in lengths.items())
        raise InputError(path, name, "as many segments in each list, at least one", found)
    starts, ends = (
        numbers(path, f"{name}/{key}", parts[key], len(parts[key])).tolist()
        for key in ("seg_start", "seg_end")
    )
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if not start < end:
            expected = f"a time after its start, {start} s"
            raise InputError(path, f"{name}/seg_end[{i}]", expected, f"{end} s")
    speakers, originals = parts["speakers"], parts["seg_ori_ind"]
    return Clip(
        name,
        _seconds(path, f"{name}/start", parts["start"]),
        frozenset(
            _character(path, f"{name}/on_character[{i}]", one)
            for i, one in enumerate(parts["on_character"])
        ),
        tuple(
            Segment(
                starts[i],
                ends[i],
                _character(path, f"{name}/speakers[{i}]", speakers[i]),
                _integer(path, f"{name}/seg_ori_ind[{i}]", originals[i]),
            )
            for i in range(len(starts))
        ),
    )


def _part(path: Path, key: str, value: object, name: str) -> Any:
    if not isinstance(value, dict) or name not in value:
        found = ", ".join(map(describe, list(value)[:20])) if isinstance(value, dict) else ""
        raise InputError(path, key, f"a field {name!r}", found or describe(value))
    return value[name]


def _file_name(path: Path, key: str, value: object) -> str:
    """A clip's name, which is also that of files: of one folder, whatever the name is."""
    name = text(path, key, value)
    if not name or name.startswith(".") or not name.isprintable() or re.search(r"[/\\]", name):
        raise InputError(path, key, "a name that files can have", describe(name))
    return name


def _character(path: Path, key: str, value: object) -> int:
    if type(value) is not int or not 0 <= value < len(CHARACTERS):
        expected = f"the index of a character, 0 to {len(CHARACTERS) - 1}"
        raise InputError(path, key, expected, describe(value))
    return value


def _integer(path: Path, key: str, value: object) -> int:
    if type(value) is not int or not 0 <= value < 10**9:
        raise InputError(path, key, "a number of a segment", describe(value))
    return value


def _seconds(path: Path, key: str, value: object) -> float:
    return numbers(path, key, [value], 1).item()
