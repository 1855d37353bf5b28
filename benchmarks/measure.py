"""What every benchmark states and how it measures: the machine, seconds, peak memory."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from torch.utils.benchmark import Measurement, Timer


def show(benchmark: str, **figures: object) -> None:
    """Print what a benchmark found as one JSON object that names the machine."""
    print(json.dumps({"benchmark": benchmark, "machine": machine(), **figures}, indent=2))


def machine() -> dict[str, object]:
    """Name of the processor and accelerator, threads in use, versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def timed(function: Callable[[], object], seconds: float = 2.0) -> Measurement:
    """Time a function, after a call to warm up, for `seconds` and at least four measurements.

    Waits for an accelerator at the end of each.
    """
    threads = torch.get_num_threads()
    timer = Timer("function()", globals={"function": function}, num_threads=threads)
    # No spread is too large to stop at: how large it is stands in the report.
    return timer.adaptive_autorange(math.inf, min_run_time=seconds, max_run_time=None)


def spread(measured: Measurement) -> dict[str, float]:
    """Seconds of a call: the median, the extremes, and of how many measurements."""
    times = measured.times
    return {
        "median_s": measured.median,
        "least_s": min(times),
        "most_s": max(times),
        "measurements": len(times),
    }


def in_turn(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, one after the other, after a call of each to warm up.

    What else the machine does falls on all ways of a round alike, so that a round's ratios say more
    than those of times taken minutes apart.
    """
    threads = torch.get_num_threads()
    timers = {
        name: Timer("way()", globals={"way": way}, num_threads=threads)
        for name, way in ways.items()
    }
    for way in ways.values():
        way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, timer in timers.items():
            times[name].append(timer.timeit(1).median)
    return times


def spread_of(values: Sequence[float]) -> dict[str, float]:
    """The median, the extremes and the number of measurements."""
    return {
        "median": median(values),
        "least": min(values),
        "most": max(values),
        "measurements": len(values),
    }


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Of two ways' times round by round, and of the least of each."""
    by_round = [a / b for a, b in zip(above, below, strict=True)]
    return {**spread_of(by_round), "of_least": min(above) / min(below)}


class Clock:
    """Divides what runs into parts that lie end to end, so that they add up to the whole.

    On CUDA the time is the device's, by events in its queue: nothing waits for the device.

    Args:
        device: "cpu" or "cuda".
    """

    def __init__(self, device: str) -> None:
        self._cuda = device == "cuda"
        self._marks: list[tuple[str | None, float | torch.cuda.Event]] = []

    def mark(self, part: str | None) -> None:
        """What ran since the last mark was of this part; None leaves it out."""
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append((part, event))
        else:
            self._marks.append((part, time.perf_counter()))

    def seconds(self) -> dict[str, float]:
        """Part -> its seconds, all times that it ran together."""
        if self._cuda:
            torch.cuda.synchronize()
        sums: dict[str, float] = defaultdict(float)
        for (_, begin), (part, end) in pairwise(self._marks):
            if part is not None:
                sums[part] += begin.elapsed_time(end) / 1e3 if self._cuda else end - begin
        return dict(sums)


def in_own_process(script: str, device: str, case: dict[str, object]) -> dict[str, object]:
    """Run `script --device DEVICE --case JSON`, which prints one JSON object, and return that.

    A peak of memory is only true of a process that has done nothing else.
    """
    command = [sys.executable, script, "--device", device, "--case", json.dumps(case)]
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(finished.stdout)


def added_memory_mb(function: Callable[[], object], device: str) -> float:
    """Peak memory in MB (10^6 bytes) that a call adds to what is in use before it."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        # Linux then takes the memory in use now as the peak, not what start-up took for a moment.
        Path("/proc/self/clear_refs").write_text("5")
    before = peak_memory_mb(device)
    function()
    return peak_memory_mb(device) - before


def peak_memory_mb(device: str = "cpu") -> float:
    """Peak memory in MB (10^6 bytes) so far: of the accelerator, or of this process on Linux.

    The kernel's `ru_maxrss` would not do: a process inherits in it the peak of the one that
    started it.
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in status if line.startswith("VmHWM"))
