"""Each part can be switched off, and then nothing depends on what it is made of."""

from __future__ import annotations

import pytest
import torch

from mmer.systems.carat.settings import CaratParts

PARTS = tuple(CaratParts.model_fields)


def lesson(network, batch, seed=3):
    network.train()
    torch.manual_seed(seed)
    return network.losses(batch)


def without(make_network, part):
    return make_network(parts={part: False})


@pytest.mark.parametrize("part", PARTS)
def test_what_is_left_trains_and_scores(make_network, make_batch, part):
    network, batch = without(make_network, part), make_batch()
    optimiser = torch.optim.SGD(network.parameters(), 0.05)
    before = lesson(network, batch).terms["total"].item()
    for _ in range(20):
        losses = lesson(network, batch)
        losses.terms["total"].backward()
        optimiser.step()
        optimiser.zero_grad()
        network.after_step(losses.carry)
    assert lesson(network, batch).terms["total"].item() < before
    scores = network.eval().scores(batch)
    assert torch.isfinite(scores).all()
    assert scores.shape == batch.labels.shape


@pytest.mark.parametrize(
    ("part", "terms"),
    [
        ("contrast", {"contrast"}),
        ("alpha", {"bce_alpha", "mse_alpha"}),
        ("beta", {"bce_beta", "mse_beta"}),
        ("prototypes", set()),
    ],
)
def test_its_losses_are_gone(make_network, make_batch, part, terms):
    batch = make_batch()
    whole = lesson(make_network(), batch).terms
    left = lesson(without(make_network, part), batch).terms
    assert whole.keys() - left.keys() == terms


@pytest.mark.parametrize(
    ("part", "parameters"),
    [("label_attention", "label_attention"), ("alpha", None), ("beta", None), ("contrast", None)],
)
def test_with_all_parts_it_is_what_it_was(make_network, make_batch, part, parameters):
    """Switching a part off changes the scores or the losses, so the switch is not idle."""
    batch = make_batch()
    torch.manual_seed(0)
    whole = make_network()
    torch.manual_seed(0)
    left = without(make_network, part)
    assert lesson(whole, batch).terms["total"] != lesson(left, batch).terms["total"]
    if parameters:
        assert not [name for name, _ in left.named_parameters() if parameters in name]


def test_without_prototypes_nothing_depends_on_them(make_network, make_batch):
    network, batch = without(make_network, "prototypes"), make_batch()
    network.eval()
    before = network.scores(batch)
    network.prototypes.vectors.normal_()
    assert torch.equal(network.scores(batch), before)
    whole = make_network().eval()
    before = whole.scores(batch)
    whole.prototypes.vectors.normal_()
    assert not torch.equal(whole.scores(batch), before)


def test_without_label_attention_all_labels_look_at_the_mean(make_network, make_batch):
    network, batch = without(make_network, "label_attention").eval(), make_batch()
    u_MBLd = network(batch).label_specific
    assert torch.equal(u_MBLd[:, :, :1].expand_as(u_MBLd), u_MBLd)
    for modality, looks in network.label_attention(batch).items():
        mask = batch.masks[modality]
        expected = mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
        assert torch.allclose(looks[..., 0], expected.to(looks.dtype))


def test_what_is_not_shuffled_stays(make_network, make_batch, monkeypatch):
    import mmer.systems.carat.network as module

    drawn, apply = [], module.apply_shuffle

    def noted(shuffle, *others):
        drawn.append(shuffle)
        return apply(shuffle, *others)

    monkeypatch.setattr(module, "apply_shuffle", noted)
    batch = make_batch()
    for part in ("shuffle_samples", "shuffle_modalities"):
        lesson(without(make_network, part), batch)
    by_modality, by_sample = drawn
    in_order = torch.arange(len(batch.labels)).expand_as(by_modality.samples)
    assert torch.equal(by_modality.samples, in_order)
    assert not torch.equal(by_sample.samples, in_order)
    kept = torch.arange(len(batch.features)).expand_as(by_sample.modalities)
    assert torch.equal(by_sample.modalities, kept)
    assert not torch.equal(by_modality.modalities, kept)
