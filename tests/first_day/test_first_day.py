"""A few of the mistakes of `first_day.py` with their remedies, and all that the README says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("first_day.py")
README = Path(__file__).with_name("readme.py")


@pytest.mark.slow
@pytest.mark.parametrize(
    "mistake",
    [
        "misspelt parent",
        "a file that was cut off",
        "a checkout that was moved, a stage alone",
        "two at once",
    ],
)
def test_a_mistake_ends_in_one_message_whose_remedy_helps(mistake):
    command = [sys.executable, str(SCRIPT), "--only", mistake]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["tried"] == 1


@pytest.mark.slow
def test_what_the_readme_says_can_be_typed():
    done = subprocess.run([sys.executable, str(README)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
