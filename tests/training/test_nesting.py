"""Validation groups that choose the epoch, and those that are left to calibration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmer.errors import InputError
from mmer.samples.batches import Samples, pack
from mmer.training.loop import train
from mmer.training.nesting import groups_for_epochs, only_groups, without_groups
from mmer.training.settings import OptimiserSettings, TrainingSettings


def quick(**changes: object) -> TrainingSettings:
    optimiser = OptimiserSettings(learning_rate=5e-3)
    settings = {"epochs": 4, "batch_size": 16, "device": "cpu", "optimiser": optimiser}
    return TrainingSettings(**{**settings, **changes})


@pytest.fixture
def packed(toy_table) -> tuple[Samples, Samples]:
    return pack(toy_table(60)), pack(toy_table(60, seed=1, split="valid"))


def test_whole_groups_stand_on_one_side(packed):
    valid = packed[1]
    chosen = groups_for_epochs(valid, 0.3)
    ours, others = only_groups(valid, chosen), without_groups(valid, chosen)
    assert len(chosen) == 6
    assert set(ours.group_ids) == set(chosen)
    assert not set(ours.group_ids) & set(others.group_ids)
    assert sorted(ours.sample_ids + others.sample_ids) == sorted(valid.sample_ids)


def test_which_groups_depends_on_their_names_alone(packed):
    valid = packed[1]
    chosen = groups_for_epochs(valid, 0.3)
    backwards = valid.take(np.arange(len(valid))[::-1].copy())
    assert groups_for_epochs(backwards, 0.3) == chosen
    relabelled = replace(valid, labels=1 - valid.labels)
    assert groups_for_epochs(relabelled, 0.3) == chosen
    assert set(chosen) < set(groups_for_epochs(valid, 0.6))
    assert groups_for_epochs(valid, 1.0) == ()


def test_epochs_are_judged_on_their_groups_alone(packed, building):
    train_samples, valid = packed
    settings = quick(selection_share=0.5)
    build = building(train_samples)
    history = train(build, train_samples, valid, settings).history
    assert history.epoch_groups == groups_for_epochs(valid, 0.5)
    assert "10 groups" in history.criterion
    theirs = np.isin(valid.group_ids, history.epoch_groups)
    assert theirs.sum() == len(valid) / 2

    def told(changed: np.ndarray) -> list[float]:
        labels = valid.labels.clone()
        labels[torch.from_numpy(changed)] = 1 - labels[torch.from_numpy(changed)]
        found = train(build, train_samples, replace(valid, labels=labels), settings).history
        return [epoch.selection for epoch in found.epochs]

    figures = [epoch.selection for epoch in history.epochs]
    assert told(~theirs) == figures
    assert told(theirs) != figures


def test_the_steps_of_training_do_not_depend_on_it(packed, building):
    build = building(packed[0])
    losses = [
        [epoch.losses for epoch in train(build, *packed, quick(**share)).history.epochs]
        for share in ({}, {"selection_share": 1.0}, {"selection_share": 0.5})
    ]
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize(
    ("groups", "share", "found", "remedy"),
    [
        (20, 0.01, "0 and 20", "between 0.05 and 0.9, or to 1"),
        (20, 0.97, "19 and 1", "between 0.05 and 0.9, or to 1"),
        (3, 0.5, "2 and 1", "between 0.333 and 0.333, or to 1"),
        (2, 0.5, "1 and 1", "Set it to 1: there are too few groups"),
    ],
)
def test_too_few_groups_on_a_side_are_refused(packed, groups, share, found, remedy):
    valid = packed[1].take(np.arange(3 * groups))
    with pytest.raises(InputError, match=f"selection_share.*{found}.*{remedy}"):
        groups_for_epochs(valid, share)


@pytest.mark.parametrize("side", [True, False])
def test_a_side_without_any_label_is_refused(packed, side):
    valid = packed[1]
    theirs = np.isin(valid.group_ids, groups_for_epochs(valid, 0.5))
    labels = valid.labels.clone()
    labels[torch.from_numpy(theirs == side)] = 0
    with pytest.raises(InputError, match=r"some sample with a label on either side.*10 of 20"):
        groups_for_epochs(replace(valid, labels=labels), 0.5)


def test_what_does_not_fit_stops_before_training(packed, building_pooled):
    never: list[int] = []
    build = building_pooled(packed[0])

    def counted():
        never.append(1)
        return build()

    with pytest.raises(InputError, match="selection_share"):
        train(counted, *packed, quick(selection_share=0.01))
    settings = quick(selection_share=0.5, batch_size=31, drop_last_validation_batch=True)
    with pytest.raises(InputError, match=r"at least 31, one whole batch.*found 30"):
        train(counted, *packed, settings)
    assert not never
