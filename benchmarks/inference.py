"""Samples per second that CARAT scores at the paper's sizes, by batch size, and the time of one;
then the whole test split of CMU-MOSEI, as evaluation scores it, in a process of its own.

Run with `python benchmarks/inference.py --device cpu|cuda`; prints one JSON object.
"""

from __future__ import annotations

import argparse
import json

import torch
from measure import in_own_process, in_turn, peak_memory_mb, show, spread, spread_of, timed
from workload import LENGTH, TEST_SAMPLES, paper_network, ragged_samples, random_batch

from mmer.training.scoring import score_samples

BATCHES = (1, 16, 64, 256)


def rate(device: str, batch: int) -> dict[str, object]:
    network, samples = paper_network(device).eval(), random_batch(batch, LENGTH, device)

    def score() -> None:
        with torch.inference_mode():
            network.scores(samples)

    measured = timed(score)
    return {"batch": batch, **spread(measured), "samples_per_s": batch / measured.median}


def whole_split(device: str, samples: int, rounds: int) -> dict[str, object]:
    """Seconds for samples of the corpus's number and lengths, and peak memory of the process."""
    network, drawn = paper_network(device).eval(), ragged_samples(samples)
    times = in_turn({"split": lambda: score_samples(network, drawn)}, rounds)["split"]
    return {
        "samples": samples,
        "mean_length": float(drawn.longest.mean()),
        "seconds": spread_of(times),
        "peak_memory_mb": peak_memory_mb(device),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--case", type=json.loads, help="the whole split only, a JSON object")
    arguments = parser.parse_args()
    device = arguments.device
    if arguments.case:
        print(json.dumps(whole_split(device, **arguments.case)))
        return
    split = in_own_process(__file__, device, {"samples": TEST_SAMPLES, "rounds": 4})
    rates = [rate(device, batch) for batch in BATCHES]
    show("inference", device=device, length=LENGTH, rates=rates, whole_split=split)


if __name__ == "__main__":
    main()
