"""Comparisons and ablations, tiny, through Kedro: what is finished is kept, other work is not."""

from __future__ import annotations

import shutil

import mlflow
import pytest
from kedro.io import DatasetError
from kedro.runner import ThreadRunner
from kedro.validation import ParameterValidationError

from mmer.corpora import CORPORA
from mmer.errors import InputError
from mmer.evaluation.costs import ComparedCosts
from mmer.metrics.seeds import ComparedCorpora, ComparedSystems
from mmer.pipelines.cells import nodes
from mmer.pipelines.cells.cells import families
from mmer.runners import PatientRunner
from mmer.runners.dask_runner import FailedNodes
from mmer.systems.storage import load_fitted

ALONE = [name for name, corpus in CORPORA.items() if not corpus.family]


@pytest.fixture
def trained(monkeypatch):
    """What is trained, and not taken from an earlier run."""
    cells, fit = [], nodes.fit

    def noted(recipe, part, train, valid, settings, folder, kept):
        cells.append((recipe.name, part, getattr(settings, "training", None)))
        return fit(recipe, part, train, valid, settings, folder, kept)

    monkeypatch.setattr(nodes, "fit", noted)
    return cells


def children(parent: str) -> dict[str, mlflow.entities.Run]:
    """Name -> run, of those inside the newest run of this pipeline."""
    client = mlflow.MlflowClient("sqlite:///mlflow.db")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    newest = next(run for run in runs if run.data.tags.get("kedro.pipelines") == parent)
    inside = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == newest.info.run_id]
    return {run.info.run_name: run for run in inside}


@pytest.mark.parametrize(
    "corpus",
    [pytest.param(name, marks=[pytest.mark.slow] if name != ALONE[0] else []) for name in ALONE],
)
def test_every_comparison_runs(run, corpus, saved):
    run(f"compare_{corpus}")
    models = {path.parts[-4] for path in saved("test", corpus, "pooled_seed_*/model.safetensors")}
    assert models == {"pooled_seed_1", "pooled_seed_2"}
    compared = ComparedSystems.read(saved("test", corpus, "compared_systems.json")[-1])
    assert [one.seeds for one in compared.systems] == [(1, 2), ()]
    costs = ComparedCosts.read(saved("test", corpus, "compared_costs.json")[-1])
    assert [len(one.costs) for one in costs.systems] == [2, 1]
    for end in ("html", "tex", "csv"):
        told = saved("test", corpus, f"compared_systems.{end}")[-1].read_text(encoding="utf-8")
        assert compared.systems[0].info.title in told


def test_every_cell_has_a_run_in_mlflow(run, saved):
    run("compare_m3ed")
    found = children("compare_m3ed")
    assert set(found) == {"m3ed.pooled_seed_1", "m3ed.pooled_seed_2", "m3ed.label_prior"}
    compared = ComparedSystems.read(saved("test", "m3ed", "compared_systems.json")[-1])
    values = compared.systems[0].metrics["micro_f1"].values
    cells = [found[f"m3ed.pooled_seed_{seed}"] for seed in (1, 2)]
    assert [cell.data.metrics["test/micro_f1"] for cell in cells] == pytest.approx(values)
    assert [cell.data.params["seed"] for cell in cells] == ["1", "2"]
    assert all(cell.info.status == "FINISHED" for cell in cells)
    assert all(cell.data.tags["mmer.cell"] == cell.info.run_name for cell in cells)
    assert all({"train/total", "cost/training/seconds"} <= set(c.data.metrics) for c in cells)
    client = mlflow.MlflowClient("sqlite:///mlflow.db")
    cost = client.get_metric_history(cells[0].info.run_id, "cost/scoring/seconds")
    assert len(cost) == 1, "told once"
    names = [set(cell.data.metrics) for cell in cells]
    assert names[0] == names[1]


def test_what_is_finished_is_not_trained_again(run, saved, trained):
    asked = {"comparison": {"systems": "pooled", "seeds": "11 12"}}
    run("compare_m3ed", params={"m3ed": asked})
    first = saved("test", "m3ed", "compared_systems.json")[-1].read_bytes()
    assert len(trained) == 2
    run("compare_m3ed", params={"m3ed": asked})
    assert len(trained) == 2
    assert saved("test", "m3ed", "compared_systems.json")[-1].read_bytes() == first
    taken = [r.data.tags["mmer.taken_from_earlier_run"] for r in children("compare_m3ed").values()]
    assert taken == ["True", "True"]
    more = {"comparison": {"systems": "pooled", "seeds": "11 12 13"}}
    run("compare_m3ed", params={"m3ed": more})
    assert [settings.seed for _, _, settings in trained] == [11, 12, 13]


@pytest.mark.slow
def test_other_settings_are_trained_anew_and_the_old_ones_found_again(run, trained):
    one = {"comparison": {"systems": "pooled", "seeds": "21"}}
    for epochs in (1, 2, 1):
        run("compare_m3ed", params={"m3ed": {**one, "pooled": {"training": {"epochs": epochs}}}})
    assert [settings.epochs for _, _, settings in trained] == [1, 2]
    run("compare_m3ed", params={"m3ed": {**one, "calibration": {"target": "macro_f1"}}})
    assert len(trained) == 3


@pytest.mark.parametrize(
    "kind",
    [
        "model.safetensors",
        pytest.param("calibration.json", marks=pytest.mark.slow),
        pytest.param("test_scores.parquet", marks=pytest.mark.slow),
    ],
)
def test_what_is_not_as_it_was_saved_is_made_again(run, saved, trained, kind, caplog):
    asked = {"m3ed": {"comparison": {"systems": "pooled", "seeds": "31 32"}}}
    run("compare_m3ed", params=asked)
    before = saved("test", "m3ed", "compared_systems.json")[-1].read_bytes()
    found = [saved("test", "m3ed", f"pooled_seed_{seed}/{kind}") for seed in (31, 32)]
    for version in found[0]:
        shutil.copy(found[1][-1], version)
    trained.clear()
    run("compare_m3ed", params=asked)
    assert len(trained) == (0 if "scores" in kind else 1)
    assert "is not taken" in caplog.text
    assert saved("test", "m3ed", "compared_systems.json")[-1].read_bytes() == before


def test_a_cell_that_was_cut_off_while_it_was_saved_is_made_again(run, saved, trained):
    """Without its receipt, nothing is taken for finished."""
    asked = {"m3ed": {"comparison": {"systems": "pooled", "seeds": "41"}}}
    run("compare_m3ed", params=asked)
    for receipt in saved("test", "m3ed", "pooled_seed_41/trained.json"):
        receipt.unlink()
    run("compare_m3ed", params=asked)
    assert len(trained) == 2


def test_a_seed_of_a_comparison_is_the_training_with_that_seed(run, saved):
    """To the last bit, and with what the command line asks for, as strings."""
    run("train_mosei_pooled", params={"mosei": {"pooled": {"training": {"seed": 7}}}})
    alone = load_fitted(saved("test", "mosei", "pooled/model.safetensors")[-1])
    asked = {"seeds": "7", "systems": "pooled linear"}
    run("compare_mosei", params={"mosei": {"comparison": asked}})
    compared = ComparedSystems.read(saved("test", "mosei", "compared_systems.json")[-1])
    assert [one.seeds for one in compared.systems] == [(7,), ()]
    assert compared.systems[0].models == (alone.digest,)


@pytest.mark.slow
def test_seeds_of_other_settings_are_not_compared(run, saved):
    """Neither cells of different settings, nor a cell copied over another."""
    run("compare_mosei")
    longer = {"comparison": {"seeds": "1"}, "pooled": {"training": {"epochs": 1}}}
    run("compare_mosei", params={"mosei": longer}, tags=["training", "evaluation"])
    with pytest.raises(InputError, match="expected the settings that are asked for"):
        run("compare_mosei", tags=["comparison"])
    run("compare_mosei")
    for kind in ("test_scores.parquet", "calibration.json"):
        first, second = (saved("test", "mosei", f"pooled_seed_{n}/{kind}")[-1] for n in (1, 2))
        shutil.copy(first, second)
    with pytest.raises(InputError, match="pooled_seed_2, found pooled_seed_1"):
        run("compare_mosei", tags=["comparison"])


def test_an_ablation_compares_the_whole_with_what_is_left(run, saved, trained):
    asked = {"systems": "carat", "parts": "contrast text", "seeds": "1 2"}
    run("ablate_m3ed", params={"m3ed": {"ablation": asked}})
    (ablated,) = ComparedCorpora.read(saved("test", "m3ed", "ablated_systems.json")[-1]).corpora
    whole, *others = ablated.compared.systems
    assert [one.info.without for one in (whole, *others)] == [None, "contrast", "text"]
    assert [one.seeds for one in (whole, *others)] == [(1, 2)] * 3
    titles = {(pair.first, pair.second) for pair in ablated.compared.pairs}
    assert titles == {(whole.info.title, other.info.title) for other in others}
    assert len({model for one in (whole, *others) for model in one.models}) == 6
    before = len(trained)
    run("compare_m3ed", params={"m3ed": {"comparison": {"systems": "carat", "seeds": "1 2"}}})
    assert len(trained) == before, "the whole system is the cell of the comparison"
    for end in ("html", "tex", "csv"):
        told = saved("test", "m3ed", f"ablated_systems.{end}")[-1].read_text(encoding="utf-8")
        assert "contrast" in told


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(families()))
def test_a_family_is_compared_on_all_of_its_corpora(run, saved, family):
    run(f"compare_{family}")
    compared = ComparedCorpora.read(saved("test", family, "compared_corpora.json")[-1])
    expected = [CORPORA[name].title for name in families()[family]]
    assert [one.corpus for one in compared.corpora] == expected
    page = saved("test", family, "compared_systems.html")[-1].read_text(encoding="utf-8")
    assert "SYNTHETIC" in page


@pytest.mark.parametrize(
    ("pipeline", "asked", "message"),
    [
        ("compare", {"systems": "pooled perceptron"}, "perceptron"),
        ("compare", {"seeds": "1 1"}, "named twice"),
        ("ablate", {"parts": "contrast gravity"}, "gravity"),
        ("ablate", {"systems": "perceptron"}, "perceptron"),
    ],
)
def test_what_there_is_not_stops_before_anything_runs(run, saved, pipeline, asked, message):
    before = saved("test", "mosei", "*/model.safetensors")
    key = {"compare": "comparison", "ablate": "ablation"}[pipeline]
    with pytest.raises((InputError, ParameterValidationError), match=message):
        run(f"{pipeline}_mosei", params={"mosei": {key: asked}})
    assert saved("test", "mosei", "*/model.safetensors") == before


def test_a_cell_that_fails_does_not_stop_the_others(run, saved):
    asked = {"systems": "carat pooled", "seeds": "51"}
    hopeless = {"training": {"optimiser": {"learning_rate": 1e30}}}
    params = {"m3ed": {"comparison": asked, "carat": hopeless}}
    with pytest.raises(FailedNodes, match="carat_seed_51") as error:
        run("compare_m3ed", params=params, runner=PatientRunner())
    assert "finite" in str(error.value)
    assert list(error.value.failed) == ["training.m3ed.carat_seed_51.train_cell"]
    assert saved("test", "m3ed", "pooled_seed_51/scored.json")
    assert not saved("test", "m3ed", "carat_seed_51/trained.json")
    (child,) = children("compare_m3ed").values()
    assert (child.info.run_name, child.info.status) == ("m3ed.pooled_seed_51", "FINISHED")


def test_what_nothing_can_follow_is_told_as_it_is(run):
    with pytest.raises(DatasetError, match="nowhere"):
        run("compare_m3ed", params={"m3ed_file": "nowhere"}, runner=PatientRunner())


def test_a_stage_alone_is_not_told_other_settings_in_silence(run):
    run("compare_m3ed")
    longer = {"m3ed": {"pooled": {"training": {"epochs": 9}}}}
    with pytest.raises(InputError, match="expected the settings that are asked for"):
        run("compare_m3ed", params=longer, tags=["comparison"])


@pytest.mark.slow
def test_what_a_model_cost_is_not_told_of_another(run):
    """A system that draws no random numbers has its model where its own pipeline puts it, too."""
    asked = {"m3ed": {"comparison": {"systems": "linear pooled", "seeds": "61 62"}}}
    run("compare_m3ed", params=asked)
    run("train_m3ed_linear", params={"m3ed": {"linear": {"penalties": [0.5]}}})
    with pytest.raises(InputError, match="that of its receipt"):
        run("compare_m3ed", params=asked, tags=["evaluation", "comparison"])


def test_a_part_that_is_off_already_is_no_ablation(run):
    off = {"network": {"parts": {"contrast": False}}}
    asked = {"ablation": {"parts": "contrast", "seeds": "71"}, "carat": off}
    with pytest.raises(InputError, match="switched off already"):
        run("ablate_m3ed", params={"m3ed": asked})


@pytest.mark.slow
def test_side_by_side_in_threads_each_cell_is_the_same(run, saved):
    asked = {"m3ed": {"comparison": {"systems": "pooled", "seeds": "81 82 83"}}}
    run("compare_m3ed", params=asked, runner=ThreadRunner())
    first = ComparedSystems.read(saved("test", "m3ed", "compared_systems.json")[-1])
    for seed in (81, 82, 83):
        for receipt in saved("test", "m3ed", f"pooled_seed_{seed}/trained.json"):
            receipt.unlink()
    run("compare_m3ed", params=asked)
    again = ComparedSystems.read(saved("test", "m3ed", "compared_systems.json")[-1])
    assert again.systems[0].models == first.systems[0].models
