"""What many tests start from: a small sample table with something to learn in it."""

from __future__ import annotations

import os

# Threads of several tests on few cores would wait for each other; before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmer.files import locked
from mmer.metrics.scores import Scores, ScoresInfo
from mmer.registry import tracking
from mmer.samples.table import Features, Sample, SampleTable, Split, TableInfo, write_table

LABELS = ("happy", "sad", "anger")
WIDTHS = {"text": 6, "visual": 4, "audio": 5}


def make_info(split: Split = "train", fingerprint: str = "made-for-tests") -> TableInfo:
    return TableInfo(
        corpus="toy",
        split=split,
        labels=LABELS,
        features={m: Features(name=f"test {m}", width=width) for m, width in WIDTHS.items()},
        alignment="word",
        synthetic=True,
        fingerprint=fingerprint,
    )


def make_samples(count: int, seed: int = 0) -> list[Sample]:
    """Samples of 1 to 9 steps; label k raises feature k of modality k in one of the steps."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(count):
        length = int(rng.integers(1, 10))
        features: dict[str, np.ndarray | None] = {
            m: rng.normal(size=(length, width)).astype(np.float32) for m, width in WIDTHS.items()
        }
        labels = (rng.random(len(LABELS)) < 0.4).astype(np.uint8)
        for k, rows in enumerate(features.values()):
            if labels[k] and rows is not None:
                rows[rng.integers(length), k] += 6
        samples.append(
            Sample(
                sample_id=f"video{i // 3}[{i % 3}]",
                group_id=f"video{i // 3}",
                features=features,
                labels=labels,
                start=float(i),
                end=float(i + 1),
                words=[f"word{t}" for t in range(length)],
            )
        )
    return samples


def make_scores(
    scores: np.ndarray, truth: np.ndarray, split: Split = "valid", *, groups_of: int = 3, **info
) -> Scores:
    """Scores (N, L) as of a toy system; consecutive samples form groups."""
    labels = tuple(f"label {k}" for k in range(truth.shape[1]))
    names = tuple(f"sample {i}" for i in range(len(truth)))
    told = {
        "system": "toy",
        "title": "Toy",
        "model": "digest-of-toy",
        "corpus": "toy",
        "split": split,
        "labels": labels,
        "fingerprint": "made-for-tests",
        "synthetic": True,
        **info,
    }
    groups = tuple(f"group {i // groups_of}" for i in range(len(truth)))
    return Scores(ScoresInfo(**told), scores, truth.astype(np.uint8), names, groups)


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, to be copied: making one takes seconds. All workers share it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / "empty" / "mlflow.db"
    path.parent.mkdir(exist_ok=True)
    with locked(path.with_suffix(".lock"), "Another worker makes MLflow's database"):
        tracking.connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def toy_info() -> TableInfo:
    return make_info()


@pytest.fixture
def toy_samples() -> Callable[..., list[Sample]]:
    return make_samples


@pytest.fixture(scope="session")
def toy_scores() -> Callable[..., Scores]:
    return make_scores


@pytest.fixture
def toy_table(tmp_path: Path) -> Callable[..., SampleTable]:
    """Write a toy table of `count` samples and open it by memory map."""

    def table(count: int, seed: int = 0, split: Split = "train") -> SampleTable:
        path = tmp_path / f"toy-{split}-{count}-{seed}.arrow"
        return write_table(path, make_info(split), make_samples(count, seed))

    return table
