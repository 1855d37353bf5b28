"""Broken files of a corpus whose folder holds JSON, tables of numbers and files of torch.save."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import hostile
import look_alikes
import mutations
import numpy as np
import torch

from mmer.corpora import CORPORA
from mmer.corpora.corpus import Ingestion
from mmer.corpora.memor.annotations import ANNOTATIONS, CLIPS, TEST_IDS, TRAIN_IDS

_LABELLING = {ANNOTATIONS, CLIPS, TRAIN_IDS, TEST_IDS}
_COSTLY_JSON = ("[" * 100_000, '{"a":' * 50_000, '{"a": 1e999999999}', f"[{'9' * 100_000}]")


@dataclass(frozen=True)
class FolderFormat:
    """The folder of MEmoR's official files, one of them broken.

    Attributes:
        folder: Where the good files go, and where a broken one takes a good one's place.
    """

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "good").mkdir(parents=True)
        look_alikes.FOLDERS["memor", "official"](self.folder / "good", np.random.default_rng(0))
        shutil.copytree(self.folder / "good", self.folder / "broken")

    @property
    def corpus(self) -> str:
        return "memor"

    @property
    def settings(self) -> Ingestion:
        return CORPORA["memor"].ingestion()

    @cached_property
    def files(self) -> list[str]:
        """The files, those that say what is where twice as often as those of one clip."""
        good = self.folder / "good"
        every = sorted(str(f.relative_to(good)) for f in good.rglob("*") if f.is_file())
        common = [name for name in every if not name.endswith(".pt")]
        objects = [name for name in every if name.endswith(".pt")]
        return [*common, *objects[: len(common) // 2]]

    def make(self, rng: np.random.Generator, number: int, path: Path) -> bool:
        """Write the broken file of this number."""
        name = self.files[int(rng.integers(len(self.files)))]
        good = self.folder / "good" / name
        if rng.random() < 0.5:
            path.write_bytes(mutations.break_bytes(rng, good.read_bytes()))
        elif name.endswith(".json"):
            path.write_text(_broken_json(rng, json.loads(good.read_text())))
        elif name.endswith(".pt"):
            self._break_objects(rng, good, path)
        else:
            path.write_text(_broken_lines(rng, good.read_text()))
        path.with_name("place").write_text(name)
        return True

    def put(self, path: Path | None) -> Path:
        """The corpus with this file in its place, or without any broken one."""
        before = self.folder / "place"
        if before.exists():
            shutil.copy(self.folder / "good" / before.read_text(), self._broken(before))
            before.unlink()
        if path:
            shutil.copy(path.with_name("place"), before)
            shutil.copy(path, self._broken(before))
        return self.folder / "broken"

    def labels_are_known(self, path: Path) -> bool:
        """Whether the labels cannot have changed: another file was broken."""
        return path.with_name("place").read_text() not in _LABELLING

    def name_of(self, row: dict) -> str | None:
        return row["sample_id"]

    def compare(self, path: Path) -> str:
        return "read"

    def _broken(self, place: Path) -> Path:
        return self.folder / "broken" / place.read_text()

    def _break_objects(self, rng: np.random.Generator, good: Path, path: Path) -> None:
        content = torch.load(good, weights_only=False)
        hostile_objects = mutations.intruders(path.with_name("canary"))
        kinds: list[Callable[[], object]] = [
            lambda: mutations.break_objects(rng, {"all": content, "b": 0, "c": 0}).get("all"),
            lambda: hostile_objects[int(rng.integers(len(hostile_objects)))],
        ]
        if rng.random() < 0.2:
            written = list(hostile.that_run_code(path.with_name("canary")).values())
            path.write_bytes(b"\x80\x04" + written[int(rng.integers(len(written)))] + b".")
        else:
            look_alikes.write_torch(path, kinds[int(rng.integers(2))]())


def _broken_json(rng: np.random.Generator, content: object) -> str:
    if rng.random() < 0.1:
        return _COSTLY_JSON[int(rng.integers(len(_COSTLY_JSON)))]
    return json.dumps(mutations.break_objects(rng, content), default=str)


def _broken_lines(rng: np.random.Generator, content: str) -> str:
    """A line left out, twice, shuffled or with another number in it."""
    lines = content.splitlines()
    at = int(rng.integers(len(lines)))
    kind = int(rng.integers(4))
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, lines[at])
    elif kind == 2:
        rng.shuffle(lines)
    else:
        value = mutations.WRONG_VALUES[int(rng.integers(len(mutations.WRONG_VALUES)))]
        lines[at] = ",".join([str(value), *lines[at].split(",")[1:]])
    return "\n".join(lines)
