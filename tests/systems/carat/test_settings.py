from __future__ import annotations

from dataclasses import replace

import pytest

from mmer.errors import InputError
from mmer.models.settings import MODALITIES, CaratSettings, LossWeights


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"hidden": 0}, "hidden"),
        ({"queue": 0}, "queue"),
        ({"heads": 7}, "heads"),
        ({"hidden": 33, "heads": 3}, "hidden"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"temperature": 0.0}, "temperature"),
        ({"prototype_momentum": 1.5}, "prototype_momentum"),
        ({"layers": {"text": 6, "visual": 4}}, "layers"),
        ({"layers": {"text": 6, "visual": 4, "audio": 0}}, "layers.audio"),
        ({"pseudo_aligned_length": 61}, "pseudo_aligned_length"),
        ({"reference_lengths": dict.fromkeys(MODALITIES, 50)}, "reference_lengths"),
        (
            {"reference": True, "reference_lengths": dict.fromkeys(MODALITIES, 61)},
            "reference_lengths",
        ),
    ],
)
def test_impossible_settings_are_refused_by_name(changes: dict, key: str) -> None:
    with pytest.raises(InputError) as error:
        CaratSettings(**changes)
    assert error.value.key == key


def test_negative_loss_weight_is_refused() -> None:
    with pytest.raises(InputError, match="mse_beta"):
        LossWeights(mse_beta=-1)


def test_longest_sequences() -> None:
    aligned = CaratSettings()
    assert {m: aligned.longest(m) for m in MODALITIES} == dict.fromkeys(MODALITIES, 60)
    pseudo = CaratSettings(pseudo_aligned_length=50)
    assert [pseudo.longest(m) for m in MODALITIES] == [60, None, None]
    lengths = {"text": 50, "visual": 500, "audio": 500}
    unaligned = replace(pseudo, reference=True, reference_lengths=lengths)
    assert {m: unaligned.longest(m) for m in MODALITIES} == lengths
