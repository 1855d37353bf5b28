"""Supervised contrast: the formula with materialised masks against the blockwise one.

Run with `python benchmarks/contrast.py --device cpu|cuda`; prints one JSON object. The first part
times both, value and gradient, one after the other in one process at the paper's sizes. The
second gives the blockwise contrast's cost against the queue's size. Every memory figure is what
one call adds in a process of its own.
"""

from __future__ import annotations

import argparse
import json

import torch
from measure import added_memory_mb, in_own_process, in_turn, ratio, show, spread, spread_of, timed
from torch import Tensor

from mmer.systems.layers.contrast import supervised_contrast

CURRENT, QUEUE, WIDTH, CLASSES, TEMPERATURE = 64 * 6 * 9, 8192, 64, 36, 0.07
ROUNDS = 5
QUEUES = (2048, 4096, 8192, 16384, 32768, 65536)


def materialised_contrast(
    current: Tensor, current_classes: Tensor, queue: Tensor, queue_classes: Tensor, tau: float
) -> Tensor:
    """The formula as contrastive programs usually write it: every (N, N) matrix in full."""
    vectors = torch.cat([current, queue])
    classes = torch.cat([current_classes, queue_classes])
    logits = vectors @ vectors.T / tau
    logits = logits - logits.max(dim=1, keepdim=True).values.detach()
    others = 1 - torch.eye(len(vectors), device=vectors.device)
    positives = (classes[:, None] == classes).float() * others
    log_share = logits - (logits.exp() * others).sum(1, keepdim=True).log()
    return -((positives * log_share).sum(1) / positives.sum(1).clamp_min(1)).mean()


FORMULAS = {"materialised": materialised_contrast, "blockwise": supervised_contrast}


def contrast_inputs(current: int, queue: int, device: str) -> tuple:
    """Unit vectors around a common direction, so that scores spread as a trained network's do."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(current + queue, WIDTH, generator=generator) + 0.3
    vectors = torch.nn.functional.normalize(vectors, dim=1).to(device)
    classes = torch.randint(0, CLASSES, (current + queue,), generator=generator).to(device)
    leaf = vectors[:current].clone().requires_grad_()
    return leaf, classes[:current], vectors[current:], classes[current:], TEMPERATURE


def value_and_gradient(formula: str, inputs: tuple) -> tuple[Tensor, Tensor]:
    inputs[0].grad = None
    value = FORMULAS[formula](*inputs)
    value.backward()
    return value.detach(), inputs[0].grad


def compare(device: str) -> dict[str, object]:
    """Times in one process, and how far the results lie from the formula in float64."""
    inputs = contrast_inputs(CURRENT, QUEUE, device)
    results = {name: value_and_gradient(name, inputs) for name in FORMULAS}
    ways = {name: lambda name=name: value_and_gradient(name, inputs) for name in FORMULAS}
    times = in_turn(ways, ROUNDS)
    precise = [x.detach().double() if x.is_floating_point() else x for x in inputs[:4]]
    precise[0].requires_grad_()
    value, gradient = value_and_gradient("blockwise", (*precise, TEMPERATURE))
    report: dict[str, object] = {f"{name}_s": spread_of(found) for name, found in times.items()}
    report["times_faster"] = ratio(times["materialised"], times["blockwise"])
    for name, (result, its_gradient) in results.items():
        report[f"{name}_value_error"] = float((result - value).abs() / value)
        report[f"{name}_gradient_error"] = float((its_gradient - gradient).norm() / gradient.norm())
    between = results["blockwise"][1] - results["materialised"][1]
    report["gradient_difference"] = float(between.norm() / gradient.norm())
    return report


def cost(device: str, formula: str, queue: int) -> dict[str, float]:
    """Time of a call and the memory that it adds, to be measured in a process of its own."""
    value_and_gradient(formula, contrast_inputs(64, 64, device))  # start-up of the libraries
    inputs = contrast_inputs(CURRENT, queue, device)
    memory = added_memory_mb(lambda: value_and_gradient(formula, inputs), device)
    measured = timed(lambda: value_and_gradient(formula, inputs))
    return {**spread(measured), "memory_mb": memory}


def growth(device: str) -> list[dict[str, object]]:
    """Cost of the blockwise contrast per queue size; N counts current vectors and the queue."""
    rows = []
    for queue in QUEUES:
        case = in_own_process(__file__, device, {"formula": "blockwise", "queue": queue})
        count = CURRENT + queue
        # Each pair once for the denominators, a current vector's pairs once more for the gradient.
        scores = count * (count + 1) / 2 + CURRENT * count
        rows.append(
            {
                "queue": queue,
                "n": count,
                **case,
                "ns_per_n_squared": case["median_s"] * 1e9 / count**2,
                "ns_per_score": case["median_s"] * 1e9 / scores,
                "memory_bytes_per_n": case["memory_mb"] * 1e6 / count,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--case", type=json.loads, help="measure one case only, a JSON object")
    arguments = parser.parse_args()
    device = arguments.device
    if arguments.case:
        print(json.dumps(cost(device, **arguments.case)))
        return
    at_paper = {
        name: in_own_process(__file__, device, {"formula": name, "queue": QUEUE})
        for name in FORMULAS
    }
    show(
        "contrast",
        device=device,
        sizes={"current": CURRENT, "queue": QUEUE, "width": WIDTH, "classes": CLASSES},
        comparison=compare(device),
        memory_mb={name: case["memory_mb"] for name, case in at_paper.items()},
        cost_by_queue=growth(device),
    )


if __name__ == "__main__":
    main()
