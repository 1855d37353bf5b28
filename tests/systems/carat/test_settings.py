from __future__ import annotations

import pytest
from pydantic import ValidationError

from mmer.errors import InputError
from mmer.systems.carat.settings import CaratNetwork, CaratSettings, LossWeights

MODALITIES = ("text", "visual", "audio")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hidden": 0}, "hidden"),
        ({"queue": 0}, "queue"),
        ({"heads": 7}, "heads"),
        ({"hidden": 33, "heads": 3}, "hidden"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": float("nan")}, "dropout"),
        ({"temperature": 0.0}, "temperature"),
        ({"prototype_momentum": 1.5}, "prototype_momentum"),
        ({"layers": {"text": 6, "visual": 4, "audio": 0}}, "layers.audio"),
        ({"pseudo_aligned_length": 61}, "pseudo_aligned_length"),
        ({"reference_lengths": {"text": 50}}, "reference_lengths"),
        ({"reference": True, "reference_lengths": {"text": 61}}, "text"),
        ({"loss_weights": {"mse_beta": -1}}, "mse_beta"),
        ({"loss_weights": {"mse_gamma": 1}}, "mse_gamma"),
        ({"hiden": 8}, "hiden"),
    ],
)
def test_impossible_settings_are_refused_by_name(changes: dict, named: str) -> None:
    with pytest.raises(ValidationError) as error:
        CaratSettings(network=changes)
    first = error.value.errors()[0]
    place = ".".join(map(str, first["loc"]))
    assert place.startswith("network")
    assert named in place + first["msg"]


def test_longest_sequences() -> None:
    aligned = CaratNetwork()
    assert {m: aligned.longest(m) for m in MODALITIES} == dict.fromkeys(MODALITIES, 60)
    pseudo = CaratNetwork(pseudo_aligned_length=50)
    assert [pseudo.longest(m) for m in MODALITIES] == [60, None, None]
    lengths = {"text": 50, "visual": 500, "audio": 500}
    unaligned = CaratNetwork(pseudo_aligned_length=50, reference=True, reference_lengths=lengths)
    assert {m: unaligned.longest(m) for m in MODALITIES} == lengths


def test_modalities_of_a_corpus() -> None:
    CaratNetwork().check_modalities(("audio", "text", "visual"))
    with pytest.raises(InputError, match="face, voice"):
        CaratNetwork().check_modalities(("face", "voice"))
    two = CaratNetwork(layers={"face": 2, "voice": 1})
    two.check_modalities(("face", "voice"))  # nothing is pseudo-aligned


def test_the_published_weights_are_the_default() -> None:
    assert sum(LossWeights().model_dump().values()) == pytest.approx(5.21)
