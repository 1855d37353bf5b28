"""Training steps of one process and of several that share every batch.

Run with `python benchmarks/scaling.py --device cpu|cuda --processes 1 2`; prints one JSON object.
CARAT at the paper's sizes on batches as ragged as CMU-MOSEI's; on the CPU each process has one
thread, on CUDA a device. Torchrun starts each number of processes in each round anew, one number
after the other, and all do the same steps.

What lies behind the join of the shares (reconstruction, contrast, losses) every process computes on
the whole batch, so that a step cannot become as many times faster as there are processes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from statistics import median

import numpy as np
import torch
from measure import peak_memory_mb, ratio, show, spread_of
from workload import BATCH, TrainingStep, paper_network, ragged_samples

from mmer.samples.batches import length_aware_batches
from mmer.training import distributed
from mmer.training.loop import repeatable

WARMUP = 2


def steps_of_one(device: str, batch: int, steps: int) -> None:
    """Be one of the processes, and if it is the first, print what it measured."""
    kind = torch.device(device)
    with distributed.team(kind), repeatable(kind):
        samples = ragged_samples(batch * (steps + WARMUP)).to(kind)
        step = TrainingStep(paper_network(device))
        seconds = []
        rng = np.random.default_rng(1)
        for number, index in enumerate(length_aware_batches(samples.longest, batch, rng)):
            begin = time.perf_counter()
            share = samples.gather(index[distributed.own_share(len(index))])
            with distributed.sharing(len(index), (1, number), kind):
                step(share)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begin)
        if distributed.is_first():
            found = {"step_s": seconds[WARMUP:], "peak_memory_mb": peak_memory_mb(device)}
            print(json.dumps(found), flush=True)


def steps_of(processes: int, given: argparse.Namespace) -> dict:
    """What the first of so many processes measured."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    command += [__file__, "--one", f"--device={given.device}"]
    command += [f"--batch={given.batch}", f"--steps={given.steps}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        steps_of_one(given.device, given.batch, given.steps)
        return
    rounds = [{n: steps_of(n, given) for n in given.processes} for _ in range(given.rounds)]
    times = {n: [median(found[n]["step_s"]) for found in rounds] for n in given.processes}
    few = given.processes[0]
    show(
        "scaling",
        device=given.device,
        threads_per_process=1,
        batch=given.batch,
        steps=given.steps,
        load_average=os.getloadavg()[0],
        processes={
            n: {
                "step_s": spread_of(times[n]),
                "samples_per_s": spread_of([given.batch / s for s in times[n]]),
                "peak_memory_mb_of_one": max(found[n]["peak_memory_mb"] for found in rounds),
                f"times_faster_than_{few}": ratio(times[few], times[n]),
            }
            for n in given.processes
        },
    )


if __name__ == "__main__":
    main()
