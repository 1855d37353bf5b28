from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer.errors import InputError
from mmer.models.carat import Carat
from mmer.models.settings import CaratSettings
from mmer.models.weights import TrainedModel

SMALL = CaratSettings(
    hidden=8,
    latent=4,
    heads=2,
    feed_forward=8,
    layers={"text": 1, "visual": 1, "audio": 1},
    max_length=9,
    pseudo_aligned_length=3,
    queue=8,
)


def model(seed: int = 0) -> TrainedModel:
    torch.manual_seed(seed)
    network = Carat(SMALL, {"text": 3, "visual": 2, "audio": 4}, 2)
    return TrainedModel.from_network(
        network, ("joy", "fear"), "toy", True, {"commit": "abc", "data": "0" * 64}
    )


CONTENT = model().to_bytes()


def test_round_trip(tmp_path: Path) -> None:
    saved = model()
    saved.save(tmp_path / "carat.safetensors")
    loaded = TrainedModel.load(tmp_path / "carat.safetensors")
    assert replace(loaded, state={**saved.state}) == replace(saved, state={**saved.state})
    assert all(torch.equal(loaded.state[name], saved.state[name]) for name in saved.state)
    assert loaded.digest == saved.digest
    assert [path.name for path in tmp_path.iterdir()] == ["carat.safetensors"]


def test_same_model_same_bytes() -> None:
    assert model().to_bytes() == CONTENT


def test_built_network_is_the_network(make_network: Callable, make_batch: Callable) -> None:
    network, batch = make_network(pseudo_aligned_length=4), make_batch()
    network.training_losses(batch.features, batch.masks, batch.labels)
    saved = TrainedModel.from_network(network, ("a", "b", "c"), "toy", True, {})
    before = torch.get_rng_state()
    built = saved.build()
    assert torch.equal(torch.get_rng_state(), before)
    assert not built.training
    expected = network.eval().scores(batch.features, batch.masks)
    assert torch.equal(built.scores(batch.features, batch.masks), expected)
    built.heads.weight.data.zero_()
    assert (saved.state["heads.weight"] != 0).any()


def test_a_copy_is_taken_of_the_network(make_network: Callable) -> None:
    network = make_network()
    saved = TrainedModel.from_network(network, ("a", "b", "c"), "toy", True, {})
    digest = saved.digest
    network.heads.weight.data.zero_()
    assert replace(saved).digest == digest


def test_the_digest_knows_every_weight() -> None:
    saved = model()
    digests = {saved.digest}
    names = list(saved.state)[::9]
    for name in names:
        tensor = saved.state[name]
        changed = tensor.clone()
        changed.view(-1)[-1] += 1
        digests.add(replace(saved, state={**saved.state, name: changed}).digest)
    assert len(digests) == len(names) + 1
    described_otherwise = replace(saved, corpus="other", provenance={})
    assert described_otherwise.digest == saved.digest


def test_state_that_does_not_fit_is_refused_by_name() -> None:
    saved = model()
    state = dict(saved.state)
    weight = state.pop("heads.weight")
    with pytest.raises(InputError, match=r"missing.*heads\.weight"):
        replace(saved, state=state)
    with pytest.raises(InputError, match=r"unknown.*extra"):
        replace(saved, state={**saved.state, "extra": weight})
    with pytest.raises(InputError, match=r"heads\.weight"):
        replace(saved, state={**saved.state, "heads.weight": weight.double()})
    with pytest.raises(InputError):
        replace(saved, labels=("joy", "fear", "anger"))


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, len(CONTENT) - 1), change=st.integers(1, 255))
def test_any_changed_byte_is_noticed(place: int, change: int) -> None:
    damaged = bytearray(CONTENT)
    damaged[place] ^= change
    with pytest.raises(InputError, match=r"somewhere\.safetensors"):
        TrainedModel.from_bytes(bytes(damaged), "somewhere.safetensors")


@settings(max_examples=40, deadline=None)
@given(length=st.integers(0, len(CONTENT) - 1))
def test_a_truncated_file_is_noticed(length: int) -> None:
    with pytest.raises(InputError, match=r"somewhere\.safetensors"):
        TrainedModel.from_bytes(CONTENT[:length], "somewhere.safetensors")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "carat.safetensors"
    model().save(path)
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        model(seed=1).save(path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["carat.safetensors"]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        TrainedModel.load(tmp_path / "nothing.safetensors")
