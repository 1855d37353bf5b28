"""A corpus from outside of the package: what adding one takes.

It has two modalities of its own, three persons, and no validation split. The processes that read
its files import this module by its name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from mmer.corpora.corpus import Corpus, CorpusSource, Ingestion
from mmer.samples.table import Features, Persons, Sample, Split
from mmer.schema import Settings

WIDTHS = {"pulse": 2, "skin": 3}
PERSONS = Persons(names=("Ann", "Ben", "Cleo"), traits=((0.1,), (0.2,), (0.3,)))


class LinesOptions(Settings):
    """How the file is read.

    Attributes:
        threshold: A label is present above it.
    """

    threshold: float = Field(0.5, gt=0)


class ToyIngestion(Ingestion):
    """The corpus has one reader, `lines`."""

    reader: Literal["lines"] = "lines"
    lines: LinesOptions = LinesOptions()


class ToySynthetic(Settings):
    """Size of the synthetic corpus."""

    seed: int = 1
    rows: int = 160


def write_toy(folder: Path, settings: ToySynthetic) -> dict[str, float]:
    """Rows of group, split, two label intensities and five features."""
    rng = np.random.default_rng(settings.seed)
    lines = []
    for i in range(settings.rows):
        labels = rng.random(2)
        features = rng.normal(size=5) + 3 * np.repeat(labels > 0.5, (2, 3))
        split = "test" if i % 4 == 3 else "train"
        lines.append(" ".join(map(str, (f"g{i % 20}-{split}", split, *labels, *features))))
    (folder / "toy.txt").write_text("\n".join(lines) + "\n")
    return {"micro_f1": 1.0}


def read_lines(path: Path, options: LinesOptions) -> CorpusSource:
    """A sample a line, of two steps that two persons show."""
    file = path / "toy.txt"
    rows = [line.split() for line in file.read_text().splitlines()]

    def read(split: Split, groups: Collection[str]) -> Iterator[Sample]:
        for number, (group, where, *values) in enumerate(rows):
            if where != split or group not in groups:
                continue
            intensity, features = np.array(values[:2], float), np.array(values[2:], np.float32)
            parts = dict(zip(WIDTHS, np.split(features, [2]), strict=True))
            yield Sample(
                sample_id=f"line {number}",
                group_id=group,
                features={m: np.stack([x, 2 * x]) for m, x in parts.items()},
                labels=(intensity > options.threshold).astype(np.uint8),
                person=number % 3,
                step_persons={m: np.array([number % 3, (number + 1) % 3]) for m in WIDTHS},
                step_segments={m: np.array([0, 1]) for m in WIDTHS},
            )

    splits: tuple[Split, ...] = ("train", "test")
    return CorpusSource(
        labels=("warm", "cold"),
        features={m: Features(name=f"toy {m}", width=width) for m, width in WIDTHS.items()},
        alignment="utterance",
        files=(file,),
        groups={s: tuple(dict.fromkeys(r[0] for r in rows if r[1] == s)) for s in splits},
        read=read,
        groups_per_task=4,
        persons=PERSONS,
    )


TOY_CORPUS = Corpus(
    title="Toy corpus",
    ingestion=ToyIngestion,
    readers={"lines": read_lines},
    synthetic=ToySynthetic,
    write_synthetic=write_toy,
    download_instructions="There is nothing to download.",
)
