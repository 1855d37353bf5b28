"""Runs whose process is gone are closed, in every experiment, and taken over by one process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mmer.registry import earlier_runs, tracking


def test_runs_of_every_experiment_are_closed_if_their_process_is_gone(project, monkeypatch):
    with monkeypatch.context() as elsewhere:
        host = earlier_runs.this_process().split()[0]
        elsewhere.setattr(earlier_runs, "this_process", lambda: f"{host} 1 another start")
        dead = [tracking.open_run(project, "dead", experiment=f"toy {i}") for i in (1, 2)]
        for run in reversed(dead):
            run.step_aside()
    with tracking.open_run(project, "next") as after:
        found = [after.client.get_run(run.run_id).info.status for run in dead]
    assert found == ["KILLED", "KILLED"]
    for run in dead:
        run.close("KILLED")


@pytest.mark.slow
def test_of_two_that_start_at_once_one_has_the_killed_run(project):
    tracking.open_run(project, "killed", command="of two").close("KILLED")
    script = (
        "import sys, time; from pathlib import Path; from mmer.registry import tracking;"
        "tracking.connect(tracking.tracking_uri(Path())); time.sleep(max(0, 12 - time.monotonic()"
        " + float(sys.argv[1]))); run = tracking.open_run(Path(), 'again', command='of two');"
        "print(run.goes_on); time.sleep(1); run.close('FINISHED')"
    )
    began = subprocess.check_output(
        [sys.executable, "-c", "import time; print(time.monotonic())"], text=True
    ).strip()
    command = [sys.executable, "-c", script, began]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(one.communicate()[0].split()[-1] for one in both) == ["False", "True"]
