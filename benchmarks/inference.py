"""Samples per second that CARAT scores at the paper's sizes, by batch size, and the time of one.

Run with `python benchmarks/inference.py --device cpu|cuda`; prints one JSON object.
"""

from __future__ import annotations

import argparse

import torch
from measure import show, spread, timed
from workload import LENGTH, paper_network, random_batch

BATCHES = (1, 16, 64, 256)


def rate(device: str, batch: int) -> dict[str, object]:
    network, samples = paper_network(device).eval(), random_batch(batch, LENGTH, device)

    def score() -> None:
        with torch.inference_mode():
            network.scores(samples)

    measured = timed(score)
    return {"batch": batch, **spread(measured), "samples_per_s": batch / measured.median}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    device = parser.parse_args().device
    rates = [rate(device, batch) for batch in BATCHES]
    show("inference", device=device, length=LENGTH, rates=rates)


if __name__ == "__main__":
    main()
