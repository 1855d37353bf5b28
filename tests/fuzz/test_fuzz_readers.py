"""Short fuzz runs of every format: see `fuzz_readers.py`, which takes a seed and any number."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_readers import FORMATS

SCRIPT = Path(__file__).with_name("fuzz_readers.py")


def _run(every: int) -> tuple[dict, dict[str, dict]]:
    """The report on 240 files of each format, or every so many of them; and what became of each."""
    command = [sys.executable, str(SCRIPT), "--seed", "5", "--files", "240", "--every", str(every)]
    report = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    formats = {name: part for name, part in report.items() if name in FORMATS}
    assert len(formats) == len(FORMATS)
    return report, formats


def _check(report: dict, formats: dict[str, dict]) -> None:
    assert [part["findings"] for part in formats.values()] == [{}] * len(formats)
    assert (report["executed"], report["silently_changed_labels"]) == (0, 0)
    assert report["peak_of_parent"]["share_of_allowed"] <= 1


@pytest.mark.slow
def test_some_broken_files_are_refused_or_read_right() -> None:
    report, formats = _run(every=48)
    _check(report, formats)
    assert all(part["refused"] for part in formats.values())
    assert sum(part.get("untrusted", 0) for part in formats.values()) > 0
    assert sum(part.get("read", 0) for part in formats.values()) > 0


@pytest.mark.slow
def test_broken_files_are_refused_or_read_right() -> None:
    report, formats = _run(every=1)
    _check(report, formats)
    assert all(part["read"] and part["refused"] for part in formats.values())
