"""A corpus of text files, for tests; processes of their own import it by this name.

A line is a group: `<split> <group>`. Files of some names in the corpus's folder make reading go
wrong in some way.
"""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from pydantic import PositiveInt

from mmer.corpora.corpus import Corpus, CorpusSource, Ingestion
from mmer.samples.table import SPLITS, Features, Sample, Split
from mmer.schema import Settings


class TextOptions(Settings):
    """How many steps a sample has, and how long a group takes to read."""

    steps: PositiveInt = 3
    seconds: float = 0.0


class TextIngestion(Ingestion):
    """One reader."""

    reader: str = "text"
    text: TextOptions = TextOptions()


class TextSynthetic(Settings):
    """Nothing to be set."""

    seed: int = 1


def write_text_corpus(folder: Path, settings: TextSynthetic) -> dict[str, float]:
    """Twenty groups for training, two for testing."""
    lines = [f"train g{i}" for i in range(20)] + ["test t0", "test t1"]
    (folder / "a.txt").write_text("\n".join(lines) + "\n")
    return {"micro_f1": 1.0}


def read_text(path: Path, options: TextOptions) -> CorpusSource:
    """A line per group, `split group`: two samples of each."""
    files = sorted(path.rglob("*.txt"))
    lines = [line.split() for file in files for line in file.read_text().splitlines()]
    groups = {
        split: tuple(group for s, group in lines if s == split)
        for split in SPLITS
        if any(s == split for s, _ in lines)
    }

    def read(split: Split, wanted: Collection[str]) -> Iterator[Sample]:
        for group in filter(set(wanted).__contains__, groups[split]):
            time.sleep(options.seconds)
            for i in range(2):
                rows = np.full((options.steps, 2), i, np.float32)
                yield Sample(f"{group}.{i}", group, {"gait": rows}, np.array([i], np.uint8))
                go_wrong(path)

    return CorpusSource(
        labels=("even",),
        features={"gait": Features(name="steps", width=2)},
        alignment="none",
        files=tuple(files),
        groups=groups,
        read=read,
        groups_per_task=6,
        notes=("the files are short",),
    )


def go_wrong(path: Path) -> None:
    """As a file in the folder says, once, by its name."""
    if (path / "rewrite").is_file():
        (path / "more" / "a.txt").write_text("train x\n")
    if (path / "swap and swap back").is_file():
        real, other = path / "more" / "a.txt", path / "more" / "other"
        real.rename(path / "more" / "aside")
        other.write_text("train x\n")
        other.rename(real)
        (path / "more" / "aside").rename(real)
    with suppress(FileNotFoundError):
        worker = int((path / "kill this worker").read_text())
        (path / "kill this worker").unlink()
        os.kill(worker, signal.SIGKILL)
    if (path / "cut what is mapped").is_file():
        with (path / "more" / "a.txt").open("rb+") as file:
            mapped = mmap.mmap(file.fileno(), 0)
            file.truncate(0)
            bytes(mapped)


CORPUS = Corpus(
    title="Text",
    ingestion=TextIngestion,
    readers={"text": read_text},
    synthetic=TextSynthetic,
    write_synthetic=write_text_corpus,
    download_instructions="There is nothing to download.",
)
