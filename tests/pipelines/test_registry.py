"""What the graph itself promises, for every registered pipeline."""

from __future__ import annotations

import pytest
from kedro.pipeline import Pipeline

from mmer.corpora import CORPORA
from mmer.pipeline_registry import register_pipelines
from mmer.systems import SYSTEMS

PIPELINES = register_pipelines()
# What works with the registry alone: pipeline -> its only stage.
OF_REGISTRY = {"promote_": "promotion", "rollback_": "promotion", "predict_": "prediction"}
TRAINING = [name for name in sorted(PIPELINES) if not name.startswith(tuple(OF_REGISTRY))]
STAGES = {
    "ingestion",
    "alignment",
    "training",
    "calibration",
    "evaluation",
    "comparison",
    "registration",
}
COMPARING = STAGES - {"calibration", "registration"}  # a cell's training chooses its thresholds


def compares(name: str) -> bool:
    return name.startswith(("compare_", "ablate_"))


def stages_of(name: str) -> set[str]:
    """All, but a comparison's cells are calibrated with their training, and none is registered."""
    for start, stage in OF_REGISTRY.items():
        if name.startswith(start):
            return {stage}
    return COMPARING if compares(name) else STAGES


def corpora_of(pipeline: Pipeline) -> set[str]:
    raw = (name for name in pipeline.inputs() if name.endswith(".raw"))
    return {name.removesuffix(".raw") for name in raw}


def test_every_corpus_and_system_has_its_pipeline():
    alone = [name for name, corpus in CORPORA.items() if not corpus.family]
    expected = {f"train_{corpus}_{system}" for corpus in alone for system in SYSTEMS}
    expected |= {f"{what}{corpus}" for corpus in alone for what in ("train_", *OF_REGISTRY)}
    compared = {*alone, *(corpus.family for corpus in CORPORA.values() if corpus.family)}
    expected |= {f"{what}_{name}" for what in ("compare", "ablate") for name in compared}
    assert set(PIPELINES) == {"__default__", *expected}
    assert PIPELINES["__default__"] is PIPELINES["train_mosei"] is PIPELINES["train_mosei_carat"]


def test_every_corpus_is_in_a_comparison():
    compared = [corpora_of(pipe) for name, pipe in PIPELINES.items() if name[:8] == "compare_"]
    assert set().union(*compared) == set(CORPORA)
    assert sum(map(len, compared)) == len(CORPORA)


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_nothing_that_trains_or_calibrates_stands_on_the_test_split(name):
    pipeline = PIPELINES[name]
    choosing = pipeline.only_nodes_with_tags("training", "calibration").nodes
    least = 0 if name not in TRAINING else 3 if compares(name) else 9
    assert len(choosing) >= least
    for node in choosing:
        behind: Pipeline = pipeline.to_nodes(node.name)
        touched = behind.datasets() | set(node.inputs)
        assert not [dataset for dataset in touched if "test" in dataset], node.name


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_the_test_split_is_there_to_be_kept_away(name):
    for corpus in corpora_of(PIPELINES[name]):
        readers = [n for n in PIPELINES[name].nodes if f"{corpus}.test_samples" in n.inputs]
        stages = {tag for node in readers for tag in node.tags} & STAGES
        page = set() if compares(name) else {"comparison"}  # tables are its data
        assert stages == {"alignment", "evaluation", *page}


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_every_node_is_in_the_namespace_of_its_stage(name):
    for node in PIPELINES[name].nodes:
        (stage,) = node.tags & {*STAGES, *OF_REGISTRY.values()}
        assert node.namespace.split(".")[0] == stage
    assert {node.namespace.split(".")[0] for node in PIPELINES[name].nodes} == stages_of(name)


@pytest.mark.parametrize("name", TRAINING)
def test_the_only_loose_ends_are_raw_files_folders_to_work_in_and_parameters(name):
    corpora = corpora_of(PIPELINES[name])
    assert corpora
    inputs = {i for i in PIPELINES[name].inputs() if not i.startswith("params:")}
    finished = {i for i in inputs if i.endswith((".finished_training", ".finished_scoring"))}
    assert bool(finished) == compares(name)
    kept = {i for i in inputs if i.endswith(".checkpoints")}
    assert len(kept) == len(PIPELINES[name].only_nodes_with_tags("training").nodes)
    assert inputs - finished - kept == {
        f"{c}.{end}" for c in corpora for end in ("raw", "workspace")
    }


@pytest.mark.parametrize("name", [n for n in sorted(PIPELINES) if n not in TRAINING])
def test_what_works_with_the_registry_neither_trains_nor_sees_a_sample_of_training(name):
    corpus = name.partition("_")[2]
    read = {i for i in PIPELINES[name].inputs() if not i.startswith("params:")}
    assert all(i.startswith((f"{corpus}.promotion.", f"{corpus}.prediction.")) for i in read)
    assert not any(i.endswith("_samples") for i in read)


@pytest.mark.parametrize("name", [name for name in TRAINING if name.startswith("train_")])
def test_a_model_is_registered_only_when_nothing_else_is_left_to_be_done(name):
    pipeline = PIPELINES[name]
    (last,) = pipeline.only_nodes_with_tags("registration").nodes
    missing = {node.name for node in pipeline.nodes} - {
        node.name for node in pipeline.to_nodes(last.name).nodes
    }
    assert {name.partition(".")[0] for name in missing} <= {"evaluation"}


@pytest.mark.parametrize("name", TRAINING)
def test_every_system_takes_the_same_road(name):
    pipeline = PIPELINES[name]
    trainings = pipeline.only_nodes_with_tags("training").nodes
    systems = {node.namespace.partition(".")[2] for node in trainings}
    if not compares(name):
        assert {s for s, system in SYSTEMS.items() if system.simple} <= systems
    roads = {
        system: sorted(
            node.short_name
            for stage in ("training", "calibration", "evaluation")
            for node in pipeline.nodes
            if node.namespace == f"{stage}.{system}" and "examine" not in node.short_name.lower()
        )
        for system in systems
    }
    assert len({tuple(road) for road in roads.values()}) == 1


@pytest.mark.parametrize("name", [name for name in sorted(PIPELINES) if compares(name)])
def test_a_cell_of_a_comparison_is_a_system_with_a_seed(name):
    trainings = PIPELINES[name].only_nodes_with_tags("training").nodes
    for corpus in corpora_of(PIPELINES[name]):
        cells = {
            n.namespace.split(".")[2] for n in trainings if n.namespace.split(".")[1] == corpus
        }
        seeded = {
            f"{s}_seed_{n}" for s, system in SYSTEMS.items() if system.seeded for n in (1, 2, 3)
        }
        if name.startswith("compare_"):
            assert cells == seeded | {s for s, system in SYSTEMS.items() if not system.seeded}
            continue
        for system in (s for s, system in SYSTEMS.items() if system.parts):
            parts = {*SYSTEMS[system].parts, *CORPORA[corpus].modalities}
            if not CORPORA[corpus].persons:
                parts -= SYSTEMS[system].parts_for_persons
            for part in parts:
                assert f"{system}_without_{part}_seed_1" in cells
            of_system = {cell for cell in cells if cell.startswith(f"{system}_")}
            assert len(of_system) == 3 * (1 + len(parts))
