"""Samples per second that CARAT scores at the paper's sizes, by batch size, and the time of one.

Run with `python benchmarks/inference.py --device cpu|cuda`; prints one JSON object. On CUDA each
batch size is also scored under bfloat16 autocast.
"""

from __future__ import annotations

import argparse
import json

import torch
from measure import best_of, machine
from workload import LENGTH, paper_network, random_batch

BATCHES = (1, 16, 64, 256)


def rate(device: str, batch: int, bfloat16: bool) -> dict[str, object]:
    network, samples = paper_network(device).eval(), random_batch(batch, LENGTH, device)

    def score() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            network.scores(samples.features, samples.masks)

    score()
    seconds = best_of(score, 5)
    return {
        "batch": batch,
        "bfloat16": bfloat16,
        "batch_s": seconds,
        "samples_per_s": batch / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device = parser.parse_args().device
    report = {
        "benchmark": "inference",
        "machine": machine(),
        "device": device,
        "length": LENGTH,
        "rates": [
            rate(device, batch, bfloat16)
            for batch in BATCHES
            for bfloat16 in ((False, True) if device == "cuda" else (False,))
        ],
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
