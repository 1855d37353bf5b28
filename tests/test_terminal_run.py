"""What a person sees of a run: a line per stage, and where everything is written down."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from kedro.framework.hooks.manager import _create_hook_manager, _register_hooks
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node
from kedro.runner import AbstractRunner, SequentialRunner, ThreadRunner

from mmer import terminal
from mmer.hooks import RunView
from mmer.runners import PatientRunner

# as in the pipelines here
pytestmark = pytest.mark.filterwarnings("ignore:Namespace 'training' is interrupted")

RUN_ID = "2026-01-01T00.00.00.000Z"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger with the handler of `conf/logging.yml`, and its levels."""
    root, handler = logging.getLogger(), logging.StreamHandler()
    before, levels = root.handlers[:], {}
    handler.name = "terminal"
    root.handlers[:] = [handler]
    for name in ("kedro", "mmer"):
        levels[name] = logging.getLogger(name).level
        logging.getLogger(name).setLevel(logging.INFO)
    yield root
    root.handlers[:] = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def run(root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a pipeline as a Kedro session does."""
    monkeypatch.chdir(tmp_path)

    def run(pipeline: Pipeline, runner: AbstractRunner | None = None) -> None:
        manager = _create_hook_manager()
        _register_hooks(manager, (RunView(),))
        params = {"run_id": RUN_ID, "project_path": str(tmp_path), "env": "test"}
        told = {"run_params": {**params, "pipeline_names": ["toy"]}, "pipeline": pipeline}
        catalog = DataCatalog({"raw": MemoryDataset(1)})
        manager.hook.after_context_created(context=None)
        manager.hook.before_pipeline_run(**told, catalog=catalog)
        try:
            (runner or SequentialRunner()).run(pipeline, catalog, manager, RUN_ID)
        except ZeroDivisionError as error:
            manager.hook.on_pipeline_error(error=error, **told, catalog=catalog)
            raise
        manager.hook.after_pipeline_run(**told, run_result={}, catalog=catalog)

    return run


def add(x: int) -> int:
    logging.getLogger("mmer.systems.some").info("a detail of %d", x)
    return x + 1


def fail(x: int) -> float:
    return x / 0


def three_nodes(last: Callable = add) -> Pipeline:
    """Of two stages, one of which is left and entered again."""
    return Pipeline(
        [
            node(add, "raw", "a", name="first", namespace="training.some"),
            node(add, "a", "b", name="second", namespace="evaluation"),
            node(last, "b", "c", name="third", namespace="training.other"),
        ]
    )


@pytest.mark.parametrize("runner", [SequentialRunner, ThreadRunner, PatientRunner])
def test_a_line_per_stage(run, capsys, runner):
    run(three_nodes(), runner())
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "toy in environment test: 3 steps in 2 stages"
    stages = [line.split() for line in told if line.endswith(" s")]
    assert [words[:3] for words in stages] == [
        ["evaluation", "1", "step"],
        ["training", "2", "steps"],
    ]
    assert not any("Completed" in line or "a detail" in line for line in told)
    assert max(map(len, told)) <= 60


def test_the_end_says_where_everything_is(run, capsys, tmp_path):
    run(three_nodes())
    *_, log, more, done = capsys.readouterr().out.splitlines()
    assert log == f"The whole log:         logs/{RUN_ID}.log"
    assert "kedro run --verbose" in more
    assert done.startswith("Done in ")
    written = (tmp_path / "logs" / f"{RUN_ID}.log").read_text()
    assert "Completed node: evaluation.second" in written
    assert "INFO mmer.systems.some: a detail of 1" in written


def test_after_a_failure_the_log_has_the_traceback(run, root, capsys, tmp_path):
    with pytest.raises(ZeroDivisionError):
        run(three_nodes(fail))
    told = capsys.readouterr().out
    assert "training      1 of 2 steps" in told
    assert "Failed after " in told
    assert "Traceback" not in told.partition("evaluation")[0]
    written = (tmp_path / "logs" / f"{RUN_ID}.log").read_text()
    assert "in fail\n" in written
    assert "ZeroDivisionError: division by zero" in written
    assert not any(isinstance(one, logging.FileHandler) for one in root.handlers)


def test_verbose_tells_everything(run, capsys):
    command = click.Command("run", params=[click.Option(["--verbose"], is_flag=True)])
    with command.make_context("run", ["--verbose"]):
        run(three_nodes())
    assert terminal.Lines.everything
    told = capsys.readouterr().out
    assert "Completed node: evaluation.second" in told
    assert "mmer.systems.some: a detail of 1" in told
    assert "--verbose" not in told
    run(three_nodes())
    assert "a detail" not in capsys.readouterr().out


def test_where_no_log_can_be_written_it_is_said_and_the_run_goes_on(run, capsys, tmp_path):
    (tmp_path / "logs").write_text("a file")
    run(three_nodes())
    told = capsys.readouterr().out
    assert "WARNING: No log is written" in told
    assert "The whole log" not in told
    assert "Done in " in told


def test_another_handler_is_left_alone(run, root):
    other = logging.NullHandler()
    root.handlers[:] = [other]
    run(three_nodes())
    assert root.handlers == [other]
