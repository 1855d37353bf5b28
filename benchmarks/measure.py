"""What every benchmark states and how it measures: the machine, seconds, peak memory."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch


def machine() -> dict[str, object]:
    """Name of the processor and accelerator, threads in use, versions."""
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [
            line.split(":", 1)[1].strip()
            for line in cpuinfo.read_text().splitlines()
            if line.startswith("model name")
        ]
        if cpuinfo.exists()
        else []
    )
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def best_of(function: Callable[[], object], repeats: int = 5) -> float:
    """Least wall time in seconds of `repeats` calls; waits for the accelerator if there is one."""
    return min(_seconds(function) for _ in range(repeats))


def _seconds(function: Callable[[], object]) -> float:
    _wait()
    start = time.perf_counter()
    function()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory_mb(device: str = "cpu") -> float:
    """Peak memory in MB (10^6 bytes) so far: of the accelerator, or of this process on Linux.

    The kernel's `ru_maxrss` would not do: a process inherits in it the peak of the one that
    started it.
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in status if line.startswith("VmHWM"))
