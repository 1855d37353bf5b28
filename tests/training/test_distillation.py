"""What a network says of whole samples teaches it what to say of less of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from mmer.errors import InputError
from mmer.samples.batches import Batch, Samples, pack
from mmer.training.absent import with_told
from mmer.training.distillation import DroppedBatch, distillation, with_complete
from mmer.training.loop import drop_modalities, start, take_step, train
from mmer.training.network import Losses, Network
from mmer.training.scoring import score_samples
from mmer.training.settings import OptimiserSettings, TrainingSettings


def quick(weight: float, **changes: object) -> TrainingSettings:
    given = {
        "epochs": 2,
        "batch_size": 16,
        "device": "cpu",
        "modality_dropout": 0.3,
        "optimiser": OptimiserSettings(learning_rate=5e-3),
        "absent": {"distillation": weight},
        **changes,
    }
    return TrainingSettings.model_validate(given)


@pytest.fixture
def packed(toy_table) -> Samples:
    return pack(toy_table(60))


def dropped(batch: Batch, rate: float = 0.5) -> DroppedBatch:
    draws = np.random.default_rng(0).random((3, len(batch.labels)))
    return with_complete(drop_modalities(batch, rate, draws), batch)


def test_it_needs_modalities_to_be_hidden():
    with pytest.raises(ValidationError, match=r"absent\.distillation needs modality_dropout"):
        TrainingSettings.model_validate({"absent": {"distillation": 0.5}})
    with pytest.raises(ValidationError, match="distillation"):
        TrainingSettings.model_validate({"absent": {"distillation": -1.0}})
    with pytest.raises(ValidationError, match="fill"):
        TrainingSettings.model_validate({"absent": {"fill": "zeros"}})


class Said(Network):
    """Says a learned number of whole samples, and another of others; counts dropout's mode."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = nn.Parameter(torch.tensor(0.8))
        self.less = nn.Parameter(torch.tensor(0.3))
        self.modes: list[bool] = []

    def losses(self, batch: Batch) -> Losses:
        return Losses({"total": 0 * self.whole})

    def scores(self, batch: Batch) -> Tensor:
        self.modes.append(self.training)
        has_all = torch.stack([mask.any(dim=1) for mask in batch.masks.values()]).all(dim=0)
        return torch.where(has_all[:, None], self.whole, self.less).expand(-1, 3)


def test_it_is_the_divergence_and_the_teacher_has_no_gradient(packed):
    network = Said().train()
    batch = packed.gather(np.arange(8))
    hiding = torch.arange(8) < 2
    less = batch.hide({"text": ~hiding})
    term = distillation(network, less, batch)
    p, q = 0.8, 0.3
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert term.item() == pytest.approx(divergence / 4, abs=1e-6)
    term.backward()
    assert network.whole.grad is None or network.whole.grad.abs() < 1e-7  # of equal ones only
    assert network.less.grad < 0  # to say more
    assert network.modes == [False, False]
    assert network.training
    assert distillation(network, batch, batch).item() == pytest.approx(0, abs=1e-6)


def test_it_joins_the_total_with_its_weight(packed, building):
    batch = dropped(packed.gather(np.arange(16)))
    states = [start(building(packed), packed, quick(weight)) for weight in (0.0, 0.7)]
    terms = []
    for state in states:
        state.network.train()
        torch.manual_seed(5)
        terms.append(state.losses(batch).terms)
    without, with_it = terms
    assert "distillation" not in without
    assert with_it["distillation"] > 0
    expected = without["total"] + 0.7 * with_it["distillation"]
    torch.testing.assert_close(with_it["total"], expected)
    for name in without.keys() - {"total"}:
        assert torch.equal(without[name], with_it[name])


def test_it_draws_nothing_and_leaves_the_mode(packed, building):
    state = start(building(packed), packed, quick(1.0))
    network, batch = state.network.train(), dropped(packed.gather(np.arange(16)))
    before = torch.get_rng_state()
    distillation(network, batch, batch.complete)
    assert torch.equal(torch.get_rng_state(), before)
    assert network.training
    assert all(module.training for module in network.modules())


def test_scores_of_less_are_pulled_to_those_of_all(packed, building_pooled):
    """Step by step on one batch: closer than the same steps without the term bring them."""

    def gap(weight: float) -> float:
        settings = quick(weight, optimiser={"learning_rate": 3e-3, "warmup": 0.0}, epochs=40)
        state = start(building_pooled(packed, dropout=0.0), packed, settings)
        batch = dropped(packed.gather(np.arange(48)))
        state.network.train()
        for _ in range(40):
            state.end_step(take_step(state, batch, bfloat16=False))
        return distillation(state.network, batch, batch.complete).item()

    assert gap(20.0) < 0.7 * gap(0.0)


def test_a_batch_that_does_not_fit_is_halved_with_what_it_was(packed):
    told = {"text": torch.rand(16, 3)}
    batch = dropped(with_told(packed.gather(np.arange(16)), told))
    half = batch.first(8)
    assert torch.equal(half.told["text"], told["text"][:8])
    assert torch.equal(half.complete.told["text"], told["text"][:8])
    assert isinstance(half, DroppedBatch)
    assert len(half.labels) == len(half.complete.labels) == 8
    for m, mask in batch.complete.masks.items():
        assert torch.equal(half.complete.masks[m], mask[:8])
        assert torch.equal(half.masks[m], batch.masks[m][:8])


class Silent(Said):
    """Computes its scores without a gradient."""

    def scores(self, batch: Batch) -> Tensor:
        return super().scores(batch).detach()


def test_a_network_whose_scores_have_no_gradient_is_refused(packed):
    with pytest.raises(InputError, match=r"absent\.distillation.*have a gradient"):
        train(Silent, packed, packed, quick(1.0))


@pytest.mark.parametrize("fill", ["mask", "prototypes"])
def test_the_same_settings_give_the_same_bits_and_the_term_is_recorded(packed, building, fill):
    settings = quick(1.0, absent={"fill": fill, "distillation": 1.0}, epochs=1)
    found = [train(building(packed), packed, packed, settings) for _ in "ab"]
    scores = [score_samples(one.network, packed) for one in found]
    np.testing.assert_array_equal(*scores)
    assert found[0].history.epochs[0].losses["distillation"] > 0


def test_what_is_not_hidden_is_given_whole(packed):
    batch = dropped(packed.gather(np.arange(30)), rate=0.0)
    for m, x in batch.complete.features.items():
        assert torch.equal(batch.features[m], x)
    assert replace(batch, labels=batch.labels).complete is batch.complete
