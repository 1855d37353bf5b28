"""`kedro run`, where a user's mistake is one message that says what is wrong and what to do."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import Any

import click
from kedro.config import BadConfigException, MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import CONTEXT_SETTINGS
from kedro.framework.project import pipelines, settings
from kedro.io import DatasetError
from kedro.io.core import VersionNotFoundError
from kedro.pipeline import Pipeline
from kedro.validation import ParameterValidationError
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mmer.errors import InputError
from mmer.training.interruption import Stopped

_log = logging.getLogger(__name__)
_ABSENT = FileNotFoundError, VersionNotFoundError
_MISTAKES = (
    BadConfigException,
    DatasetError,
    MissingConfigException,
    OmegaConfBaseException,
    OSError,
    ParameterValidationError,
    YAMLError,
)


@click.group(context_settings=CONTEXT_SETTINGS, name="mmer")
def cli() -> None:
    """Commands of this project."""


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends a command of Kedro's own: a user's mistake is one message there, too."""
    message = explain(error)
    if message is None:
        sys.__excepthook__(kind, error, trace)
    else:
        _log.debug("This ended the command.", exc_info=(kind, error, trace))
        print(f"Error: {message}", file=sys.stderr)


sys.excepthook = _tell  # this module is the command line's alone


def _run(verbose: bool, **options: Any) -> dict[str, Any]:
    if verbose:
        sys.excepthook = sys.__excepthook__
    else:
        # Kedro logs both as well as raising them.
        logging.getLogger("kedro.pipeline.node").addFilter(_is_news)
        logging.getLogger("kedro.validation.parameter_validator").setLevel(logging.CRITICAL)
    names = options["pipelines"] or [options["pipeline"] or ""]
    if not options["runner"] and all(map(is_comparison, names)):
        options["runner"] = "mmer.runners.PatientRunner"
    try:
        assert kedro_run.callback is not None
        return kedro_run.callback(**options)
    except Stopped as stopped:
        click.echo(stopped, err=True)
        sys.exit(128 + stopped.signal)
    except Exception as error:
        message = explain(error)
        if verbose or message is None:
            raise
        if isinstance(error, ParameterValidationError):
            message += f"\nSet in {', '.join(_where_set(error, options))}."
        elif isinstance(error, ValueError) and _is_raised_by_kedro(error):
            message += _meant(options)
        raise click.ClickException(message) from error


class _OnceEach(click.Command):
    """Refuses an option, or a parameter, that is given twice: the last alone would be taken."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given, _, options = self.make_parser(ctx).parse_args(args=list(args))
        for option in options:
            if options.count(option) > 1 and not getattr(option, "is_flag", False):
                remedy = "Give it once; what may have several values has commas between them."
                raise click.ClickException(f"{option.opts[0]} is given twice. {remedy}")
        items = [one.partition("=") for one in given.get("params", "").split(",")]
        names = [name.strip() for name, sign, _ in items if sign]
        for name in names:
            if names.count(name) > 1:
                raise click.ClickException(f"--params sets {name} twice. Leave one of them out.")
        return super().parse_args(ctx, args)


_VERBOSE = click.Option(
    ["--verbose", "-v"],
    is_flag=True,
    help="Tell everything: a line per node, and the traceback of every error.",
)
_OPTIONS = [*kedro_run.params, _VERBOSE]
cli.command("run", cls=_OnceEach, params=_OPTIONS, help=kedro_run.help)(_run)


@cli.command("jupyter", add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def jupyter(project: Any, arguments: tuple[str, ...]) -> None:
    """Open notebooks with catalog, context, pipelines and session of the project."""
    from kedro.framework.cli.jupyter import jupyter as kedros

    module = {"lab": "jupyterlab", "notebook": "notebook"}.get("".join(arguments[:1]))
    if module and find_spec(module) is None:
        remedy = "Install it in the project's folder: pip install --editable '.[jupyter]'"
        raise click.ClickException(f"Jupyter is not installed. {remedy}")
    kedros.main(list(arguments), prog_name="kedro jupyter", obj=project)


def is_comparison(pipeline: str) -> bool:
    """Whether it is made of cells, of which one does not need the other."""
    return pipeline.startswith(("compare_", "ablate_"))


def explain(error: BaseException) -> str | None:
    """What to tell a user of this error; None if it is not theirs but the program's."""
    causes = list(_causes(error))
    root = causes[-1]
    if inputs := [str(cause) for cause in causes if isinstance(cause, InputError)]:
        return inputs[0]
    if isinstance(error, DatasetError) and isinstance(root, _ABSENT):
        entry = str(error).partition(":")[0]
        found = f"nothing at {root.filename}" if isinstance(root, OSError) else "no version of it"
        remedy = f"Put it there, or run `kedro run --to-outputs={entry}` if a node makes it."
        return str(InputError(f"catalog entry {entry}", "", "a file", found, remedy))
    is_unreadable = isinstance(error, DatasetError) and isinstance(root, ValueError)
    is_refused = isinstance(error, ValueError) and _is_raised_by_kedro(error)
    if isinstance(root, _MISTAKES) or is_unreadable or is_refused:
        return re.sub(r"\n +For further information visit \S+", "", str(error) or repr(error))
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _is_raised_by_kedro(error: BaseException) -> bool:
    """True if Kedro refuses something: a name of a pipeline, node or dataset."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__", "").startswith("kedro.")


def _is_news(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR or explain(sys.exc_info()[1] or Exception()) is None


def _meant(options: dict[str, Any]) -> str:
    """For every stage, node or entry asked for that the pipelines lack: those most like it."""
    names = options["pipelines"] or [options["pipeline"] or "__default__"]
    asked = sum((pipelines[name] for name in names if name in pipelines), Pipeline([]))
    nodes, entries = sorted(node.name for node in asked.nodes), sorted(asked.datasets())
    tags = sorted({tag for node in asked.nodes for tag in node.tags})
    known = {
        "tags": tags,
        "namespaces": sorted({node.namespace for node in asked.nodes if node.namespace}),
        "from_nodes": nodes,
        "to_nodes": nodes,
        "node_names": nodes,
        "from_inputs": entries,
        "to_outputs": entries,
    }
    told = [
        f"--{option.replace('_', '-')}={name}: there is {' or '.join(like)}"
        for option, there in known.items()
        for name in options.get(option) or ()
        if there and name not in there and (like := _like(name, there))
    ]
    return "".join(f"\n{line}." for line in told)


def _like(name: str, there: list[str]) -> list[str]:
    """Names that are like one; all, if they are few and none is like it."""
    same = [one for one in there if one.rpartition(".")[2] == name.rpartition(".")[2]]
    return get_close_matches(name, same or there, 3, 0.4) or there[: 3 if len(there) > 12 else 12]


def _where_set(error: ParameterValidationError, options: dict[str, Any]) -> list[str]:
    """The files, and the command's option, that set the parameters at fault."""
    folder = Path(options["conf_source"] or settings.CONF_SOURCE)
    loader = settings.CONFIG_LOADER_ARGS
    names = map(re.escape, re.findall(r"Parameter '([^'.]+)", str(error)))
    pattern = re.compile(rf"^[\"']?({'|'.join(names)})[\"']?\s*:", re.MULTILINE)
    files = [
        str(path)
        for part in (loader["base_env"], options["env"] or loader["default_run_env"])
        for path in sorted((folder / part).rglob("parameters*.y*ml"))
        if pattern.search(path.read_text(encoding="utf-8"))
    ]
    return [*files, "--params"] if options["params"] else files
