"""Adding a corpus and a system is a folder and a line each: done here from outside, and run."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmer.corpora import CORPORA
from mmer.evaluation.assessment import Assessment
from mmer.samples.batches import pack
from mmer.samples.table import SampleTable
from mmer.systems import SYSTEMS


@pytest.fixture(scope="module")
def toy_project(new_project, run_in):
    """A project in which the corpus and the system from outside have run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))  # where other processes find it, too
        corpus = importlib.import_module("outside_corpus").TOY_CORPUS
        system = importlib.import_module("outside_system").NearestMean()
        patch.setitem(CORPORA, "toy", corpus)
        patch.setitem(SYSTEMS, "nearest", system)
        project = new_project()
        patch.chdir(project)
        run_in(project, "train_toy_nearest", params={"toy": {"nearest": {"sharpness": 2.0}}})
        yield project


def test_the_whole_pipeline_runs_with_both(toy_project):
    (page,) = toy_project.glob("data/08_reporting/test/toy/nearest/report.html/*/report.html")
    assert "Nearest mean" in page.read_text()
    (found,) = toy_project.glob("data/08_reporting/test/toy/nearest/assessment.json/*/*.json")
    assessment = Assessment.read(found)
    assert assessment.info.labels == ("warm", "cold")
    assert assessment.metrics.micro_f1 > 0.9
    assert assessment.info.bayes_optimal == {"micro_f1": 1.0}


def test_every_other_system_learns_from_the_corpus_too(toy_project, run_in, monkeypatch):
    monkeypatch.chdir(toy_project)
    network = {"layers": {"pulse": 1, "skin": 1}, "hidden": 16, "queue": 64}
    short = {"training": {"epochs": 1}}
    main = {next(iter(SYSTEMS)): {"network": network, **short}, "pooled": short}
    run_in(toy_project, "train_toy", params={"toy": main})
    assert list(toy_project.glob(f"data/06_models/test/toy/{next(iter(SYSTEMS))}/**/*.safetensors"))


def test_the_corpus_has_a_validation_split_by_group(toy_project):
    tables = {
        split: pack(SampleTable(toy_project / f"data/03_primary/test/toy/{split}.arrow"))
        for split in ("train", "valid", "test")
    }
    groups = {split: set(samples.group_ids) for split, samples in tables.items()}
    assert len(groups["valid"]) == 2  # a tenth of twenty, rounded up
    assert not groups["valid"] & groups["train"]
    assert sum(map(len, tables.values())) == 160


def test_steps_still_know_their_persons(toy_project):
    samples = pack(SampleTable(toy_project / "data/03_primary/test/toy/train.arrow"))
    assert samples.info.persons.names == ("Ann", "Ben", "Cleo")
    batch = samples.gather(np.arange(4))
    first = batch.persons.persons["skin"][:, 0]
    assert first.tolist() == batch.persons.target.tolist()
    assert batch.persons.segments["pulse"].tolist() == [[0, 1]] * 4


def made_tables(project: Path) -> dict[str, bytes]:
    folder = project / "data/03_primary/test/toy"
    return {path.name: path.read_bytes() for path in folder.glob("*.arrow")}


def align_anew(project: Path, run_in, **ingestion: object) -> dict[str, bytes]:
    shutil.rmtree(project / "data/02_intermediate/test/toy")
    shutil.rmtree(project / "data/03_primary/test/toy")
    params = {"toy": {"ingestion": ingestion}}
    run_in(project, "train_toy", params=params, tags=["ingestion", "alignment"])
    return made_tables(project)


def test_several_processes_make_the_same_tables(toy_project, run_in, monkeypatch):
    monkeypatch.chdir(toy_project)
    before = made_tables(toy_project)
    assert align_anew(toy_project, run_in, processes=2) == before
    assert len(before) == 3


@pytest.mark.slow
def test_dasks_workers_make_the_same_tables(toy_project, run_in, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="Dask is an extra")
    monkeypatch.chdir(toy_project)
    before = made_tables(toy_project)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        assert align_anew(toy_project, run_in, dask=cluster.scheduler_address) == before
