"""What evaluation costs at the size of CMU-MOSEI's test split: 4,659 samples in 678 videos.

Run: python benchmarks/evaluation.py
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from measure import best_of, machine, peak_memory_mb

from mmer.evaluation.baselines import fit_baselines
from mmer.evaluation.data_report import data_report
from mmer.evaluation.intervals import bootstrap_intervals, compare
from mmer.evaluation.metrics import evaluate
from mmer.evaluation.pooling import pooled_features
from mmer.samples.scores import Scores
from mmer.samples.table import MODALITIES, Features, Sample, TableInfo, open_table, write_table

SAMPLES, VIDEOS, RESAMPLES = 4659, 678, 10_000
LABELS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
RATES = np.array([0.54, 0.24, 0.23, 0.09, 0.17, 0.08])
WIDTHS = {"text": 300, "visual": 35, "audio": 74}
MEAN_STEPS = 20


def make_scores(generator: np.random.Generator) -> Scores:
    truth = (generator.random((SAMPLES, len(LABELS))) < RATES).astype(np.uint8)
    values = 0.3 * truth + 0.7 * generator.random(truth.shape)
    names = tuple(f"sample{i}" for i in range(SAMPLES))
    videos = tuple(f"video{i % VIDEOS}" for i in range(SAMPLES))
    return Scores(values, truth, names, videos, LABELS, "test", "weights", True)


def make_samples(scores: Scores, generator: np.random.Generator) -> Iterator[Sample]:
    for i, name in enumerate(scores.sample_ids):
        steps = 1 + generator.poisson(MEAN_STEPS - 1)
        features: dict[str, np.ndarray | None] = {
            m: generator.standard_normal((steps, width), dtype=np.float32)
            for m, width in WIDTHS.items()
        }
        yield Sample(name, scores.group_ids[i], features, scores.truth[i])


def make_table(folder: Path, scores: Scores, generator: np.random.Generator) -> pa.Table:
    features = {m: Features(m, WIDTHS[m]) for m in MODALITIES}
    info = TableInfo("benchmark", LABELS, features, "word", True)
    path = folder / "samples.arrow"
    write_table(path, info, make_samples(scores, generator))
    return open_table(path)


def main() -> None:
    generator = np.random.default_rng(0)
    first, second = make_scores(generator), make_scores(generator)
    second = replace(second, truth=first.truth, system="other")
    single = replace(first, group_ids=first.sample_ids)
    half = np.full(len(LABELS), 0.5)
    seconds = {
        "metrics": best_of(lambda: evaluate(first, half), 3),
        "intervals": best_of(lambda: bootstrap_intervals(first, half, resamples=RESAMPLES), 3),
        "comparison": best_of(lambda: compare(first, half, second, half, resamples=RESAMPLES), 3),
        "intervals, each sample its own group": best_of(
            lambda: bootstrap_intervals(single, half, resamples=RESAMPLES), 1
        ),
    }
    peak_of_bootstrap = peak_memory_mb()
    with tempfile.TemporaryDirectory() as folder:
        table = make_table(Path(folder), first, generator)
        seconds["mean pooling of the table"] = best_of(lambda: pooled_features(table), 3)
        seconds["fitting the baselines"] = best_of(lambda: fit_baselines(table), 1)
        tables = dict.fromkeys(("train", "valid", "test"), table)
        seconds["data report, per table"] = best_of(lambda: data_report(tables), 1) / 3
    report = {
        "machine": machine(),
        "samples": SAMPLES,
        "groups": VIDEOS,
        "labels": len(LABELS),
        "resamples": RESAMPLES,
        "table_mb": table.nbytes / 1e6,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "peak_memory_mb_up_to_bootstrap": round(peak_of_bootstrap, 1),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
