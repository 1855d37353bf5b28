"""Tells pages of the run that makes them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl

from mmer.provenance import Commit
from mmer.registry.tracking import without_password
from mmer.reporting.this_run import ThisRun, announced

_OPTIONS = {
    "pipeline_names": "pipelines",
    "env": "env",
    "tags": "tags",
    "from_nodes": "from-nodes",
    "to_nodes": "to-nodes",
    "node_names": "nodes",
    "from_inputs": "from-inputs",
    "to_outputs": "to-outputs",
    "namespaces": "namespaces",
}


_USUAL_RUNNERS = ("SequentialRunner", "PatientRunner")  # those that need no asking for


class TellPages:
    """Announces the run to the pages that it makes, until it has ended."""

    def __init__(self) -> None:
        self._open = ExitStack()

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Note the command, the commit and what is not in it."""
        project = Path(run_params["project_path"])
        self._open.enter_context(
            announced(
                ThisRun(
                    name=run_params["run_id"],
                    began=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
                    command=command(run_params),
                    facts={**_commit(project), **_own_settings(project, run_params["env"])},
                )
            )
        )

    @hook_impl
    def after_pipeline_run(self) -> None:
        """It has ended."""
        self._open.close()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """It has ended."""
        self._open.close()


def command(run_params: Mapping[str, Any]) -> str:
    """What a user types to have this run again."""
    words = ["kedro", "run"]
    for key, option in _OPTIONS.items():
        if value := run_params.get(key):
            told = value if isinstance(value, str) else ",".join(value)
            words.append(f"--{option}={told}")
    runner = re.search(r"([\w.]+) object", str(run_params.get("runner")))
    if runner and not runner[1].endswith(_USUAL_RUNNERS):
        package, _, name = runner[1].rpartition(".")
        words.append(f"--runner={name if package.startswith('kedro.') else runner[1]}")
    if load := run_params.get("load_versions"):
        words.append(f"--load-versions={','.join(f'{k}:{v}' for k, v in load.items())}")
    if params := list(_flat(run_params.get("runtime_params") or {})):
        words.append(f"--params={','.join(params)}")
    return without_password(shlex.join(words))


def _flat(params: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{above}{key}={' '.join(map(str, value))}"
        else:
            yield f"{above}{key}={_plain(value)}"


def _plain(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _commit(project: Path) -> dict[str, str]:
    commit = Commit.of(project)
    if commit is None:
        return {}
    return {"git commit": commit.name + (", with changes that are not in it" * commit.changed)}


def _own_settings(project: Path, env: str | None) -> dict[str, str]:
    """Files of the user's own environment, which no commit has."""
    files = sorted((project / "conf" / "local").glob("*.yml")) if env in (None, "local") else []
    names = ", ".join(file.name for file in files)
    return {"own settings, in no commit": f"conf/local: {names}"} if names else {}
