"""A few clips in MEmoR's official files, written by hand, that a test may change before."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from mmer.corpora.corpus import CorpusSource
from mmer.corpora.memor.reader import MemorOptions, read_memor

FRAMES = 72  # three seconds
WIDTHS = {"face": 3, "object": 2, "environment": 1, "text": 4, "audio": 5}
SHELDON, LEONARD, HOWARD, RAJESH, PENNY = range(5)


def clip(speakers: list[int], on_screen: list[int], start: float = 100.0) -> dict:
    """Segments of a second each, whose original numbers begin at 7."""
    times = [start + i for i in range(len(speakers) + 1)]
    return {
        "on_character": on_screen,
        "seg_start": times[:-1],
        "seg_end": times[1:],
        "start": start,
        "speakers": speakers,
        "seg_ori_ind": [7 + i for i in range(len(speakers))],
    }


def faces(*shown: tuple[str, int, int]) -> list[str]:
    """Names of so many faces of a character in the frames from a segment's second on."""
    return [f"{24 * s + 1 + i:05}_{who}.jpg" for who, s, count in shown for i in range(count)]


@dataclass
class Files:
    """The content of all files of a folder.

    Clip `one`: Penny and Howard are on screen in three segments, where Penny, Sheldon (off screen)
    and Howard speak; Penny is seen in the first, Howard in the first and the third, and ten faces
    of Penny are in the second. `two`: Leonard alone is heard, nobody is seen. `three`: Penny is
    heard without audio, and seen. `four` is as `three`.
    """

    folder: Path
    clips: dict = field(default_factory=dict)
    annotations: dict[str, list] = field(default_factory=dict)
    ids: dict[str, list] = field(default_factory=dict)
    faces: dict[str, list[str]] = field(default_factory=dict)
    visual: dict[str, dict[str, object]] = field(default_factory=dict)
    text: dict[str, list] = field(default_factory=dict)
    audio: dict[str, list] = field(default_factory=dict)
    traits: str = ""

    def __post_init__(self) -> None:
        rng = np.random.default_rng(1)
        self.clips = {
            "one": clip([PENNY, SHELDON, HOWARD], [PENNY, HOWARD]),
            "two": clip([LEONARD], [LEONARD]),
            "three": clip([PENNY], [PENNY]),
            "four": clip([PENNY], [PENNY]),
            "unused": clip([PENNY], [PENNY]),
        }
        rows = [
            ("one", PENNY, 100.5, "joy"),
            ("one", PENNY, 102.5, "fear"),
            ("one", RAJESH, 101.5, "trust"),
            ("two", LEONARD, 100.2, "neutral"),
            ("three", PENNY, 100.2, "anger"),
            ("four", PENNY, 100.2, "sadness"),
        ]
        names = ("clip", "character", "moment", "emotion")
        primary = [dict(zip(names, row, strict=True)) for row in rows]
        fine = [{**row, "emotion": "serenity"} if i == 0 else row for i, row in enumerate(primary)]
        self.annotations = {"primary": primary, "fine_grained": fine}
        self.ids = {"train_id.txt": [0, 1, 2, 3], "test_id.txt": [4, 5]}
        self.faces = {
            "one": faces(("Penny", 0, 12), ("howard", 0, 11), ("Penny", 1, 10), ("howard", 2, 15)),
            "two": faces(("leonard", 0, 10)),
            "three": faces(("penny", 0, 20), ("somebody", 0, 20)),
            "four": faces(("penny", 0, 20)),
        }
        for name, named in self.faces.items():
            if len(named) > 10:
                sizes = {"face": len(named), "object": FRAMES, "environment": FRAMES}
                self.visual[name] = {
                    part: rng.normal(size=(size, WIDTHS[part])).astype(np.float32)
                    for part, size in sizes.items()
                }
        for name, what in self.clips.items():
            for i, original in enumerate(what["seg_ori_ind"]):
                self.text[f"{name}+{i}"] = rng.normal(size=WIDTHS["text"]).tolist()
                self.audio[f"{name}+{original}"] = rng.normal(size=WIDTHS["audio"]).tolist()
        del self.audio["three+7"]
        numbers = rng.uniform(1, 5, (8, 6))
        self.traits = "\n".join(",".join(map(str, row)) for row in numbers.tolist()) + "\n"

    def write(self) -> Path:
        """Write everything as it is by now."""
        features = self.folder / "features"
        for name, content in (("anno", self.annotations), ("data", self.clips)):
            (self.folder / f"{name}.json").write_text(json.dumps(content))
        for name, ids in self.ids.items():
            (self.folder / name).write_text("".join(f"{one}\n" for one in ids))
        parts = ("face_names", "face_features", "object_features", "environment_features")
        for part in parts:
            (features / "visual_features" / part).mkdir(parents=True, exist_ok=True)
        for name, named in self.faces.items():
            path = features / "visual_features/face_names" / f"{name}.txt"
            path.write_text("\t".join(named) + "\n")
        for name, arrays in self.visual.items():
            for part, rows in arrays.items():
                path = features / "visual_features" / f"{part}_features" / f"{name}.pt"
                torch.save(torch.from_numpy(rows) if isinstance(rows, np.ndarray) else rows, path)
        for name, vectors in (("text", self.text), ("audio", self.audio)):
            (features / f"{name}_features.json").write_text(json.dumps(vectors))
        (features / "character_features.csv").write_text(self.traits)
        return self.folder

    def read(self, **options: object) -> CorpusSource:
        """Write everything, and open it."""
        return read_memor(self.write(), MemorOptions(**options))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)
