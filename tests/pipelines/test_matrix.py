"""Every pipeline, the default environment and every runner, tiny, through Kedro."""

from __future__ import annotations

import shutil

import pytest
from kedro.runner import ParallelRunner, ThreadRunner
from kedro.validation import ParameterValidationError

from mmer.corpora import CORPORA
from mmer.errors import InputError
from mmer.metrics.seeds import ComparedSystems
from mmer.systems import SYSTEMS
from mmer.systems.storage import load_fitted


@pytest.mark.parametrize(("corpus", "system"), [(c, s) for c in CORPORA for s in SYSTEMS])
def test_every_pipeline_runs(project, run, corpus, system, saved):
    run(f"train_{corpus}_{system}")
    assert SYSTEMS[system].title in saved("test", corpus, f"{system}/report.html")[-1].read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("corpus", list(CORPORA))
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


@pytest.mark.parametrize("corpus", list(CORPORA))
def test_every_comparison_runs(run, corpus, saved):
    run(f"compare_{corpus}")
    models = [path.parts[-4] for path in saved("test", corpus, "pooled_seed_*/model.safetensors")]
    assert models == ["pooled_seed_1", "pooled_seed_2"]
    compared = ComparedSystems.read(saved("test", corpus, "compared_systems.json")[-1])
    assert [one.seeds for one in compared.systems] == [(1, 2), ()]
    assert compared.systems[0].info.title in saved("test", corpus, "compared_systems.html")[
        -1
    ].read_text(encoding="utf-8")


def test_a_seed_of_a_comparison_is_the_training_with_that_seed(run, saved):
    """To the last bit, and with what the command line asks for, as strings."""
    run("train_mosei_pooled", params={"mosei": {"pooled": {"training": {"seed": 7}}}})
    alone = load_fitted(saved("test", "mosei", "pooled/model.safetensors")[-1])
    asked = {"seeds": "7", "systems": "pooled linear"}
    run("compare_mosei", params={"mosei": {"comparison": asked}})
    compared = ComparedSystems.read(saved("test", "mosei", "compared_systems.json")[-1])
    assert [one.seeds for one in compared.systems] == [(7,), ()]
    assert compared.systems[0].models == (alone.digest,)


def test_seeds_of_other_settings_are_not_compared(run, saved):
    """Neither cells of different settings, nor a cell copied over another."""
    run("compare_mosei")
    longer = {"comparison": {"seeds": "1"}, "pooled": {"training": {"epochs": 1}}}
    stages = ["training", "calibration", "evaluation"]
    run("compare_mosei", params={"mosei": longer}, tags=stages)
    with pytest.raises(InputError, match="settings of seed 1"):
        run("compare_mosei", tags=["comparison"])
    for kind in ("test_scores.parquet", "calibration.json"):
        first, second = (saved("test", "mosei", f"pooled_seed_{n}/{kind}")[-1] for n in (1, 2))
        shutil.copy(first, second)
    with pytest.raises(InputError, match="pooled with seed 2, found pooled with seed 1"):
        run("compare_mosei", tags=["comparison"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [({"systems": "pooled perceptron"}, "perceptron"), ({"seeds": "1 1"}, "named twice")],
)
def test_a_comparison_of_what_there_is_not_stops_before_anything_runs(run, saved, asked, message):
    before = saved("test", "mosei", "*/model.safetensors")
    with pytest.raises((InputError, ParameterValidationError), match=message):
        run("compare_mosei", params={"mosei": {"comparison": asked}})
    assert saved("test", "mosei", "*/model.safetensors") == before
