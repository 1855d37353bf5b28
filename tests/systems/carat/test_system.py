from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmer.errors import InputError
from mmer.samples.batches import Samples, pack
from mmer.systems.carat.settings import CaratSettings
from mmer.systems.carat.system import CaratSystem
from mmer.systems.contract import FittedSystem, scored
from mmer.systems.storage import load_fitted, save_fitted

CPU = torch.device("cpu")
SMALL = {
    "hidden": 8,
    "latent": 4,
    "heads": 2,
    "feed_forward": 8,
    "layers": {"text": 1, "visual": 1, "audio": 1},
    "queue": 32,
}
SETTINGS = CaratSettings.model_validate(
    {"network": SMALL, "training": {"epochs": 2, "batch_size": 8, "device": "cpu"}}
)


@pytest.fixture
def samples(toy_table: Callable) -> tuple[Samples, Samples]:
    return pack(toy_table(21)), pack(toy_table(9, seed=1, split="valid"))


@pytest.fixture
def fitted(samples: tuple[Samples, Samples]) -> FittedSystem:
    return CaratSystem().fit(*samples, SETTINGS).fitted


def test_fit_score_save_and_load(
    samples: tuple[Samples, Samples], fitted: FittedSystem, tmp_path: Path
) -> None:
    system, valid = CaratSystem(), samples[1]
    assert fitted.info.system == "carat"
    assert fitted.info.kept_epoch in (1, 2)
    scores = scored(fitted, system.scorer(fitted, CPU), valid).scores
    save_fitted(fitted, tmp_path / "model.safetensors")
    loaded = load_fitted(tmp_path / "model.safetensors")
    before = torch.get_rng_state()
    scorer = system.scorer(loaded, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(scored(loaded, scorer, valid).scores, scores)


def test_training_moved_prototypes_queue_and_input_statistics(fitted: FittedSystem) -> None:
    assert (fitted.arrays["prototypes.vectors"] != 0).any()
    assert (fitted.arrays["queue.classes"] >= 0).all()
    for modality in fitted.info.features:
        assert (fitted.arrays[f"label_specific.{modality}.input_norm.mean"] != 0).any()


def test_the_scorer_has_arrays_of_its_own(
    samples: tuple[Samples, Samples], fitted: FittedSystem
) -> None:
    digest = fitted.digest
    CaratSystem().scorer(fitted, CPU).network.heads.weight.data.zero_()
    assert replace(fitted).digest == digest


def test_attention_of_each_sample(samples: tuple[Samples, Samples], fitted: FittedSystem) -> None:
    valid, index = samples[1], np.array([4, 0])
    found = CaratSystem().scorer(fitted, CPU).attention(valid, index)
    for sample, looks in zip(index, found, strict=True):
        for modality, attention in looks.items():
            assert attention.shape == (valid.host_lengths[modality][sample], 3)
            np.testing.assert_allclose(attention.sum(axis=0), 1, rtol=1e-5)


def test_arrays_that_do_not_fit_are_refused_by_name(fitted: FittedSystem) -> None:
    weight = fitted.arrays["heads.weight"]
    without = {name: x for name, x in fitted.arrays.items() if name != "heads.weight"}
    for arrays, match in (
        (without, r"lacks heads\.weight"),
        ({**fitted.arrays, "extra": weight}, r"has besides extra"),
        ({**fitted.arrays, "heads.weight": weight.double()}, r"heads\.weight.*float32.*float64"),
        ({**fitted.arrays, "heads.weight": weight[:, :2]}, r"heads\.weight"),
    ):
        with pytest.raises(InputError, match=match):
            CaratSystem().scorer(replace(fitted, arrays=arrays), CPU)


def test_settings_for_another_corpus(samples: tuple[Samples, Samples]) -> None:
    other = {"network": {**SMALL, "layers": {"face": 1, "voice": 1}}}
    with pytest.raises(InputError, match=r"network\.layers.*text, visual, audio.*face, voice"):
        CaratSystem().fit(*samples, CaratSettings.model_validate(other))
