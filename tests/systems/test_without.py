"""Systems from which one part has been taken away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmer.errors import InputError
from mmer.samples.batches import pack
from mmer.systems import SYSTEMS
from mmer.systems.contract import fit_without, scored

CPU = torch.device("cpu")
TRAINING = {"epochs": 1, "batch_size": 16, "device": "cpu"}
LAYERS = {"text": 1, "visual": 1, "audio": 1}
SMALL = {"hidden": 16, "latent": 8, "heads": 2, "feed_forward": 16, "layers": LAYERS, "queue": 64}
SETTINGS = {
    "carat": {"network": SMALL, "training": TRAINING},
    "ramer": {"network": SMALL, "training": TRAINING},
    "pooled": {"network": {"step_width": 8}, "training": TRAINING},
    "linear": {"penalties": [0.1], "poolings": ["mean"]},
}


@pytest.fixture
def samples(toy_table):
    return pack(toy_table(60)), pack(toy_table(30, seed=1, split="valid"))


@pytest.fixture(params=sorted(SYSTEMS))
def recipe(request):
    system = SYSTEMS[request.param]
    return system, system.settings.model_validate(SETTINGS.get(request.param, {}))


def test_every_part_and_modality_can_be_taken_away(samples, recipe):
    system, settings = recipe
    digests = {system.fit(*samples, settings).fitted.digest}
    parts = [*system.parts, *samples[0].modalities]
    for part in parts:
        fitted, _ = fit_without(system, part, *samples, settings)
        assert fitted.info.without == part
        assert fitted.info.title == f"{system.title} without {part.replace('_', ' ')}"
        info = scored(fitted, system.scorer(fitted, CPU), samples[1]).info
        assert (info.title, info.without) == (fitted.info.title, part)
        digests.add(fitted.digest)
    assert len(digests) == 1 + len(parts)


def test_nothing_of_a_modality_that_was_taken_away_counts(samples, recipe, toy_table):
    """Neither in training nor in scoring."""
    system, settings = recipe
    train, valid = samples
    fitted, _ = fit_without(system, "text", train, valid, settings)
    noise = {**valid.values, "text": torch.randn_like(valid.values["text"]) * 9}
    other = type(valid)(**{**vars(valid), "values": noise})
    noisy = {**train.values, "text": torch.randn_like(train.values["text"]) * 9}
    again, _ = fit_without(
        system, "text", type(train)(**{**vars(train), "values": noisy}), other, settings
    )
    assert again.digest == fitted.digest
    scorer = system.scorer(fitted, CPU)
    assert np.array_equal(
        scored(fitted, scorer, valid).scores, scored(fitted, scorer, other).scores
    )


def test_what_a_system_does_not_have_cannot_be_taken_away(samples, recipe):
    system, settings = recipe
    with pytest.raises(InputError, match="gravity"):
        fit_without(system, "gravity", *samples, settings)


def test_without_nothing_it_is_the_system_itself(samples, recipe):
    system, settings = recipe
    whole = fit_without(system, None, *samples, settings).fitted
    assert whole.digest == system.fit(*samples, settings).fitted.digest
    assert whole.info.without is None


def test_parameters_are_what_the_gradient_moves(samples):
    system = SYSTEMS["pooled"]
    fitted = system.fit(*samples, system.settings.model_validate(SETTINGS["pooled"])).fitted
    widths, labels = fitted.info.widths, len(fitted.info.labels)
    pooled = len(widths) * (2 * 8 + 1) * labels + labels
    of_steps = sum(2 * width + 8 * (width + 1) for width in widths.values())  # norm, linear layer
    assert system.count_parameters(fitted) == pooled + of_steps
