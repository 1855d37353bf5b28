"""Training steps per second over samples as ragged as CMU-MOSEI's, by way of batching.

Run with `python benchmarks/ragged_epoch.py --device cpu|cuda`; prints one JSON object. Lengths are
log-normal with a median of 20 words, cut at 60 as published. The ways run in turn, each the same
samples through the whole training step, gathering included:

- length_aware: samples of like length together, gathered up to the longest in the batch;
- shuffled: plain shuffling, gathered up to the longest in the batch;
- fixed: plain shuffling, 60 steps of every sample computed: what is padded counts as steps, as in
  the published program.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from measure import Clock, in_turn, ratio, show, spread_of
from torch.nn.functional import pad
from workload import BATCH, LENGTH, TrainingStep, paper_network, ragged_samples

from mmer.samples.batches import Batch, Samples, length_aware_batches
from mmer.training.loop import repeatable

SAMPLES = {"cpu": 1024, "cuda": 16384}
ROUNDS = 5


def lengthened(batch: Batch, length: int) -> Batch:
    """Samples that all have `length` steps, the added ones zeros."""
    features = {m: pad(x, (0, 0, 0, length - x.shape[1])) for m, x in batch.features.items()}
    return replace(
        batch,
        features=features,
        masks={m: torch.ones_like(x[..., 0], dtype=torch.bool) for m, x in features.items()},
    )


def ways_to_batch(samples: Samples) -> dict[str, list[np.ndarray]]:
    rng = np.random.default_rng(1)
    order = rng.permutation(len(samples))
    shuffled = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
    aware = length_aware_batches(samples.longest, BATCH, rng)
    return {"length_aware": aware, "shuffled": shuffled, "fixed": shuffled}


def epoch_of(
    step: TrainingStep, samples: Samples, way: str, batches: list[np.ndarray], clock: Clock
) -> Callable[[], None]:
    """An epoch; gathering is timed inside it."""

    def epoch() -> None:
        clock.mark(None)
        for index in batches:
            batch = samples.gather(index)
            if way == "fixed":
                batch = lengthened(batch, LENGTH)
            clock.mark("gathering")
            step(batch)
            clock.mark("step")

    return epoch


def said(
    samples: Samples, way: str, batches: list[np.ndarray], seconds: list[float], clock: Clock
) -> dict[str, object]:
    parts, lengths = clock.seconds(), samples.longest
    gathered = sum(
        len(index) * (LENGTH if way == "fixed" else lengths[index].max()) for index in batches
    )
    return {
        "epoch_s": spread_of(seconds),
        "steps_per_s": spread_of([len(batches) / s for s in seconds]),
        "samples_per_s": spread_of([len(samples) / s for s in seconds]),
        "share_of_gathering": parts["gathering"] / sum(parts.values()),
        "share_of_padding": 1 - int(lengths.sum()) / int(gathered),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    device = arguments.device
    count = arguments.samples or SAMPLES[device]
    samples = ragged_samples(count).to(torch.device(device))
    step, ways = TrainingStep(paper_network(device)), ways_to_batch(samples)
    clocks = {way: Clock(device) for way in ways}
    with repeatable(torch.device(device)):
        epochs = {
            way: epoch_of(step, samples, way, batches, clocks[way]) for way, batches in ways.items()
        }
        times = in_turn(epochs, arguments.rounds)
    show(
        "ragged_epoch",
        device=device,
        samples=len(samples),
        batch=BATCH,
        mean_length=float(samples.longest.mean()),
        ways={way: said(samples, way, ways[way], times[way], clocks[way]) for way in ways},
        length_aware_times_faster={
            way: ratio(times[way], times["length_aware"]) for way in ("shuffled", "fixed")
        },
    )


if __name__ == "__main__":
    main()
