"""A short fuzz run of every format: see `fuzz_readers.py`, which takes a seed and any number."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz_readers.py")


@pytest.mark.slow
def test_broken_files_are_refused_or_read_right() -> None:
    command = [sys.executable, str(SCRIPT), "--seed", "5", "--files", "240"]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    results = {name: result for name, result in report.items() if isinstance(result, dict)}
    assert len(results) == 8
    assert {
        name: result["findings"] for name, result in results.items() if result["findings"]
    } == {}
    assert all(result.get("read") and result.get("refused") for result in results.values())
