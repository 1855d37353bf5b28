"""Peak memory of one case, which is only true in a process that has done nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from measure import peak_memory_mb


def in_own_process(script: str, device: str, case: dict[str, object]) -> dict[str, float]:
    """Run `script --device DEVICE --case JSON`, which prints one JSON object, and return that."""
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
