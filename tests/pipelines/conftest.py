"""A project of its own for a test: this project's configuration, run in the environment `test`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[..., dict[str, Any]]


def make_project(folder: Path) -> Path:
    """Copy the configuration to `folder`."""
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    (folder / "src").mkdir()  # Kedro wants one; the package is installed
    (folder / "conf" / "local").mkdir()
    return folder


def run_in(
    project: Path,
    pipeline: str,
    *,
    env: str = "test",
    params: dict | None = None,
    **options: Any,
) -> dict:
    """`kedro run` in this process."""
    bootstrap_project(project)
    with KedroSession.create(project, env=env, runtime_params=params) as session:
        return session.run(pipeline_names=[pipeline], **options)


@pytest.fixture(scope="session", name="run_in")
def run_in_fixture() -> Run:
    """`kedro run` in a project, in this process."""
    return run_in


@pytest.fixture(scope="session")
def new_project(
    tmp_path_factory: pytest.TempPathFactory, mlflow_database: Path
) -> Iterator[Callable[[], Path]]:
    """Makes projects in which nothing has run."""

    def make() -> Path:
        folder = make_project(tmp_path_factory.mktemp("project"))
        shutil.copyfile(mlflow_database, folder / "mlflow.db")
        return folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_NOT_TRACK", "1")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield make


@pytest.fixture(scope="module")
def fresh(new_project: Callable[[], Path]) -> Path:
    """A project in which nothing but the tests of one module has run."""
    return new_project()


@pytest.fixture(scope="session")
def project(new_project: Callable[[], Path]) -> Iterator[Path]:
    """A project in which the default pipeline has run once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = new_project()
        patch.chdir(folder)
        run_in(folder, "__default__")
        yield folder


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a pipeline in that project."""
    monkeypatch.chdir(project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return lambda pipeline="__default__", **options: run_in(project, pipeline, **options)


@pytest.fixture
def saved(project: Path) -> Callable[[str, str, str], list[Path]]:
    """(environment, corpus, name) -> every version of what runs have saved."""

    def found(env: str, corpus: str, name: str) -> list[Path]:
        return sorted(project.glob(f"data/0*/{env}/{corpus}/{name}/*/*"))

    return found


@pytest.fixture(scope="session")
def file_parameter() -> dict[str, str]:
    """Corpus -> the parameter that says where its files lie."""
    return {
        **dict.fromkeys(("mosei", "mosei_unaligned"), "mosei_files"),
        "m3ed": "m3ed_file",
        **dict.fromkeys(("memor", "memor_impersonal"), "memor_files"),
    }
