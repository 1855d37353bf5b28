"""What many tests start from: a small sample table with something to learn in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmer.samples.table import MODALITIES, Features, Sample, TableInfo, open_table, write_table

LABELS = ("happy", "sad", "anger")
WIDTHS = {"text": 6, "visual": 4, "audio": 5}


def make_info(fingerprint: str = "made-for-tests") -> TableInfo:
    features = {m: Features(f"test {m}", WIDTHS[m]) for m in MODALITIES}
    return TableInfo("toy", LABELS, features, "word", True, {"toy.bin": "0" * 64}, fingerprint)


def make_samples(count: int, seed: int = 0) -> list[Sample]:
    """Samples of 1 to 9 steps; label k raises feature k of modality k in one of the steps."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(count):
        length = int(rng.integers(1, 10))
        features: dict[str, np.ndarray | None] = {
            m: rng.normal(size=(length, WIDTHS[m])).astype(np.float32) for m in MODALITIES
        }
        labels = (rng.random(len(LABELS)) < 0.4).astype(np.uint8)
        for k, modality in enumerate(MODALITIES):
            rows = features[modality]
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


@pytest.fixture
def toy_info() -> TableInfo:
    return make_info()


@pytest.fixture
def toy_samples() -> Callable[..., list[Sample]]:
    return make_samples


@pytest.fixture
def toy_table(tmp_path: Path) -> Callable[..., pa.Table]:
    """Write a toy table of `count` samples and open it by memory map."""

    def table(count: int, seed: int = 0) -> pa.Table:
        path = tmp_path / f"toy-{count}-{seed}.arrow"
        write_table(path, make_info(), make_samples(count, seed))
        return open_table(path)

    return table
