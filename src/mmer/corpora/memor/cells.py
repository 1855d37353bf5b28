"""The features of a clip's cells: what each character shows in each segment, where there is any.

Text and audio are there where the character speaks. `text_features.json` names them by the
segment's position in the clip, `audio_features.json` by the segment's original number, and may lack
some. Faces are listed in `face_names/<clip>.txt`, a frame and a character each; where more than ten
of a character's faces are in a segment, its visual features are the mean face, the mean of the
objects and the mean of the environment over the segment's frames, in this order.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from mmer.corpora.memor.annotations import CHARACTERS, Clip
from mmer.errors import InputError
from mmer.formats.json_files import NamedVectors
from mmer.formats.plain import describe, is_numeric
from mmer.formats.torch_archive import read_torch

Modality = Literal["text", "visual", "audio"]
TextKey = Literal["position", "original"]
Cell = tuple[int, int]
"""A character (index) and a segment (position)."""
Cells = dict[Modality, dict[Cell, np.ndarray]]

TEXT, AUDIO = "features/text_features.json", "features/audio_features.json"
_VISUAL = "features/visual_features"
FACE_NAMES, FACES = f"{_VISUAL}/face_names", f"{_VISUAL}/face_features"
OBJECTS, ENVIRONMENT = f"{_VISUAL}/object_features", f"{_VISUAL}/environment_features"
EXTRACTORS: dict[Modality, str] = {
    "text": "bert-large-uncased",
    "visual": "faces, objects, environment",
    "audio": "openSMILE",
}
FRAMES_PER_SECOND = 23.976
MOST_FACES_IGNORED = 10
"""So many faces of a character in a segment, or in a clip, are taken for none."""
_FACE_NAME = re.compile(r"(\d{1,9})_([^_]+)\.\w+", re.ASCII)


class Faces(NamedTuple):
    """The faces of a clip: (n,) frames, and the character of each, -1 if it is none of ours."""

    frames: np.ndarray
    characters: np.ndarray


class ClipCells:
    """The cells of clips, from the files of features in a folder.

    Attributes:
        widths: Modality -> width D; of the visual ones, once a clip with faces has been looked at.

    Raises:
        InputError: A file of text or audio features is missing or not what it should be.
    """

    def __init__(self, folder: Path, text_key: TextKey) -> None:
        self.folder, self._text_key = folder, text_key
        self._text, self._audio = (NamedVectors(folder / name) for name in (TEXT, AUDIO))
        self._parts: tuple[int, ...] = ()

    @property
    def widths(self) -> dict[Modality, int]:
        return {"text": self._text.width, "visual": sum(self._parts), "audio": self._audio.width}

    def of(self, clip: Clip, characters: frozenset[int]) -> Cells:
        """The cells of these characters in a clip, (D,) each; only those that there are.

        Raises:
            InputError: A file of the clip is missing or damaged, has other widths than those of
                other clips, or fewer faces than names.
        """
        speaking = [
            (segment.speaker, position)
            for position, segment in enumerate(clip.segments)
            if segment.speaker in characters
        ]
        audio = {cell: self._audio_name(clip, cell[1]) for cell in speaking}
        return {
            "text": {cell: self._text[self._text_name(clip, cell[1])] for cell in speaking},
            "visual": self._visual(clip, characters),
            "audio": {cell: self._audio[n] for cell, n in audio.items() if n in self._audio},
        }

    def check_text(self, clip: Clip, characters: frozenset[int]) -> None:
        """Refuse a clip of which some of these characters' text is not there."""
        for position, segment in enumerate(clip.segments):
            name = self._text_name(clip, position)
            if segment.speaker in characters and name not in self._text:
                raise InputError(
                    self._text.path,
                    name,
                    "text of every segment in which somebody speaks",
                    f"none among {len(self._text)}",
                    "Perhaps the segments are named by seg_ori_ind: option text_key: original.",
                )

    def find_widths(self, clip: Clip) -> bool:
        """Learn the widths of visual features from a clip that has faces; True when it is done."""
        self._parts = tuple(rows.shape[1] for rows in self._visual_arrays(clip, 0))
        return True

    def face_names(self, clip: Clip) -> Path:
        """Where a clip's faces are listed."""
        return self.folder / FACE_NAMES / f"{clip.name}.txt"

    def faces(self, clip: Clip) -> Faces:
        """Whose faces a clip has in which frames; none where they are too few to count.

        Raises:
            InputError: The list is missing, or a name is none of a frame and a character.
        """
        path = self.face_names(clip)
        frames: list[int] = []
        characters: list[int] = []
        number = {name: index for index, name in enumerate(CHARACTERS)}
        for name in filter(None, _first_line(path).strip().split("\t")):
            match = _FACE_NAME.fullmatch(name)
            if match is None:
                expected = "names such as 12_sheldon.jpg, with tabs between them"
                raise InputError(path, f"face {len(frames)}", expected, describe(name))
            frames.append(int(match[1]))
            characters.append(number.get(match[2].lower(), -1))
        kept = slice(None if len(frames) > MOST_FACES_IGNORED else 0)
        return Faces(np.array(frames, np.int64)[kept], np.array(characters, np.int64)[kept])

    def visual_files(self, clip: Clip) -> tuple[Path, ...]:
        """Where the features of a clip's faces, objects and environment stand."""
        return tuple(self.folder / part / f"{clip.name}.pt" for part in _PARTS)

    def _text_name(self, clip: Clip, position: int) -> str:
        named = position if self._text_key == "position" else clip.segments[position].original
        return f"{clip.name}+{named}"

    def _audio_name(self, clip: Clip, position: int) -> str:
        return f"{clip.name}+{clip.segments[position].original}"

    def _visual(self, clip: Clip, characters: frozenset[int]) -> dict[Cell, np.ndarray]:
        seen = self.faces(clip)
        if not len(seen.frames):
            return {}
        faces, *scene = self._visual_arrays(clip, len(seen.frames))
        for path, rows, width in zip(
            self.visual_files(clip), (faces, *scene), self._parts, strict=True
        ):
            if rows.shape[1] != width:
                expected = f"rows of width {width}, as of other clips"
                raise InputError(path, "", expected, describe(rows))
        cells = {}
        for position, segment in enumerate(clip.segments):
            begin, end = (
                int((time - clip.start) * FRAMES_PER_SECOND)
                for time in (segment.start, segment.end)
            )
            within = (begin <= seen.frames) & (seen.frames <= end)
            around = [_mean(rows[max(begin, 0) : max(end, 0)]) for rows in scene]
            for character in sorted(characters):
                own = np.flatnonzero(within & (seen.characters == character))
                if len(own) > MOST_FACES_IGNORED:
                    cells[character, position] = np.concatenate([_mean(faces[own]), *around])
        return cells

    def _visual_arrays(self, clip: Clip, faces: int) -> list[np.ndarray]:
        """Features of faces, objects and environment, (n, D) each, of at least so many faces."""
        paths = self.visual_files(clip)
        arrays = [_rows(path) for path in paths]
        if len(arrays[0]) < faces:
            expected = f"a row for each of the {faces} faces in {FACE_NAMES}/{clip.name}.txt"
            raise InputError(paths[0], "", expected, describe(arrays[0]))
        return arrays


_PARTS = (FACES, OBJECTS, ENVIRONMENT)


def _rows(path: Path) -> np.ndarray:
    """(n, D) of a file of `torch.save`: a tensor, or one vector per row."""
    value = read_torch(path)
    if isinstance(value, list | tuple) and len(value):
        vectors = all(is_numeric(v) and v.ndim == 1 and len(v) == len(value[0]) for v in value)
        value = np.stack(value) if vectors else value
    if not is_numeric(value) or value.ndim != 2 or value.shape[1] == 0:
        raise InputError(path, "", "a tensor with a vector in each row", describe(value))
    return value


def _mean(rows: np.ndarray) -> np.ndarray:
    """(D,) of (n, D); not finite without a row, which the sample table counts and makes 0."""
    if len(rows) == 0:
        return np.full(rows.shape[1], np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        return rows.mean(axis=0, dtype=np.float64)


def _first_line(path: Path) -> str:
    if not path.is_file():
        raise InputError(path, "", "a list of a clip's faces, empty if it has none", "no such file")
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline()
    except (OSError, UnicodeError) as error:
        raise InputError(path, "", "a text file", error) from error
