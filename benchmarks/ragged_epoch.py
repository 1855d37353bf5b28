"""Training steps per second over samples as ragged as CMU-MOSEI's, by way of batching.

Run with `python benchmarks/ragged_epoch.py --device cpu|cuda`; prints one JSON object. Lengths are
log-normal with a median of 20 words, cut at 60 as published. Each way runs the same
samples once through the whole training step, gathering included:

- length_aware: samples of like length together, padded to the longest in the batch;
- shuffled: plain shuffling, padded to the longest in the batch;
- fixed: plain shuffling, padded to 60, as the published program does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable

import numpy as np
import torch
from measure import best_of, machine
from torch.nn.functional import pad
from workload import BATCH, LABELS, LENGTH, WIDTHS, TrainingStep, paper_network

from mmer.models.settings import MODALITIES
from mmer.samples.batches import Batch, PackedSamples, length_aware_batches

SAMPLES = {"cpu": 1024, "cuda": 16384}
MEDIAN_LENGTH, SPREAD = 20, 0.6


def ragged_samples(count: int) -> PackedSamples:
    """Random features; the modalities share their lengths, as in a word-aligned corpus."""
    rng = np.random.default_rng(0)
    drawn = rng.lognormal(np.log(MEDIAN_LENGTH), SPREAD, count)
    lengths = np.clip(drawn.round(), 1, LENGTH).astype(np.int64)
    starts = torch.from_numpy(np.cumsum(lengths) - lengths)
    generator = torch.Generator().manual_seed(0)
    rows = int(lengths.sum())
    return PackedSamples(
        {m: torch.randn(rows, WIDTHS[m], generator=generator) for m in MODALITIES},
        dict.fromkeys(MODALITIES, starts),
        dict.fromkeys(MODALITIES, torch.from_numpy(lengths)),
        (torch.rand(count, LABELS, generator=generator) < 0.25).float(),
        dict.fromkeys(MODALITIES, lengths),
    )


def padded_to(batch: Batch, length: int) -> Batch:
    missing = length - batch.masks["text"].shape[1]
    return Batch(
        {m: pad(x, (0, 0, 0, missing)) for m, x in batch.features.items()},
        {m: pad(x, (0, missing)) for m, x in batch.masks.items()},
        batch.labels,
    )


def epochs(samples: PackedSamples) -> dict[str, Iterable[np.ndarray]]:
    rng = np.random.default_rng(1)
    order = rng.permutation(len(samples))
    shuffled = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
    aware = length_aware_batches(samples.longest, BATCH, rng)
    return {"length_aware": aware, "shuffled": shuffled, "fixed": shuffled}


def measure_way(step: TrainingStep, samples: PackedSamples, way: str, batches: list) -> dict:
    def gather(index: np.ndarray) -> Batch:
        batch = samples.gather(index)
        return padded_to(batch, LENGTH) if way == "fixed" else batch

    def epoch() -> None:
        for index in batches:
            step(gather(index))

    step(gather(batches[0]))
    seconds = best_of(epoch, 1)
    gather_s = best_of(lambda: [gather(index) for index in batches], 1)
    steps_computed = sum(gather(index).masks["text"].numel() for index in batches)
    return {
        "steps_per_s": len(batches) / seconds,
        "samples_per_s": len(samples) / seconds,
        "share_of_gathering": gather_s / seconds,
        "share_of_padding": 1 - int(samples.host_lengths["text"].sum()) / steps_computed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device = parser.parse_args().device
    samples = ragged_samples(SAMPLES[device]).to(torch.device(device))
    step = TrainingStep(paper_network(device))
    ways = {
        way: measure_way(step, samples, way, list(batches))
        for way, batches in epochs(samples).items()
    }
    aware = ways["length_aware"]["steps_per_s"]
    report = {
        "benchmark": "ragged_epoch",
        "machine": machine(),
        "device": device,
        "samples": len(samples),
        "batch": BATCH,
        "mean_length": float(samples.longest.mean()),
        "ways": ways,
        "length_aware_times_faster": {
            way: aware / ways[way]["steps_per_s"] for way in ("shuffled", "fixed")
        },
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
