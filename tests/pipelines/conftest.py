"""A project of its own for a test: this project's configuration with a corpus of a few videos."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

ROOT = Path(__file__).resolve().parents[2]
NETWORK = {
    "carat": {
        "hidden": 16,
        "latent": 8,
        "heads": 2,
        "feed_forward": 16,
        "layers": {"text": 1, "visual": 1, "audio": 1},
        "queue": 128,
    },
    "optimisation": {"epochs": 2, "batch_size": 32},
}
FILES = {"train_videos": 12, "valid_videos": 8, "test_videos": 8, "segments_per_video": 4}

Run = Callable[..., dict[str, Any]]


def make_project(folder: Path) -> Path:
    """Copy the configuration to `folder`, with an environment `tiny` of quick settings."""
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("local"))
    (folder / "src").mkdir()  # Kedro wants one; the package is installed
    (folder / "conf" / "local").mkdir()
    tiny = folder / "conf" / "tiny"
    tiny.mkdir()
    corpora = ("mosei", "mosei_unaligned", "m3ed")
    parameters = {corpus: {"training": NETWORK} for corpus in corpora}
    (tiny / "parameters.yml").write_text(yaml.safe_dump(parameters))
    catalog = {
        f"{corpus}.raw": {
            "type": "mmer.datasets.raw_corpus.RawFiles",
            "filepath": "${runtime_params:files, null}",
            "synthetic": {
                "corpus": corpus.removesuffix("_unaligned"),
                "folder": "data/01_raw/tiny",
                "settings": {} if corpus == "m3ed" else FILES,
            },
        }
        for corpus in corpora
    }
    (tiny / "catalog.yml").write_text(yaml.safe_dump(catalog))
    return folder


def run_in(project: Path, pipeline: str, *, params: dict | None = None, **options: Any) -> dict:
    """`kedro run` in this process."""
    bootstrap_project(project)
    with KedroSession.create(project, env="tiny", runtime_params=params) as session:
        return session.run(pipeline_names=[pipeline], **options)


@pytest.fixture(scope="session")
def tiny_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project in which `train_mosei` has run once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DO_NOT_TRACK", "1")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        project = make_project(tmp_path_factory.mktemp("project"))
        patch.chdir(project)
        run_in(project, "train_mosei")
        yield project


@pytest.fixture
def run(tiny_project: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a pipeline in that project."""
    monkeypatch.chdir(tiny_project)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return lambda pipeline="train_mosei", **options: run_in(tiny_project, pipeline, **options)
