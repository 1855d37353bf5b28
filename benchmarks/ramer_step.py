"""One training step of RAMer beside one of CARAT at equal sizes: what the adversary costs.

Run with `python benchmarks/ramer_step.py --device cpu|cuda`; prints one JSON object. The sizes are
RAMer's: three layers per modality in both. The steps of both are timed in turn, so that what else
the machine does falls on both alike; the ratio is that of a round. Peak memory is that of a process
of its own for each. Everything runs as training does, with repeatable algorithms.

With `--persons N`, the steps are those of so many persons in turn, of whom 118 numbers are known,
and RAMer attends over persons and segments; CARAT takes the same steps as a sequence.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from statistics import median

import numpy as np
import torch
from measure import in_own_process, in_turn, peak_memory_mb, ratio, show, spread_of
from workload import BATCH, LABELS, LENGTH, WIDTHS, TrainingStep, random_batch

from mmer.samples.batches import Batch, StepPersons
from mmer.samples.table import Persons
from mmer.systems.carat.network import Carat
from mmer.systems.carat.settings import CaratNetwork
from mmer.systems.ramer.network import Ramer
from mmer.systems.ramer.settings import RamerNetwork
from mmer.training.loop import repeatable
from mmer.training.network import Network

LAYERS, ROUNDS, TRAITS = 3, 12, 118
LARGEST_RATIO = 1.5


def carat(max_length: int) -> Network:
    layers = dict.fromkeys(WIDTHS, LAYERS)
    return Carat(CaratNetwork(layers=layers, max_length=max_length), WIDTHS, len(LABELS))


def ramer(max_length: int, persons: int) -> Network:
    settings = RamerNetwork(layers=LAYERS, max_length=max_length)
    known = np.random.default_rng(0).normal(size=(persons, TRAITS)).tolist()
    names = tuple(f"person {number}" for number in range(persons))
    told = Persons(names=names, traits=tuple(map(tuple, known))) if persons else None
    return Ramer(settings, WIDTHS, len(LABELS), told)


NETWORKS = ("carat", "ramer")


def step_of(name: str, device: str, length: int, persons: int) -> TrainingStep:
    torch.manual_seed(0)
    longest = max(LENGTH, length)
    network = carat(longest) if name == "carat" else ramer(longest, persons)
    return TrainingStep(network.to(device))


def batch_of(batch: int, length: int, device: str, persons: int) -> Batch:
    """Random samples; step t is of person t mod N in segment t div N, and the first is asked of."""
    samples = random_batch(batch, length, device)
    if not persons:
        return samples
    step = torch.arange(length, device=device).expand(batch, length)
    told = StepPersons(
        target=torch.zeros(batch, dtype=torch.long, device=device),
        persons=dict.fromkeys(WIDTHS, step % persons),
        segments=dict.fromkeys(WIDTHS, step // persons),
    )
    return replace(samples, persons=told)


def in_rounds(device: str, batch: int, length: int, persons: int, rounds: int) -> dict[str, object]:
    """Both steps on the same batch, one after the other, round by round."""
    samples = batch_of(batch, length, device, persons)
    steps = {name: partial(step_of(name, device, length, persons), samples) for name in NETWORKS}
    times = in_turn(steps, rounds)
    found = ratio(times["ramer"], times["carat"])
    return {
        "step_s": {name: spread_of(values) for name, values in times.items()},
        "ramer_to_carat": found,
        "extra_s": median(times["ramer"]) - median(times["carat"]),
        "within_bound": found["median"] <= LARGEST_RATIO,
    }


def memory(name: str, device: str, batch: int, length: int, persons: int) -> dict[str, object]:
    """Peak memory of the process, or of the device, after two steps; parameters."""
    step = step_of(name, device, length, persons)
    samples = batch_of(batch, length, device, persons)
    for _ in range(2):
        step(samples)
    parameters = sum(p.numel() for p in step.state.network.parameters())
    return {"peak_memory_mb": peak_memory_mb(device), "parameters": parameters}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--length", type=int, default=LENGTH)
    parser.add_argument("--persons", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--case", type=json.loads, help="measure one network's memory, JSON")
    arguments = parser.parse_args()
    device = arguments.device
    sizes = {name: getattr(arguments, name) for name in ("batch", "length", "persons")}
    with repeatable(torch.device(device)):
        if arguments.case:
            print(json.dumps(memory(device=device, **arguments.case)))
            return
        figures = in_rounds(device, **sizes, rounds=arguments.rounds)
        of_each = {
            name: in_own_process(__file__, device, {"name": name, **sizes}) for name in NETWORKS
        }
    sizes["layers"] = LAYERS
    show("ramer_step", device=device, sizes=sizes, bound=LARGEST_RATIO, **figures, **of_each)


if __name__ == "__main__":
    main()
