"""Ingestion and alignment, killed: a few of the kills of `kill_ingestion.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_half_that_a_later_run_takes_for_whole():
    script = Path(__file__).with_name("kill_ingestion.py")
    command = [sys.executable, str(script), "--kills", "5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs left alone that made the undisturbed tables"] == 1
