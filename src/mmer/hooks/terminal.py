"""What a person sees of `kedro run`: a line per stage, and where everything is written down."""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from mmer import terminal

_FOLDER = "logs"
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_HANDLER = "terminal"  # in conf/logging.yml
# News of these loggers are told only where everything is.
_DETAILS = ("kedro", "mmer.corpora", "mmer.pipelines.calibration", "mmer.runners", "mmer.systems")
# The bar of the run names the node in their place, where there are bars.
_TOLD_BY_BARS = ("mmer.pipelines.cells",)
_RUNNERS = ("kedro.runner", "mmer.runners")

logger = logging.getLogger(__name__)


class RunView:
    """Tells a run stage by stage; all that is logged goes to a file in `logs`.

    Runners run nodes in this process and in others, where hooks are called on copies of this. So a
    node counts as done when the runner logs that it is, which all do here.
    """

    def __init__(self) -> None:
        self._run: _Run | None = None

    @hook_impl
    def after_context_created(self) -> None:
        """Take the place of the handler in `conf/logging.yml`, which may be no class of this."""
        terminal.Lines.everything = _is_verbose()
        root = logging.getLogger()
        for handler in [one for one in root.handlers if one.name == _HANDLER]:
            root.removeHandler(handler)
            root.addHandler(terminal.Lines(_DETAILS, _TOLD_BY_BARS))

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        """Say what runs, and open the log."""
        if self._run:
            self._run.close()
        self._run = _Run(run_params, pipeline)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Show the node that runs."""
        if run := self._here():
            run.begin(node.name)

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Say how long it took and where the log is."""
        if run := self._here():
            run.finish("Done in")
        self._run = None

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Say where the log is, in which the error has its traceback."""
        if run := self._here():
            run.failed(error)
        self._run = None

    def _here(self) -> _Run | None:
        """The run, unless this process was forked from its own."""
        return self._run if self._run and self._run.owner == os.getpid() else None


class Stages:
    """Which nodes of each stage are done; a stage is the first part of a node's namespace."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.of = {node.name: _stage(node) for node in pipeline.nodes}
        self._left: dict[str, set[str]] = {}
        for name, stage in self.of.items():
            self._left.setdefault(stage, set()).add(name)
        self._counts = {stage: len(names) for stage, names in self._left.items()}
        self._seconds = dict.fromkeys(self._counts, 0.0)
        self._told: set[str] = set()

    @property
    def done(self) -> int:
        """How many nodes are."""
        return len(self.of) - sum(map(len, self._left.values()))

    def end(self, name: str, seconds: float) -> str | None:
        """A node is done, that many seconds after the one before; the stage's line if it is too."""
        stage = self.of.get(name)
        if stage is None or name not in self._left[stage]:
            return None
        self._left[stage].remove(name)
        self._seconds[stage] += seconds
        return None if self._left[stage] else self._line(stage)

    def begun(self) -> list[str]:
        """Lines of the stages of which some nodes are done and some are not."""
        return [
            self._line(stage)
            for stage, left in self._left.items()
            if 0 < len(left) < self._counts[stage]
        ]

    def _line(self, stage: str) -> str:
        count = self._counts[stage]
        done = count - len(self._left[stage])
        of = f"{done} of {count} steps" if done < count else f"{count} step{'s' * (count > 1)}"
        return f"{stage:<13} {of:<14} {terminal.duration_text(self._seconds[stage]):>12}"

    def __len__(self) -> int:
        return len(self._counts)


class _Run(logging.Handler):
    """A run that is under way; it hears from the runner which nodes are done.

    A runner's record of it has the node's name as its first argument.
    """

    def __init__(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        super().__init__()
        self.owner, self._stages = os.getpid(), Stages(pipeline)
        self._began = self._last = time.monotonic()
        self._begun = False
        self._log = _log_file(Path(run_params["project_path"]), run_params["run_id"])
        names = ", ".join(run_params["pipeline_names"] or ["__default__"])
        where = f" in environment {run_params['env']}" if run_params["env"] else ""
        count, stages = len(pipeline.nodes), len(self._stages)
        logger.info("%s%s: %d steps in %d stages", names, where, count, stages)
        for name in _RUNNERS:
            logging.getLogger(name).addHandler(self)
        self._shown, self._bar = ExitStack(), terminal.Bar()

    def emit(self, record: logging.LogRecord) -> None:
        told = record.args if isinstance(record.args, tuple) else ()
        if record.levelno == logging.INFO and told and "failed" not in told:
            self.end(str(told[0]))

    def begin(self, name: str) -> None:
        """A node begins."""
        if not self._begun:  # nodes run here, and not in processes whose lines a bar would break
            self._begun, self._last = True, time.monotonic()
            bar = terminal.bar(name, len(self._stages.of), even=False)
            self._bar = self._shown.enter_context(bar)
        self._bar.show(what=name)

    def end(self, name: str) -> None:
        """A node is done, if it is one."""
        now = time.monotonic()
        done = self._stages.done
        line = self._stages.end(name, now - self._last)
        if self._stages.done > done:
            self._last = now
            self._bar.show(self._stages.done)
        if line:
            logger.info("%s", line)
        if self._stages.done == len(self._stages.of):
            self._shown.close()

    def finish(self, how: str) -> None:
        """Say what is left to say."""
        for line in self._stages.begun():
            logger.info("%s", line)
        seconds = time.monotonic() - self._began
        self.close()
        if self._log:
            click.echo(f"The whole log:         {os.path.relpath(self._log.baseFilename)}")
        if not terminal.Lines.everything:
            click.echo("More on the terminal:  kedro run --verbose")
        click.echo(f"{how} {terminal.duration_text(seconds)}.")

    def failed(self, error: Exception) -> None:
        """Write the traceback down."""
        if self._log:
            told = {"name": __name__, "levelno": logging.ERROR, "levelname": "ERROR"}
            traceback = (type(error), error, error.__traceback__)
            self._log.handle(
                logging.makeLogRecord({**told, "msg": "The run failed", "exc_info": traceback})
            )
        self.finish("Failed after")

    def close(self) -> None:
        """Clear the bar, close the log."""
        for name in _RUNNERS:
            logging.getLogger(name).removeHandler(self)
        self._shown.close()
        if self._log:
            logging.getLogger().removeHandler(self._log)
            self._log.close()
        super().close()


def _log_file(project: Path, run_id: str) -> logging.FileHandler | None:
    """A file in which all is written that is logged from here on; None where none can be."""
    path = project / _FOLDER / f"{run_id}.log"
    try:
        path.parent.mkdir(exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        logger.warning("No log is written: %s", error)
        return None
    handler.setFormatter(logging.Formatter(_FORMAT))
    logging.getLogger().addHandler(handler)
    return handler


def _stage(node: Node) -> str:
    return (node.namespace or node.name).partition(".")[0]


def _is_verbose() -> bool:
    """Whether the command that runs has been told to be."""
    context = click.get_current_context(silent=True)
    return bool(context and context.params.get("verbose"))
