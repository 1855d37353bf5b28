"""What the graph itself promises, for every registered pipeline."""

from __future__ import annotations

import pytest
from kedro.pipeline import Pipeline

from mmer.corpora import CORPORA
from mmer.pipeline_registry import register_pipelines
from mmer.systems import SYSTEMS

PIPELINES = register_pipelines()
STAGES = {
    "ingestion",
    "alignment",
    "training",
    "calibration",
    "evaluation",
    "comparison",
    "registration",
}
COMPARING = STAGES - {"registration"}


def stages_of(name: str) -> set[str]:
    """All, but nothing is registered by a comparison."""
    return COMPARING if name.startswith("compare_") else STAGES


def corpus_of(pipeline: Pipeline) -> str:
    (raw,) = (name for name in pipeline.inputs() if name.endswith(".raw"))
    return raw.removesuffix(".raw")


def test_every_corpus_and_system_has_its_pipeline():
    expected = {f"train_{corpus}_{system}" for corpus in CORPORA for system in SYSTEMS}
    expected |= {f"{what}_{corpus}" for corpus in CORPORA for what in ("train", "compare")}
    assert set(PIPELINES) == {"__default__", *expected}
    assert PIPELINES["__default__"] is PIPELINES["train_mosei"] is PIPELINES["train_mosei_carat"]


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_nothing_that_trains_or_calibrates_stands_on_the_test_split(name):
    pipeline = PIPELINES[name]
    choosing = pipeline.only_nodes_with_tags("training", "calibration").nodes
    assert len(choosing) >= 9
    for node in choosing:
        behind: Pipeline = pipeline.to_nodes(node.name)
        touched = behind.datasets() | set(node.inputs)
        assert not [dataset for dataset in touched if "test" in dataset], node.name


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_the_test_split_is_there_to_be_kept_away(name):
    corpus = corpus_of(PIPELINES[name])
    readers = [n for n in PIPELINES[name].nodes if f"{corpus}.test_samples" in n.inputs]
    stages = {tag for node in readers for tag in node.tags} & STAGES
    page = {"comparison"} if "registration" in stages_of(name) else set()  # tables are its data
    assert stages == {"alignment", "evaluation", *page}


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_every_node_is_in_the_namespace_of_its_stage(name):
    for node in PIPELINES[name].nodes:
        (stage,) = node.tags & STAGES
        assert node.namespace.split(".")[0] == stage
    assert {node.namespace.split(".")[0] for node in PIPELINES[name].nodes} == stages_of(name)


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_the_only_loose_ends_are_raw_files_a_workspace_and_parameters(name):
    corpus = corpus_of(PIPELINES[name])
    inputs = {i for i in PIPELINES[name].inputs() if not i.startswith("params:")}
    assert inputs == {f"{corpus}.raw", f"{corpus}.workspace"}


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_every_system_takes_the_same_road(name):
    pipeline = PIPELINES[name]
    systems = {n.namespace.split(".")[1] for n in pipeline.only_nodes_with_tags("training").nodes}
    trained = {system.partition("_seed_")[0] for system in systems}
    assert {s for s, system in SYSTEMS.items() if system.simple} <= trained
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
