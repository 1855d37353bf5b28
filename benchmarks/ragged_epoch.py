"""Training steps per second over samples as ragged as CMU-MOSEI's, by way of batching.

Run with `python benchmarks/ragged_epoch.py --device cpu|cuda`; prints one JSON object. Lengths are
log-normal with a median of 20 words, cut at 60 as published. Each way runs the same
samples through the whole training step, gathering included:

- length_aware: samples of like length together, padded to the longest in the batch;
- shuffled: plain shuffling, padded to the longest in the batch;
- fixed: plain shuffling, padded to 60, as the published program does.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch
from measure import Clock, show, spread, timed
from torch.nn.functional import pad
from torch.utils.benchmark import Measurement
from workload import BATCH, LABELS, LENGTH, WIDTHS, TrainingStep, paper_network, table_info

from mmer.samples.batches import Batch, Samples, length_aware_batches, samples_of
from mmer.training.loop import repeatable

SAMPLES = {"cpu": 1024, "cuda": 16384}
MEDIAN_LENGTH, SPREAD = 20, 0.6


def ragged_samples(count: int) -> Samples:
    """Random features; the modalities share their lengths, as in a word-aligned corpus."""
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


def padded_to(batch: Batch, length: int) -> Batch:
    return replace(
        batch,
        features={m: pad(x, (0, 0, 0, length - x.shape[1])) for m, x in batch.features.items()},
        masks={m: pad(x, (0, length - x.shape[1])) for m, x in batch.masks.items()},
    )


def ways_to_batch(samples: Samples) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(1)
    order = rng.permutation(len(samples))
    shuffled = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
    aware = length_aware_batches(samples.longest, BATCH, rng)
    return {"length_aware": aware, "shuffled": shuffled, "fixed": shuffled}


def measure_way(
    step: TrainingStep, samples: Samples, way: str, batches: list[np.ndarray]
) -> tuple[Measurement, dict[str, object]]:
    """Epochs' times, and what is said of them; gathering is timed inside them."""
    clock = Clock(samples.device.type)

    def epoch() -> None:
        clock.mark(None)
        for index in batches:
            batch = samples.gather(index)
            if way == "fixed":
                batch = padded_to(batch, LENGTH)
            clock.mark("gathering")
            step(batch)
            clock.mark("step")

    measured, parts = timed(epoch, 30), clock.seconds()
    lengths = samples.longest
    computed = sum(
        len(index) * (LENGTH if way == "fixed" else lengths[index].max()) for index in batches
    )
    return measured, {
        "epoch": spread(measured),
        "steps_per_s": len(batches) / measured.median,
        "samples_per_s": len(samples) / measured.median,
        "share_of_gathering": parts["gathering"] / sum(parts.values()),
        "share_of_padding": 1 - int(lengths.sum()) / int(computed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device = parser.parse_args().device
    samples = ragged_samples(SAMPLES[device]).to(torch.device(device))
    step = TrainingStep(paper_network(device))
    with repeatable(torch.device(device)):
        found = {
            way: measure_way(step, samples, way, batches)
            for way, batches in ways_to_batch(samples).items()
        }
    times = {way: measured.median for way, (measured, _) in found.items()}
    show(
        "ragged_epoch",
        device=device,
        samples=len(samples),
        batch=BATCH,
        mean_length=float(samples.longest.mean()),
        ways={way: said for way, (_, said) in found.items()},
        length_aware_times_faster={
            way: times[way] / times["length_aware"] for way in ("shuffled", "fixed")
        },
    )


if __name__ == "__main__":
    main()
