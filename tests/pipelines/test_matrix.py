"""Every pipeline, the default environment and every runner, tiny, through Kedro."""

from __future__ import annotations

import pytest
from kedro.runner import ParallelRunner, ThreadRunner

from mmer.corpora import CORPORA
from mmer.systems import SYSTEMS
from mmer.systems.storage import load_fitted

ALONE = [name for name, corpus in CORPORA.items() if not corpus.family]
SLOW = ("memor", "memor_impersonal")
MAIN = next(iter(SYSTEMS))


def every_day(corpus, system=MAIN):
    """Not everything on every corpus is for each day."""
    first = corpus == ALONE[0] or system == MAIN
    return (corpus, system) == (SLOW[0], MAIN) if corpus in SLOW else first


def of_corpora(names, *systems):
    """Parameters: corpus, or corpus and system."""
    for values in [(n, s) for n in names for s in systems] or [(n,) for n in names]:
        yield pytest.param(*values, marks=[] if every_day(*values) else [pytest.mark.slow])


@pytest.mark.parametrize(("corpus", "system"), of_corpora(ALONE, *SYSTEMS))
def test_every_pipeline_runs(project, run, corpus, system, saved):
    run(f"train_{corpus}_{system}")
    assert SYSTEMS[system].title in saved("test", corpus, f"{system}/report.html")[-1].read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("corpus", of_corpora(ALONE))
def test_the_default_environment_runs(project, run, corpus, saved, file_parameter):
    """On the files of the test environment, and with one epoch; all else is as it is."""
    (files,) = (project / f"data/01_raw/tiny_{corpus.split('_')[0]}").iterdir()
    main = next(iter(SYSTEMS))
    short = {
        main: {"training": {"epochs": 1}},
        "pooled": {"training": {"epochs": 1}},
        "evaluation": {"resamples": 200},
    }
    run(f"train_{corpus}", env="base", params={file_parameter[corpus]: str(files), corpus: short})
    assert saved("base", corpus, f"{main}/report.html")


@pytest.mark.parametrize("runner", [ThreadRunner, ParallelRunner])
def test_other_runners_give_the_same_model(project, run, runner, saved):
    before = saved("test", "mosei", "linear/model.safetensors")
    run("train_mosei_linear", runner=runner())
    after = saved("test", "mosei", "linear/model.safetensors")
    assert len(after) == len(before) + 1
    assert load_fitted(after[-1]).digest == load_fitted(before[-1]).digest
