"""What evaluation costs at the size of CMU-MOSEI's test split: 4,659 samples in 678 videos.

Run with `python benchmarks/evaluation.py`; prints one JSON object.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from measure import peak_memory_mb, show, spread, timed
from workload import LABELS, RATES, TEST_SAMPLES, WIDTHS, scores_info, table_info

from mmer.corpora import CORPORA
from mmer.corpora.data_report import data_report
from mmer.metrics.intervals import RESAMPLES, bootstrap_intervals, compare
from mmer.metrics.metrics import evaluate
from mmer.metrics.resampled import Judged
from mmer.metrics.scores import Scores
from mmer.samples.batches import pack
from mmer.samples.table import SPLITS, Sample, SampleTable, Split, write_table
from mmer.systems.linear.system import LinearSettings, LogisticRegressionSystem, pooled_features

VIDEOS, MEAN_STEPS = 678, 20


def make_scores(title: str, truth: np.ndarray, generator: np.random.Generator) -> Scores:
    values = 0.3 * truth + 0.7 * generator.random(truth.shape)
    names = tuple(f"sample{i}" for i in range(TEST_SAMPLES))
    videos = tuple(f"video{i % VIDEOS}" for i in range(TEST_SAMPLES))
    return Scores(scores_info("test", title), values, truth, names, videos)


def make_samples(
    split: Split, truth: np.ndarray, generator: np.random.Generator
) -> Iterator[Sample]:
    for i, labels in enumerate(truth):
        steps = 1 + generator.poisson(MEAN_STEPS - 1)
        features: dict[str, np.ndarray | None] = {
            m: generator.standard_normal((steps, width), dtype=np.float32)
            for m, width in WIDTHS.items()
        }
        yield Sample(f"{split}{i}", f"{split} video{i % VIDEOS}", features, labels)


def bootstrap(truth: np.ndarray, generator: np.random.Generator) -> dict[str, object]:
    """Times of metrics, intervals and comparison."""
    first, second = (make_scores(title, truth, generator) for title in ("one", "other"))
    single = replace(first, group_ids=first.sample_ids)
    half = np.full(len(LABELS), 0.5)
    one, other, alone = (Judged(scores, half) for scores in (first, second, single))
    calls = {
        "metrics": lambda: evaluate(first, half),
        "intervals": lambda: bootstrap_intervals(one),
        "comparison": lambda: compare(one, [other]),
        "intervals, each sample its own group": lambda: bootstrap_intervals(alone),
    }
    return {name: spread(timed(call)) for name, call in calls.items()}


def on_tables(tables: dict[Split, SampleTable]) -> dict[str, object]:
    """Times of what is done with sample tables of as many samples each."""
    samples, system = pack(tables["train"]), LogisticRegressionSystem()
    corpus = next(iter(CORPORA.values()))
    calls = {
        "packing of a table": lambda: pack(tables["train"]),
        "mean pooling of a table": lambda: pooled_features(samples, "mean"),
        "logistic regression on a table": lambda: system.fit(samples, samples, LinearSettings()),
        "data report of three tables": lambda: data_report(tables, corpus),
    }
    return {name: spread(timed(call)) for name, call in calls.items()}


def main() -> None:
    generator = np.random.default_rng(0)
    truth = (generator.random((TEST_SAMPLES, len(LABELS))) < RATES).astype(np.uint8)
    times = bootstrap(truth, generator)
    peak_of_bootstrap = peak_memory_mb()
    with tempfile.TemporaryDirectory() as folder:
        tables = {
            split: write_table(
                Path(folder, split), table_info(split), make_samples(split, truth, generator)
            )
            for split in SPLITS
        }
        times |= on_tables(tables)
        table_mb = tables["train"].arrow().nbytes / 1e6
    show(
        "evaluation",
        samples=TEST_SAMPLES,
        groups=VIDEOS,
        labels=len(LABELS),
        resamples=RESAMPLES,
        table_mb=table_mb,
        times=times,
        peak_memory_mb_up_to_bootstrap=peak_of_bootstrap,
        peak_memory_mb=peak_memory_mb(),
    )


if __name__ == "__main__":
    main()
