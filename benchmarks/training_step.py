"""One training step of CARAT at the paper's sizes: time, what it divides into, memory.

Run with `python benchmarks/training_step.py --device cpu|cuda`; prints one JSON object. Everything
runs as training does, with repeatable algorithms. The parts are timed inside the steps that they
are parts of. The arithmetic floor is what the step's matrix products (those of the plain formulas:
what is computed twice counts once) take at the speed of one large product, timed in turn with the
step; beside it stands the time of products of the same shapes alone. Each row of the cost by batch
size and length comes from a process of its own, so that its peak of memory is its own; on CUDA so
do the rows of bfloat16 and `torch.compile`.

`--against PATH` instead times the step of another checkout in turn with this one's, each time in a
new process: is the step slower than it was?
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from statistics import median
from unittest.mock import patch

import torch
from measure import (
    Clock,
    in_own_process,
    in_turn,
    peak_memory_mb,
    ratio,
    show,
    spread,
    spread_of,
    timed,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from workload import BATCH, LENGTH, TrainingStep, paper_network, random_batch

from mmer.samples.batches import Batch
from mmer.systems.layers import contrast as blockwise
from mmer.systems.layers import network as layers
from mmer.training.loop import repeatable

BATCHES = (16, 32, 64, 128, 256)
LENGTHS = (10, 30, 60, 120, 250, 500)
# What the backward pass needs of 64 samples of 500 steps would not fit on a small machine.
BATCH_OF_LENGTHS = 16
STEPS, ROUNDS = 10, 4
ENCODERS, CONTRAST, OTHERS = "forward: encoders", "forward: contrast", "forward: others"

# The same lines for both checkouts. Each checkout's own `workload` says how its step is called.
_TIME_STEPS = """
import json, sys, torch, mmer
from torch.utils.benchmark import Timer
from workload import BATCH, LENGTH, TrainingStep, paper_network, random_batch
torch.use_deterministic_algorithms(True, warn_only=True)
device = sys.argv[1]
step, batch = TrainingStep(paper_network(device)), random_batch(BATCH, LENGTH, device)
timer = Timer("step(batch)", globals=globals(), num_threads=torch.get_num_threads())
times = timer.adaptive_autorange(float("inf"), min_run_time=10, max_run_time=None).times
print(json.dumps({"source": mmer.__file__, "times": times}))
"""


def at_paper_sizes(device: str) -> dict[str, object]:
    """The step, its parts, and the least time that its arithmetic takes on this machine."""
    batch, step = random_batch(BATCH, LENGTH, device), TrainingStep(paper_network(device))
    return {**beside_floor(device, step, batch), "parts": parts(device, step, batch)}


def beside_floor(device: str, step: TrainingStep, batch: Batch) -> dict[str, object]:
    """The step in turn with a large product and with products of the step's own shapes."""
    operations, products = arithmetic(*next(iter(batch.masks.values())).shape)
    size = 2048 if device == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    ways = {"step": lambda: step(batch), "product": lambda: a @ b, "alone": products.on(device)}
    times = in_turn(ways, ROUNDS)
    floor = [seconds * operations / (2 * size**3) for seconds in times["product"]]
    return {
        "step_s": spread_of(times["step"]),
        "gflop_of_matrix_products": operations / 1e9,
        "arithmetic_floor_s": spread_of(floor),
        "step_to_floor": ratio(times["step"], floor),
        "same_products_alone_s": spread_of(times["alone"]),
        "step_to_same_products": ratio(times["step"], times["alone"]),
    }


def parts(device: str, step: TrainingStep, batch: Batch) -> dict[str, object]:
    """Means over steps of the parts' times, which add up to the mean step.

    The contrast finds its gradient together with its value: both are its part of the forward pass.
    The optimiser's part holds clipping and the learning rate's schedule.
    """
    clock, state = Clock(device), step.state

    def marked(function: Callable, before: str, after: str) -> Callable:
        def call(*inputs):
            clock.mark(before)
            result = function(*inputs)
            clock.mark(after)
            return result

        return call

    for branch in state.network.label_specific.values():
        branch.register_forward_pre_hook(lambda *_: clock.mark(OTHERS))
        branch.register_forward_hook(lambda *_: clock.mark(ENCODERS))
    state.optimiser.register_step_pre_hook(lambda *_: clock.mark("backward"))
    contrast = marked(layers.supervised_contrast, OTHERS, CONTRAST)
    after_step = marked(state.network.after_step, "optimiser", "after_step")
    with (
        patch.object(layers, "supervised_contrast", contrast),
        patch.object(state, "losses", marked(state.losses, OTHERS, OTHERS)),
        patch.object(state.network, "after_step", after_step),
    ):
        for _ in range(STEPS):
            clock.mark(None)
            step(batch)
            clock.mark("sums of losses")
    seconds = clock.seconds()
    total = sum(seconds.values())
    return {
        "steps": STEPS,
        "mean_step_s": total / STEPS,
        "mean_s": {part: value / STEPS for part, value in seconds.items()},
        "share": {part: value / total for part, value in seconds.items()},
    }


class Products(TorchDispatchMode):
    """Shapes and layouts of all matrix products that run under it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[tuple] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__ in ("mm", "addmm", "addmm_", "bmm", "baddbmm"):
            factors = [x for x in args if isinstance(x, torch.Tensor)][-2:]
            self.found[tuple((tuple(x.shape), x.stride()) for x in factors)] += 1
        return function(*args, **(kwargs or {}))

    def on(self, device: str) -> Callable[[], None]:
        """The same products, alone, on random factors."""

        def factor(shape: tuple[int, ...], stride: tuple[int, ...]) -> torch.Tensor:
            last = sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
            return torch.randn(last + 1, device=device).as_strided(shape, stride)

        factors = [
            ([factor(*place) for place in pair], count) for pair, count in self.found.items()
        ]

        def run() -> None:
            for (left, right), count in factors:
                for _ in range(count):
                    left @ right

        return run


def arithmetic(batch: int, length: int) -> tuple[int, Products]:
    """Floating-point operations of a step's matrix products, and these.

    Seen on a device without memory, where attention is torch's own plain formula: what our backward
    pass computes a second time is not in it.
    """
    network, samples = (
        paper_network("meta", max_length=max(LENGTH, length)).train(),
        random_batch(batch, length, "meta"),
    )
    products = Products()
    # The counter does not know the product in place: (n, k) times (k, m), added to (n, m).
    in_place = {torch.ops.aten.addmm_: lambda _, a, b, **more: 2 * a[0] * a[1] * b[1]}
    counter = FlopCounterMode(display=False, custom_mapping=in_place)
    blocks = patch.dict(blockwise._BLOCK_ROWS, cuda=blockwise._BLOCK_ROWS["cpu"])
    # Autocast knows no such device, and is off here.
    no_autocast = patch.object(torch, "autocast", lambda *_, **__: nullcontext())
    with blocks, no_autocast, products, counter:
        network.losses(samples).terms["total"].backward()
    return counter.get_total_flops(), products


def cost(
    device: str, batch: int, length: int, bfloat16: bool = False, compiled: bool = False
) -> dict[str, object]:
    """Time of a step, its floor, and peak memory of the process or of the device, if there is."""
    samples = random_batch(batch, length, device)
    network = paper_network(device, max_length=max(LENGTH, length))
    step = TrainingStep(network, bfloat16=bfloat16, compiled=compiled)
    for _ in range(3 if compiled else 1):
        step(samples)
    memory = peak_memory_mb(device)
    beside = {} if bfloat16 or compiled else beside_floor(device, step, samples)
    return {**spread(timed(lambda: step(samples), 3)), **beside, "peak_memory_mb": memory}


def costs(device: str, cases: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{**case, **in_own_process(__file__, device, case)} for case in cases]


def variants() -> list[dict[str, object]]:
    """On CUDA: precision and compilation, each on and off."""
    return [
        {"batch": BATCH, "length": LENGTH, "bfloat16": bfloat16, "compiled": compiled}
        for bfloat16 in (False, True)
        for compiled in (False, True)
    ]


def against(device: str, there: Path) -> dict[str, object]:
    """Steps of this checkout and of another, in turn: here, there, here, there.

    A ratio below 1 says that the step is faster here; how far the rounds' ratios lie apart says
    what such a ratio is worth.
    """
    checkouts = {"here": Path(__file__).parents[1], "there": there.resolve()}
    times: dict[str, list[list[float]]] = {name: [] for name in checkouts}
    for _ in range(ROUNDS):
        for name, root in checkouts.items():
            times[name].append(_times_of_steps(device, root))
    medians = {name: [median(found) for found in rounds] for name, rounds in times.items()}
    together = {name: list(chain(*rounds)) for name, rounds in times.items()}
    middle = {name: median(found) for name, found in together.items()}
    return {
        "checkouts": {name: str(root) for name, root in checkouts.items()},
        "median_s": middle,
        "least_s": {name: min(found) for name, found in together.items()},
        "median_s_by_round": medians,
        "here_to_there": middle["here"] / middle["there"],
        "here_to_there_by_round": [a / b for a, b in zip(*medians.values(), strict=True)],
    }


def _times_of_steps(device: str, root: Path) -> list[float]:
    path = os.pathsep.join([str(root / "src"), str(root / "benchmarks")])
    environment = {**os.environ, "PYTHONPATH": path, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    command = [sys.executable, "-c", _TIME_STEPS, device]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, cwd=root, env=environment
    )
    found = json.loads(done.stdout)
    if not Path(found["source"]).is_relative_to(root):
        raise RuntimeError(f"{found['source']} was timed instead of {root}")
    return found["times"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--case", type=json.loads, help="measure one case only, a JSON object")
    parser.add_argument("--against", type=Path, help="another checkout, to compare the step with")
    arguments = parser.parse_args()
    device, sizes = arguments.device, {"batch": BATCH, "length": LENGTH}
    if arguments.against:
        found = against(device, arguments.against)
        show("training_step against another checkout", device=device, sizes=sizes, **found)
        return
    with repeatable(torch.device(device)):
        if arguments.case:
            print(json.dumps(cost(device, **arguments.case)))
            return
        figures = {
            "paper_sizes": at_paper_sizes(device),
            "cost_by_batch": costs(device, [{"batch": n, "length": LENGTH} for n in BATCHES]),
            "cost_by_length": costs(
                device, [{"batch": BATCH_OF_LENGTHS, "length": length} for length in LENGTHS]
            ),
        }
        if device == "cuda":
            figures["precision_and_compilation"] = costs(device, variants())
    show("training_step", device=device, sizes=sizes, **figures)


if __name__ == "__main__":
    main()
