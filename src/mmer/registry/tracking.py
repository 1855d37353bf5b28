"""One MLflow run beside one run of a pipeline: what goes in, what comes out, how it ended.

MLflow takes seconds to import and is needed by `kedro run` alone, so it is imported when a run is
opened and not before.
"""

from __future__ import annotations

import atexit
import getpass
import json
import logging
import os
import re
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import TypeAdapter

from mmer.errors import InputError
from mmer.files import locked
from mmer.provenance import Commit, digest
from mmer.registry import earlier_runs, moved

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "mmer"
"""Of runs that are of no corpus."""
NOTE = "mlflow.note.content"
"""Tag of a run or an experiment: its description, in Markdown."""
# Else MLflow guesses what to show of an experiment, and may show pages of language models.
_EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    NOTE: "Runs of mmer. The report of each, one page, is among its artefacts.",
}
_LONGEST_DIGEST = 36  # that MLflow takes
_PARAMS_PER_REQUEST = 100
_SECONDS_UNTIL_RETRY = 60
_ENVIRONMENT = {
    # Where the server is gone, MLflow's own seven retries hold the training for four minutes, and
    # one that hangs for another fourteen.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # A connection that is open while a process forks would be used by both.
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
    # What it prints itself has the server's address with the password in it.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_RUN_VARIABLE = "MMER_MLFLOW_RUN"
_SQLITE = "sqlite:///"

logger = logging.getLogger(__name__)
_open_runs: dict[tuple[int, str], TrackedRun] = {}  # by process, which may be forked, and id


def tracking_uri(project: Path) -> str:
    """`MLFLOW_TRACKING_URI`, or the database in the project's root where that is not set."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{project.resolve() / 'mlflow.db'}"


def current_run() -> TrackedRun | None:
    """The run that was opened last and is still open, by this process or by one that started it."""
    run_id, _, uri = os.environ.get(_RUN_VARIABLE, "").partition(" ")
    if run_id and (os.getpid(), run_id) not in _open_runs:
        _open_runs[os.getpid(), run_id] = TrackedRun(connect(uri), run_id, uri, run_id)
    return _open_runs.get((os.getpid(), run_id))


def open_run(
    project: Path,
    name: str,
    tags: Mapping[str, object] | None = None,
    began: float | None = None,
    command: str | None = None,
    experiment: str = EXPERIMENT,
) -> TrackedRun:
    """Open an MLflow run, inside the one that is open already if there is one.

    Runs whose process was killed are closed, those of every experiment.

    Args:
        project: Root of the project: where the default database and artefacts are, and the git
            repository whose commit is noted.
        name: What the run is called in MLflow's pages.
        tags: Besides user, commit and parent.
        began: When that began of which it tells, in seconds since 1970; None for now.
        command: Digest of all that was asked for. If the last run of it was killed, this one is
            that run, and goes on where it ended.
        experiment: In which it is; one inside another is in the other's.

    Raises:
        InputError: MLflow does not answer at the tracking URI.
    """
    uri, parent = tracking_uri(project), current_run()
    noted = {"mlflow.user": getpass.getuser(), **_git_tags(project), **(tags or {})}
    noted[earlier_runs.PROCESS] = earlier_runs.this_process()
    if parent:
        noted["mlflow.parentRunId"] = parent.run_id
    start = round(1000 * (time.time() if began is None else began))
    try:
        client = connect(uri)
        inside = _experiment_of(parent) if parent else _experiment_id(client, uri, experiment)
        with _in_turn(uri, parent):
            found = None
            if not parent:
                earlier_runs.close_dead(client)
            if command:
                noted[earlier_runs.COMMAND] = command
                found = earlier_runs.gone_on_with(client, inside, command)
            made = found or client.create_run(
                inside, start_time=start, run_name=name, tags=_texts(noted)
            )
        run_id = made.info.run_id
    except Exception as error:
        raise InputError(
            without_password(uri),
            "MLFLOW_TRACKING_URI",
            "a database or an MLflow server that answers",
            first_line(error),
            "Start the server, or unset MLFLOW_TRACKING_URI to track in the project's folder.",
        ) from error
    run = TrackedRun(client, run_id, uri, made.info.run_name, goes_on=found is not None)
    _open_runs[os.getpid(), run_id] = run
    os.environ[_RUN_VARIABLE] = f"{run_id} {uri}"
    atexit.register(run.close, "KILLED")
    return run


def connect(uri: str) -> MlflowClient:
    """A client of the MLflow at `uri`; its database is made if it does not exist."""
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    from mlflow import MlflowClient

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if uri.startswith(_SQLITE):
        path = Path(uri.removeprefix(_SQLITE))
        if path.exists():
            moved.follow(path)
        else:
            _create_database(path)
    return MlflowClient(tracking_uri=uri)


@dataclass(frozen=True)
class UsedTable:
    """A table of samples, for MLflow's list of what a run was made from.

    Attributes:
        source: What it was made from, or the file itself.
        columns: Its columns, each with "name" and "type".
        profile: How much there is of what.
    """

    name: str
    digest: str
    split: str
    source: str
    columns: list[dict[str, str]]
    profile: Mapping[str, object]


class TrackedRun:
    """An open MLflow run. Nothing that goes wrong with MLflow stops the work that it follows.

    What cannot be delivered is kept in order and tried again about once a minute, and a last time
    when the run is closed. Processes that are started meanwhile find the run by `current_run`.

    Attributes:
        is_remote: True if a server tracks it, False if a database that is opened directly.
        goes_on: True if it was killed before, and is open again.
    """

    def __init__(
        self, client: MlflowClient, run_id: str, uri: str, name: str, *, goes_on: bool = False
    ) -> None:
        self.client, self.run_id, self.uri, self.name = client, run_id, uri, name
        self.goes_on = goes_on
        self.is_remote = uri.startswith("http")
        self._around = os.environ.get(_RUN_VARIABLE)
        self._undelivered: deque[Callable[[], object]] = deque()
        self._retry_at = 0.0
        self._lock = threading.RLock()

    def __enter__(self) -> TrackedRun:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        self.close("FAILED" if error else "FINISHED")

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log nested settings: mappings and pydantic models, flattened by dots."""
        from mlflow.entities import Param

        entities = [Param(key, value) for key, value in _texts(_flat(params, ".")).items()]
        for start in range(0, len(entities), _PARAMS_PER_REQUEST):
            self._log_batch(params=entities[start : start + _PARAMS_PER_REQUEST])

    def log_metrics(self, metrics: Mapping[str, object], step: int = 0) -> None:
        """Log the numbers among nested metrics, flattened by slashes; other leaves are left out."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        entities = [
            Metric(_key(name), float(value), now, step)
            for name, value in _flat(metrics, "/").items()
            if isinstance(value, Real) and not isinstance(value, bool)
        ]
        self._log_batch(metrics=entities)

    def steps_of(self, metric: str) -> set[int]:
        """The steps at which MLflow has this metric; none if it cannot be asked."""
        try:
            return {one.step for one in self.client.get_metric_history(self.run_id, _key(metric))}
        except Exception as error:
            logger.warning("MLflow at %s: %s", without_password(self.uri), first_line(error))
            return set()

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags of the run."""
        from mlflow.entities import RunTag

        self._log_batch(tags=[RunTag(key, value) for key, value in _texts(tags).items()])

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Copy a file among the run's artefacts, under `folder` if one is named."""
        self._send(partial(self.client.log_artifact, self.run_id, str(path), folder))

    def log_settings(self, settings: Mapping[str, object], file: str) -> None:
        """Keep nested settings as they are nested, as YAML among the artefacts."""
        plain = TypeAdapter(Any).dump_python(dict(settings), mode="json")
        self._send(partial(self.client.log_dict, self.run_id, plain, file))

    def log_data(self, tables: Iterable[UsedTable]) -> None:
        """Say which tables of samples the run has used or made."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(
                    name=one.name,
                    digest=one.digest[:_LONGEST_DIGEST],
                    source_type="local",
                    source=json.dumps({"uri": one.source}),
                    schema=json.dumps({"mlflow_colspec": one.columns}),
                    profile=json.dumps(one.profile),
                ),
                [InputTag("mlflow.data.context", one.split)],
            )
            for one in tables
        ]
        if inputs:
            self._send(partial(self.client.log_inputs, self.run_id, inputs))

    def inside(self, **tags: str) -> str:
        """Id of the last run inside this one that has these tags; empty if there is none."""
        wanted = {"mlflow.parentRunId": self.run_id, **tags}
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items())
        try:
            found = self.client.search_runs([_experiment_of(self)], query, max_results=1)
        except Exception as error:
            logger.warning("MLflow at %s: %s", without_password(self.uri), first_line(error))
            return ""
        return str(found[0].info.run_id) if found else ""

    def close(self, status: str, ended: float | None = None) -> bool:
        """End the run as "FINISHED", "FAILED" or "KILLED"; say whether MLflow has all of it.

        `ended` is when that ended of which it tells, in seconds since 1970; None for now.
        """
        atexit.unregister(self.close)
        _open_runs.pop((os.getpid(), self.run_id), None)
        if os.environ.get(_RUN_VARIABLE, "").startswith(self.run_id):
            self.step_aside()
        self._retry_at = 0.0
        at = None if ended is None else round(1000 * ended)
        self._send(partial(self.client.set_terminated, self.run_id, status, at))
        if self._undelivered:
            text = "MLflow at %s is gone: run '%s' there lacks its last %d entries and the mark %s"
            where, left = without_password(self.uri), len(self._undelivered) - 1
            logger.warning(text, where, self.name, left, status)
        return not self._undelivered

    def step_aside(self) -> None:
        """Let the run around this one, if there is one, be the current one again."""
        os.environ.pop(_RUN_VARIABLE, None)
        if self._around is not None:
            os.environ[_RUN_VARIABLE] = self._around

    def _log_batch(self, **entities: Any) -> None:
        self._send(partial(self.client.log_batch, self.run_id, **entities))

    def _send(self, entry: Callable[[], object]) -> None:
        with self._lock:
            self._undelivered.append(entry)
            if time.monotonic() >= self._retry_at:
                self._deliver()

    def _deliver(self) -> None:
        while self._undelivered:
            try:
                self._undelivered[0]()
            except Exception as error:
                gone = _is_gone(error)
                what = (
                    "does not answer; work goes on, and it is tried again"
                    if gone
                    else "refused an entry"
                )
                # To Kedro's handler, brackets in another's message are no style.
                verbatim = {"markup": False}
                where, said = without_password(self.uri), first_line(error)
                logger.warning("MLflow at %s %s: %s", where, what, said, extra=verbatim)
                if gone:
                    self._retry_at = time.monotonic() + _SECONDS_UNTIL_RETRY
                    return
            self._undelivered.popleft()


def _flat(value: Mapping[str, object], separator: str) -> dict[str, Any]:
    """The leaves of nested mappings and pydantic models, each under its path."""
    plain = TypeAdapter(Any).dump_python(dict(value))
    return pd.json_normalize(plain, sep=separator).to_dict("records")[0]


def _experiment_of(run: TrackedRun) -> str:
    return str(run.client.get_run(run.run_id).info.experiment_id)


def _experiment_id(client: MlflowClient, uri: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    if experiment := client.get_experiment_by_name(name):
        return str(experiment.experiment_id)
    # A server knows where its artefacts belong.
    beside = Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None
    folder = moved.artifacts_beside(beside) if beside else None
    try:
        return str(client.create_experiment(name, artifact_location=folder, tags=_EXPERIMENT_TAGS))
    except MlflowException:
        # Another run that starts at the same moment may have made it.
        if experiment := client.get_experiment_by_name(name):
            return str(experiment.experiment_id)
        raise


@contextmanager
def _in_turn(uri: str, parent: TrackedRun | None) -> Iterator[None]:
    """One process of this machine and user at a time, for two may find the same killed run."""
    if parent:
        yield
        return
    lock = Path(tempfile.gettempdir(), f"mmer-{os.getuid()}-{digest(uri)[:16]}.start.lock")
    with locked(lock, "Another run is opening its MLflow run: waiting for it"):
        yield


def _create_database(path: Path) -> None:
    """Make MLflow's database under another name, so that it appears only when it is whole.

    MLflow builds it by some fifty migrations, seconds in which a kill leaves it unusable and a
    second run fails on tables that are half there.
    """
    from mlflow import MlflowClient

    logger.info("Making MLflow's database %s: a few seconds, once", path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=path.parent) as scratch:
        made = Path(scratch, path.name)
        MlflowClient(tracking_uri=f"{_SQLITE}{made}").search_experiments(max_results=1)
        # Unlike a rename, a link leaves alone what another run has put there meanwhile.
        with suppress(FileExistsError):
            path.hardlink_to(made)


def _git_tags(project: Path) -> dict[str, object]:
    """Commit and dirty flag of the code, under the names that MLflow's pages show."""
    commit = Commit.of(project)
    if commit is None:
        return {}
    return {
        "mlflow.source.git.commit": commit.name,
        "mlflow.source.git.dirty": str(commit.changed).lower(),
    }


def _texts(entries: Mapping[str, object]) -> dict[str, str]:
    """Keys and values as MLflow takes them; it cuts values that are too long itself."""
    return {_key(key): str(value) for key, value in entries.items()}


def _key(name: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", name)[:250]


def _is_gone(error: Exception) -> bool:
    """True if the same entry may be taken later: the server, or the disk, is out of reach."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.get_http_status_code() >= 500
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)


def first_line(error: Exception) -> str:
    """What an error says, without the stack that MLflow puts beneath, and without passwords."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return without_password(line.rstrip("."))


def without_password(text: str) -> str:
    """A URI, or a text with URIs, that may be shown: user and password become "***"."""
    return re.sub(r"://[^/\s]*@", "://***@", text)
