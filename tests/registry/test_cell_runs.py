"""A cell of a comparison has one run, however often the comparison was killed."""

from __future__ import annotations

import time

from mmer.registry import tracking
from mmer.registry.cell_runs import CellRuns, grouped
from mmer.training.history import Epoch, History

EPOCHS = tuple(
    Epoch(epoch=i, losses={"total": 1 / i}, validation={}, selection=0.0, seconds=1.0)
    for i in (1, 2)
)


def log_cell(project, files=()) -> CellRuns:
    cells = CellRuns(project)
    history = History(epochs=EPOCHS, kept=2)
    cells.log("toy.cell", {"seed": 1}, history, files, seconds=1.0, ended=time.time())
    return cells


def test_a_cell_has_ended_well_although_its_comparison_is_killed(project):
    with tracking.open_run(project, "compare") as outer:
        log_cell(project)
        found = outer.client.get_run(outer.inside(**{"mmer.cell": "toy.cell"}))
        assert found.info.status == "FINISHED"
        assert tracking.current_run() is outer
    assert found.data.tags["mlflow.parentRunId"] == outer.run_id


def test_a_comparison_that_goes_on_fills_the_runs_that_its_cells_have(project):
    outer = tracking.open_run(project, "compare", command="the same")
    log_cell(project)
    first = outer.inside(**{"mmer.cell": "toy.cell"})
    outer.close("KILLED")
    again = tracking.open_run(project, "compare", command="the same")
    assert again.goes_on
    cells = log_cell(project)
    cells.log_metrics("toy.cell", {"test": {"micro_f1": 0.5}})
    cells.close()
    again.close("FINISHED")
    query = f"tags.`mlflow.parentRunId` = '{again.run_id}'"
    experiment = again.client.get_run(again.run_id).info.experiment_id
    (cell,) = again.client.search_runs([experiment], query)
    assert (cell.info.run_id, cell.info.status) == (first, "FINISHED")
    assert cell.data.metrics["test/micro_f1"] == 0.5
    steps = [one.step for one in again.client.get_metric_history(first, "train/total")]
    assert steps == [1, 2]


def test_metrics_are_grouped_and_those_of_others_bear_their_name():
    metrics = {"train/total": 1.0, "valid/micro_f1": 0.5, "epoch_seconds": 2.0}
    assert list(grouped(metrics)) == ["train/total", "valid/micro_f1", "train/epoch_seconds"]
    assert list(grouped(metrics, "other")) == [
        "train/other/total",
        "valid/other/micro_f1",
        "train/other/epoch_seconds",
    ]
