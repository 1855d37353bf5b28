"""Every pipeline, the default environment and every runner, tiny, through Kedro."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from kedro.runner import ParallelRunner, ThreadRunner

from mmer.corpora import CORPORA
from mmer.systems import SYSTEMS
from mmer.systems.storage import load_fitted

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))

# The environments of official files have the papers' sizes: this makes them tiny.
NETWORK = {
    "hidden": 16,
    "latent": 8,
    "heads": 2,
    "feed_forward": 16,
    "layers": {"text": 1, "visual": 1, "audio": 1},
    "queue": 64,
}
SHORT = {"pseudo_aligned_length": 5, "max_length": 60}
TINY = {"network": NETWORK, "training": {"epochs": 1, "batch_size": 2}}
FILES = {"mosei": "mosei_files", "mosei_unaligned": "mosei_files", "m3ed": "m3ed_file"}


def saved(project: Path, env: str, corpus: str, name: str) -> list[Path]:
    return sorted(project.glob(f"data/0*/{env}/{corpus}/{name}/*/*"))


@pytest.mark.parametrize(("corpus", "system"), [(c, s) for c in CORPORA for s in SYSTEMS])
def test_every_pipeline_runs(project, run, corpus, system):
    run(f"train_{corpus}_{system}")
    assert SYSTEMS[system].title in saved(project, "test", corpus, f"{system}/report.html")[
        -1
    ].read_text(encoding="utf-8")


@pytest.mark.parametrize("corpus", list(CORPORA))
def test_the_default_environment_runs(project, run, corpus):
    """On the files of the test environment, and with one epoch; all else is as it is."""
    (files,) = (project / f"data/01_raw/tiny_{corpus.split('_')[0]}").iterdir()
    main = next(iter(SYSTEMS))
    short = {
        main: {"training": {"epochs": 1}},
        "pooled": {"training": {"epochs": 1}},
        "evaluation": {"resamples": 200},
    }
    run(f"train_{corpus}", env="base", params={FILES[corpus]: str(files), corpus: short})
    assert saved(project, "base", corpus, f"{main}/report.html")


@pytest.mark.parametrize("runner", [ThreadRunner, ParallelRunner])
def test_other_runners_give_the_same_model(project, run, runner):
    before = saved(project, "test", "mosei", "linear/model.safetensors")
    run("train_mosei_linear", runner=runner())
    after = saved(project, "test", "mosei", "linear/model.safetensors")
    assert len(after) == len(before) + 1
    assert load_fitted(after[-1]).digest == load_fitted(before[-1]).digest
