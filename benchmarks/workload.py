"""What the benchmarks work on: CARAT at the paper's sizes, and data as large as CMU-MOSEI's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from mmer.metrics.scores import ScoresInfo
from mmer.samples.batches import Batch, Samples, samples_of
from mmer.samples.table import Features, Split, TableInfo
from mmer.systems.carat.network import Carat
from mmer.systems.carat.settings import CaratNetwork
from mmer.training.loop import take_step
from mmer.training.network import Network
from mmer.training.settings import TrainingSettings
from mmer.training.state import TrainingState

LABELS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
RATES = np.array([0.54, 0.24, 0.23, 0.09, 0.17, 0.08])
WIDTHS = {"text": 300, "visual": 35, "audio": 74}
BATCH, LENGTH = 64, 60
TEST_SAMPLES = 4659
MEDIAN_LENGTH, SPREAD = 20, 0.6


def paper_network(device: str, max_length: int = LENGTH) -> Carat:
    """The default settings are the paper's."""
    torch.manual_seed(0)
    return Carat(CaratNetwork(max_length=max_length), WIDTHS, len(LABELS)).to(device)


def random_batch(batch: int, length: int, device: str) -> Batch:
    """Samples that all have the full length."""
    generator = torch.Generator().manual_seed(0)
    features = {m: torch.randn(batch, length, d, generator=generator) for m, d in WIDTHS.items()}
    masks = {m: torch.ones(batch, length, dtype=torch.bool) for m in WIDTHS}
    labels = (torch.rand(batch, len(LABELS), generator=generator) < 0.25).float()
    return Batch(features, masks, labels).to(torch.device(device))


def ragged_samples(count: int) -> Samples:
    """Random features as long as CMU-MOSEI's; the modalities share lengths, as aligned words do."""
    rng = np.random.default_rng(0)
    drawn = rng.lognormal(np.log(MEDIAN_LENGTH), SPREAD, count)
    lengths = np.clip(drawn.round(), 1, LENGTH).astype(np.int64)
    features = {
        m: [rng.standard_normal((length, width), np.float32) for length in lengths]
        for m, width in WIDTHS.items()
    }
    samples = samples_of(table_info("train"), features, tuple(map(str, range(count))))
    labels = torch.from_numpy(rng.random((count, len(LABELS))) < 0.25)
    return replace(samples, labels=labels.float())


class TrainingStep:
    """What the training loop does with a batch.

    Args:
        network: Trained in place.
        bfloat16: Under autocast.
        compiled: Through `torch.compile`.

    Attributes:
        state: Of the training, at its beginning.
    """

    def __init__(self, network: Network, *, bfloat16: bool = False, compiled: bool = False) -> None:
        self.bfloat16 = bfloat16
        settings = TrainingSettings(compile=compiled)
        self.state = TrainingState(network.train(), settings, num_samples=500 * BATCH)

    def __call__(self, batch: Batch) -> None:
        self.state.end_step(take_step(self.state, batch, self.bfloat16))


def table_info(split: Split) -> TableInfo:
    """Of tables with random numbers in them."""
    return TableInfo(
        corpus="benchmark",
        split=split,
        labels=LABELS,
        features={m: Features(name="random numbers", width=d) for m, d in WIDTHS.items()},
        alignment="word",
        synthetic=True,
        fingerprint="benchmark",
    )


def scores_info(split: Split, title: str = "Benchmark") -> ScoresInfo:
    """Of scores that no system gave."""
    return ScoresInfo(
        system="benchmark",
        title=title,
        model=title,
        corpus="benchmark",
        split=split,
        labels=LABELS,
        fingerprint="benchmark",
        synthetic=True,
    )
