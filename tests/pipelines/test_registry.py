"""What the graph itself promises, for every registered pipeline."""

from __future__ import annotations

import pytest
from kedro.pipeline import Pipeline

from mmer.pipeline_registry import CORPORA, STAGES, register_pipelines

PIPELINES = register_pipelines()


def test_every_corpus_has_its_pipeline_and_mosei_is_the_default():
    assert set(PIPELINES) == {"__default__", *(f"train_{corpus}" for corpus in CORPORA)}
    assert PIPELINES["__default__"] is PIPELINES["train_mosei"]


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_nothing_that_trains_or_calibrates_stands_on_the_test_split(name):
    pipeline = PIPELINES[name]
    choosing = pipeline.only_nodes_with_tags("training", "calibration").nodes
    assert len(choosing) >= 6
    for node in choosing:
        behind: Pipeline = pipeline.to_nodes(node.name)
        touched = behind.datasets() | set(node.inputs)
        assert not [dataset for dataset in touched if "test" in dataset], node.name


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_the_test_split_is_there_to_be_kept_away(name):
    corpus = name.removeprefix("train_").replace("__default__", "mosei")
    readers = [n for n in PIPELINES[name].nodes if f"{corpus}.test_samples" in n.inputs]
    assert {tag for node in readers for tag in node.tags} <= {"alignment", "evaluation", "gpu"}
    assert any("evaluation" in node.tags for node in readers)


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_nodes_are_namespaced_named_and_belong_to_one_stage(name):
    corpus = name.removeprefix("train_").replace("__default__", "mosei")
    for node in PIPELINES[name].nodes:
        assert node.namespace == corpus
        assert node.name == f"{corpus}.{node.short_name.replace(' ', '_').lower()}"
        assert len(node.tags & set(STAGES)) == 1


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_the_only_loose_ends_are_raw_files_and_parameters(name):
    corpus = name.removeprefix("train_").replace("__default__", "mosei")
    inputs = {i for i in PIPELINES[name].inputs() if not i.startswith("params:")}
    assert inputs == {f"{corpus}.raw"}
