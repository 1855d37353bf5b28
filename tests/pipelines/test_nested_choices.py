"""Choices that do not see each other: the epoch on some validation groups, the rest on others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mmer.calibration.calibration import Calibration
from mmer.calibration.settings import CalibrationSettings
from mmer.metrics.scores import Scores
from mmer.pipelines.calibration.nodes import calibrate_scores, score_valid
from mmer.pipelines.evaluation.nodes import score_test
from mmer.pipelines.training.nodes import fit_system
from mmer.samples.table import Sample, SampleTable, write_table
from mmer.systems import SYSTEMS
from mmer.systems.contract import FittedSystem
from mmer.systems.storage import load_fitted, save_fitted
from mmer.training.checkpoints import CheckpointSettings

Fitted = Callable[..., FittedSystem]
TRAINING = {"epochs": 2, "device": "cpu", "optimiser": {"learning_rate": 5e-3}}


@pytest.fixture
def tables(toy_table) -> dict[str, SampleTable]:
    return {
        split: toy_table(count, seed, split)
        for seed, (split, count) in enumerate((("train", 90), ("valid", 150), ("test", 60)))
    }


@pytest.fixture
def fitted(tables, tmp_path) -> Fitted:
    """The pooled network, with settings of its training changed."""

    def fit(name: str = "pooled", **training: object) -> FittedSystem:
        settings = SYSTEMS[name].settings()
        if training:
            given = {"network": {"step_width": 8}, "training": {**TRAINING, **training}}
            settings = SYSTEMS[name].settings.model_validate(given)
        splits = tables["train"], tables["valid"]
        return fit_system(*splits, settings, CheckpointSettings(), tmp_path / "kept", name)[0]

    return fit


@pytest.fixture
def relabelled(tables, toy_info, toy_samples, tmp_path) -> Callable[..., SampleTable]:
    """The validation table with every label of some groups turned round."""

    def made(name: str, groups: set[str]) -> SampleTable:
        def turned(sample: Sample) -> Sample:
            changed = sample.group_id in groups
            return replace(sample, labels=1 - sample.labels) if changed else sample

        path = tmp_path / f"{name}.arrow"
        info = toy_info.model_copy(update={"split": "valid"})
        return write_table(path, info, map(turned, toy_samples(150, seed=1)))

    return made


def calibrated(fitted: FittedSystem, valid: SampleTable) -> tuple[Scores, Calibration]:
    scores = score_valid(fitted, valid)
    return scores, calibrate_scores(scores, CalibrationSettings(minimum_positives=5))


def test_calibration_sees_no_group_that_the_epoch_was_chosen_on(tables, fitted):
    system = fitted(selection_share=0.4)
    scores, calibration = calibrated(system, tables["valid"])
    chosen, seen = set(system.info.epoch_groups), set(scores.group_ids)
    everybody = set(tables["valid"].arrow()["group_id"].to_pylist())
    assert (len(chosen), len(seen), seen | chosen) == (20, 30, everybody)
    assert not seen & chosen
    assert (calibration.groups, calibration.samples) == (30, 90)
    assert scores.info.epoch_groups == 20


def test_labels_of_these_groups_do_not_change_it(tables, fitted, relabelled):
    system = fitted(selection_share=0.4)
    chosen = set(system.info.epoch_groups)
    others = set(tables["valid"].arrow()["group_id"].to_pylist()) - chosen
    found = calibrated(system, tables["valid"])[1]
    assert calibrated(system, relabelled("chosen", chosen))[1] == found
    assert calibrated(system, relabelled("others", others))[1] != found


def test_a_system_from_a_file_says_which_groups_they_were(tables, fitted, tmp_path: Path):
    system = fitted(selection_share=0.4)
    save_fitted(system, tmp_path / "system.safetensors")
    read = load_fitted(tmp_path / "system.safetensors")
    assert read.info.epoch_groups == system.info.epoch_groups
    assert calibrated(read, tables["valid"])[1] == calibrated(system, tables["valid"])[1]


def test_on_test_it_scores_everybody(tables, fitted):
    scores = score_test(fitted(selection_share=0.4), tables["test"])
    assert scores.sample_ids == tuple(tables["test"].arrow()["sample_id"].to_pylist())


@pytest.mark.parametrize("share", [{"epochs": 2}, {"selection_share": 1.0}])
def test_a_share_of_one_leaves_all_groups_to_both(tables, fitted, share):
    system = fitted(**share)
    scores, calibration = calibrated(system, tables["valid"])
    assert (system.info.epoch_groups, scores.info.epoch_groups) == ((), 0)
    assert scores.sample_ids == tuple(tables["valid"].arrow()["sample_id"].to_pylist())
    assert calibration.groups == 50


@pytest.mark.parametrize("name", ["linear", "label_prior", "all_positive"])
def test_systems_without_epochs_calibrate_on_all(tables, fitted, name):
    system = fitted(name)
    assert system.info.kept_epoch is None
    assert len(score_valid(system, tables["valid"]).sample_ids) == 150


def test_every_seed_sets_the_same_groups_aside(fitted):
    first, second = (fitted(selection_share=0.4, seed=seed) for seed in (1, 2))
    assert first.digest != second.digest
    assert first.info.epoch_groups == second.info.epoch_groups
