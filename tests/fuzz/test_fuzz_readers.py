"""Short fuzz runs of every format: see `fuzz_readers.py`, which takes a seed and any number."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz_readers.py")


def _results(every: int) -> dict[str, dict]:
    """Format -> what became of its files, of which there are 240, or of every so many of them."""
    command = [sys.executable, str(SCRIPT), "--seed", "5", "--files", "240", "--every", str(every)]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {name: result for name, result in report.items() if isinstance(result, dict)}


def _findings(results: dict[str, dict]) -> dict[str, str]:
    return {case: what for result in results.values() for case, what in result["findings"].items()}


def test_some_broken_files_are_refused_or_read_right() -> None:
    results = _results(every=48)
    assert len(results) == 8
    assert _findings(results) == {}
    assert all(result["refused"] for result in results.values())
    assert sum(result.get("untrusted", 0) for result in results.values()) > 0
    assert sum(result.get("read", 0) for result in results.values()) > 0


@pytest.mark.slow
def test_broken_files_are_refused_or_read_right() -> None:
    results = _results(every=1)
    assert _findings(results) == {}
    assert all(result["read"] and result["refused"] for result in results.values())
