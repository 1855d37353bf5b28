"""One training step of CARAT at the paper's sizes: time, what it divides into, memory.

Run with `python benchmarks/training_step.py --device cpu|cuda`; prints one JSON object. The
contrast by the formula with materialised masks is timed in the same process, as the yardstick.
Each row of the cost by batch size and length comes from a process of its own, so that its peak of
memory is its own; on CUDA so do the rows of bfloat16 and `torch.compile`.
"""

from __future__ import annotations

import argparse
import json

import torch
from cases import in_own_process
from contrast import TEMPERATURE, contrast_inputs, value_and_gradient
from measure import best_of, machine, peak_memory_mb
from torch.utils.flop_counter import FlopCounterMode
from workload import BATCH, LABELS, LENGTH, TrainingStep, paper_network, random_batch

from mmer.models.settings import MODALITIES
from mmer.samples.batches import Batch

BATCHES = (16, 32, 64, 128, 256)
LENGTHS = (10, 30, 60, 120, 250, 500)
# Attention over 500 steps with dropout is materialised on a CPU: 64 samples would not fit.
BATCH_OF_LENGTHS = 16
REPEATS = 5


def divide(device: str) -> dict[str, object]:
    """The step's parts, its arithmetic, and the yardstick, all in this process."""
    batch, step = random_batch(BATCH, LENGTH, device), TrainingStep(paper_network(device))
    step(batch)
    phases = [
        {
            "forward": best_of(lambda: step.forward(batch), 1),
            "backward": best_of(step.backward, 1),
            "optimiser": best_of(step.optimise, 1),
        }
        for _ in range(REPEATS)
    ]
    phase_s = {name: min(phase[name] for phase in phases) for name in phases[0]}
    total = min(sum(phase.values()) for phase in phases)

    vectors = BATCH * LABELS * 3 * len(MODALITIES)
    slots = step.network.settings.queue
    inputs = contrast_inputs(vectors, slots, device)
    part_s = {
        "encoders": best_of(lambda: _encode(step, batch), REPEATS),
        "contrast": best_of(lambda: value_and_gradient("blockwise", inputs), REPEATS),
        "optimiser": phase_s["optimiser"],
    }
    part_s["rest"] = total - sum(part_s.values())
    plain = best_of(lambda: value_and_gradient("materialised", inputs), 2)
    peak, products = _product_peak(device), _products(step, batch, vectors, slots)
    return {
        "step_s": total,
        "phase_s": phase_s,
        "part_s": part_s,
        "materialised_contrast_s": plain,
        "step_to_materialised_contrast": total / plain,
        "gflop_of_matrix_products": products / 1e9,
        "measured_peak_gflop_per_s": peak / 1e9,
        "arithmetic_floor_s": products / peak,
        "step_to_floor": total * peak / products,
    }


def _encode(step: TrainingStep, batch: Batch) -> None:
    """The modalities' encoders with label attention, forward and backward."""
    for modality, encoder in step.network.label_specific.items():
        found, _ = encoder(batch.features[modality], batch.masks[modality])
        found.sum().backward()
    step.optimiser.zero_grad()


def _products(step: TrainingStep, batch: Batch, vectors: int, slots: int) -> float:
    """Floating-point operations of the step's matrix products."""
    with FlopCounterMode(display=False) as counter:
        step.forward(batch)
        step.backward()
    step.optimiser.zero_grad()
    # The counter does not know the in-place product that gathers the contrast's gradient.
    uncounted = 2 * step.network.settings.latent * vectors * (vectors + slots)
    return counter.get_total_flops() + uncounted


def _product_peak(device: str) -> float:
    """Operations per second of a large square float32 matrix product."""
    size = 2048 if device == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    a @ b
    return 2 * size**3 / best_of(lambda: a @ b, REPEATS)


def cost(
    device: str, batch: int, length: int, bfloat16: bool = False, compiled: bool = False
) -> dict[str, float]:
    """Time of a step and peak memory of the whole process, or of the device where there is one."""
    samples = random_batch(batch, length, device)
    network = paper_network(device, max_length=max(LENGTH, length))
    step = TrainingStep(network, bfloat16=bfloat16, compiled=compiled)
    for _ in range(3 if compiled else 1):
        step(samples)
    seconds = best_of(lambda: step(samples), 3)
    return {
        "step_s": seconds,
        "samples_per_s": batch / seconds,
        "peak_memory_mb": peak_memory_mb(device),
    }


def costs(device: str, cases: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{**case, **in_own_process(__file__, device, case)} for case in cases]


def variants() -> list[dict[str, object]]:
    """On CUDA: precision and compilation, each on and off."""
    return [
        {"batch": BATCH, "length": LENGTH, "bfloat16": bfloat16, "compiled": compiled}
        for bfloat16 in (False, True)
        for compiled in (False, True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--case", type=json.loads, help="measure one case only, a JSON object")
    arguments = parser.parse_args()
    device = arguments.device
    if arguments.case:
        print(json.dumps(cost(device, **arguments.case)))
        return
    by_batch = [{"batch": batch, "length": LENGTH} for batch in BATCHES]
    by_length = [{"batch": BATCH_OF_LENGTHS, "length": length} for length in LENGTHS]
    report = {
        "benchmark": "training_step",
        "machine": machine(),
        "device": device,
        "sizes": {"batch": BATCH, "length": LENGTH, "temperature": TEMPERATURE},
        "paper_sizes": divide(device),
        "cost_by_batch": costs(device, by_batch),
        "cost_by_length": costs(device, by_length),
    }
    if device == "cuda":
        report["precision_and_compilation"] = costs(device, variants())
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
