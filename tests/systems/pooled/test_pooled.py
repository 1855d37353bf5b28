"""The pooled network: what it sees, what it does not, and that it learns."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from mmer.pipeline_registry import register_pipelines
from mmer.samples.batches import Batch, pack
from mmer.systems import SYSTEMS
from mmer.systems.pooled.network import PooledNetwork
from mmer.systems.pooled.settings import PooledNetworkSettings, PooledSettings
from mmer.systems.pooled.system import PooledSystem

WIDTHS = {"tone": 4, "gesture": 3}


def network(seed: int = 0) -> PooledNetwork:
    torch.manual_seed(seed)
    return PooledNetwork(PooledNetworkSettings(step_width=8), WIDTHS, 2).eval()


def batch(lengths: list[int], longest: int = 6, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    features = {
        m: torch.randn(len(lengths), longest, width, generator=generator) * mask[..., None]
        for m, width in WIDTHS.items()
    }
    return Batch(features, dict.fromkeys(WIDTHS, mask), torch.zeros(len(lengths), 2))


def with_features(given: Batch, modality: str, values: Tensor) -> Batch:
    return Batch({**given.features, modality: values}, given.masks, given.labels)


def test_padding_is_not_seen():
    built, short = network(), batch([3, 2], longest=3)
    filled = {m: torch.full((2, 5, width), 9.0) for m, width in WIDTHS.items()}
    longer = Batch(
        {m: torch.cat([x, filled[m]], dim=1) for m, x in short.features.items()},
        {m: torch.cat([x, torch.zeros(2, 5, dtype=bool)], dim=1) for m, x in short.masks.items()},
        short.labels,
    )
    torch.testing.assert_close(built.scores(longer), built.scores(short))


def test_the_order_of_steps_is_not_seen():
    built, given = network(), batch([6, 6])
    turned = with_features(given, "tone", given.features["tone"].flip(1))
    torch.testing.assert_close(built.scores(turned), built.scores(given))
    other = with_features(given, "tone", given.features["tone"] * torch.rand(2, 6, 4))
    assert not torch.allclose(built.scores(other), built.scores(given))


def test_an_absent_modality_is_zeros_and_a_bit_that_says_so():
    built, given = network(), batch([4, 5])
    hidden = given.hide({"gesture": torch.tensor([True, False])})
    encoder = built.encoders["gesture"]
    pooled = encoder(hidden.features["gesture"], hidden.masks["gesture"])
    assert pooled[0, -1] == 1
    assert pooled[0, :-1].abs().min() > 0
    assert torch.equal(pooled[1], torch.zeros(17))
    scores = built.scores(hidden)
    torch.testing.assert_close(scores[0], built.scores(given)[0])
    assert scores.isfinite().all()


def test_gradients_are_finite_where_a_modality_is_absent():
    built = network().train()
    hidden = batch([4, 5]).hide({"gesture": torch.tensor([False, False])})
    built.losses(hidden).terms["total"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in built.parameters())


def test_a_shift_and_scale_of_a_feature_is_undone_by_its_statistics():
    given = batch([6, 6])
    shift, scale = torch.tensor([5.0, 0.0, -3.0, 1.0]), torch.tensor([100.0, 1.0, 0.1, 7.0])
    moved = with_features(given, "tone", given.features["tone"] * scale + shift)
    zeros, ones = (
        {m: fill(width) for m, width in WIDTHS.items()} for fill in (torch.zeros, torch.ones)
    )
    built, told = network(), network()
    told.set_input_statistics({**zeros, "tone": shift}, {**ones, "tone": scale})
    torch.testing.assert_close(told.scores(moved), built.scores(given), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(built.scores(moved), built.scores(given), atol=1e-3)


def test_it_is_small_at_laptop_sizes():
    widths = {"text": 300, "visual": 35, "audio": 74}
    built = PooledNetwork(PooledNetworkSettings(), widths, 6)
    assert sum(p.numel() for p in built.parameters()) < 50_000


@pytest.mark.parametrize("wrong", [{"step_width": 0}, {"dropout": 1.0}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        PooledNetworkSettings(**wrong)


def test_it_learns_what_one_step_shows(toy_table):
    train, valid = (pack(toy_table(300, seed=seed)) for seed in range(2))
    system = PooledSystem()
    history = system.fit(train, valid, PooledSettings(training={"epochs": 30})).history
    # positive throughout scores 0.57
    assert max(epoch.selection for epoch in history.epochs) > 0.8


@pytest.mark.parametrize("system", [name for name in SYSTEMS if name != "pooled"])
def test_every_other_system_is_compared_with_it(system):
    pipeline = register_pipelines()[f"train_mosei_{system}"]
    (compare,) = (node for node in pipeline.nodes if node.short_name.lower() == "compare")
    assert "mosei.pooled.assessment" in compare.inputs
