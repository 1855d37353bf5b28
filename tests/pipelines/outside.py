"""A corpus and a system from outside of the package: what adding one of each takes.

The corpus has two modalities of its own, three persons, and no validation split; the system guesses
a label where a sample's largest feature is among those of the training samples that have it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from mmer.corpora.corpus import Corpus, CorpusSource, Ingestion
from mmer.samples.batches import Present, Samples
from mmer.samples.table import Features, Persons, Sample, Split
from mmer.schema import Settings
from mmer.systems.contract import Attention, Fit, FittedSystem, System
from mmer.training.history import History

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

    def read(split: Split):
        for number, (group, where, *values) in enumerate(rows):
            if where != split:
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
        persons=PERSONS,
    )


TOY_CORPUS = Corpus(
    title="Toy corpus",
    ingestion=ToyIngestion,
    readers={"lines": read_lines},
    synthetic=ToySynthetic,
    write_synthetic=write_toy,
    download_instructions="There is nothing to download.",
    code=(),
)


class NearestSettings(Settings):
    """Of the toy system.

    Attributes:
        sharpness: Of the scores.
    """

    sharpness: float = Field(1.0, gt=0)


class NearestMean(System):
    """Scores by which of two means, of samples with and without the label, is nearer."""

    name = "nearest"
    title = "Nearest mean"
    settings = NearestSettings

    def fit(self, train: Samples, valid: Samples, settings: NearestSettings) -> Fit:
        pooled, truth = pooled_means(train, None), train.labels.numpy() > 0
        means = np.stack(
            [[pooled[column].mean(axis=0), pooled[~column].mean(axis=0)] for column in truth.T]
        )
        arrays = {"means": torch.from_numpy(means)}
        return Fit(FittedSystem(self.info(train, settings), arrays), History())

    def scorer(self, fitted: FittedSystem, device: torch.device) -> NearestScorer:
        return NearestScorer(fitted)


class NearestScorer:
    def __init__(self, fitted: FittedSystem) -> None:
        self.means = fitted.arrays["means"].numpy()
        self.sharpness = fitted.info.settings["sharpness"]

    def scores(self, samples: Samples, present: Present | None = None) -> np.ndarray:
        pooled = pooled_means(samples, present)
        distance = ((pooled[:, None, None] - self.means) ** 2).sum(axis=-1)  # (N, L, 2)
        return 1 / (1 + np.exp(self.sharpness * (distance[..., 0] - distance[..., 1])))

    def attention(self, samples: Samples, index: np.ndarray) -> list[Attention]:
        return []


def pooled_means(samples: Samples, present: Present | None) -> np.ndarray:
    """(N, sum D): the first step of each modality, zeros where it is hidden."""
    parts = []
    for modality in samples.modalities:
        rows = samples.values[modality].numpy()[samples.starts[modality].numpy()]
        shown = (present or {}).get(modality, np.ones(len(samples), bool))
        parts.append(np.where(shown[:, None], rows, 0))
    return np.concatenate(parts, axis=1)
