"""The network without persons."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from mmer.systems.layers.settings import ReconstructionParts
from mmer.systems.ramer.network import Ramer
from mmer.systems.ramer.settings import RamerParts, RamerWeights

OWN_PARTS = sorted(RamerParts.model_fields.keys() - ReconstructionParts.model_fields.keys())


def lesson(network, batch, seed=3):
    network.train().zero_grad()
    torch.manual_seed(seed)
    losses = network.losses(batch)
    losses.terms["total"].backward()
    return losses


def gradients(network):
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def without(batch, modality, samples):
    present = torch.ones(len(batch.labels), dtype=torch.bool)
    present[samples] = False
    return batch.hide({modality: present})


def test_terms_are_named_as_their_weights(make_network, make_batch):
    terms = lesson(make_network(), make_batch()).terms
    assert set(terms) == {"total", *RamerWeights.model_fields} - {"mse_personality"}
    assert all(term.isfinite() and term.ndim == 0 for term in terms.values())


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(
    "widths", [{"face": 4}, {"face": 4, "voice": 3}, {"a": 2, "b": 3, "c": 4, "d": 5}], ids=len
)
def test_any_number_of_modalities(make_network, make_batch, widths, reference):
    names = tuple(widths)
    network = make_network(
        widths=widths,
        reference=reference,
        pseudo_aligned=names[1:],
        pseudo_aligned_length=6,
        dropout=0.2,
    )
    batch = make_batch(widths=widths)
    for _ in range(2):
        losses = lesson(network, batch)
        assert all(term.isfinite() for term in losses.terms.values())
        found = gradients(network)
        assert set(found) == {name for name, _ in network.named_parameters()}
        assert all(gradient.isfinite().all() for gradient in found.values())
        network.after_step(losses.carry)
    assert network.eval().scores(batch).shape == (5, 3)
    attention = network.label_attention(batch)
    assert {m: x.shape for m, x in attention.items()} == dict.fromkeys(widths, (5, 9, 3))


def test_padding_changes_neither_scores_nor_losses_nor_gradients(make_network, make_batch):
    batch = make_batch()
    features = {m: F.pad(x, (0, 0, 0, 3), value=7.0) for m, x in batch.features.items()}
    masks = {m: F.pad(x, (0, 3)) for m, x in batch.masks.items()}
    longer = replace(batch, features=features, masks=masks)
    for reference in (False, True):
        networks = [make_network(reference=reference) for _ in range(2)]
        terms = [lesson(n, b).terms for n, b in zip(networks, (batch, longer), strict=True)]
        for name, term in terms[0].items():
            torch.testing.assert_close(terms[1][name], term, msg=name)
        first, second = (gradients(n) for n in networks)
        for name, gradient in first.items():
            torch.testing.assert_close(second[name], gradient, atol=2e-6, rtol=1e-4, msg=name)
        scores = [n.eval().scores(b) for n, b in zip(networks, (batch, longer), strict=True)]
        torch.testing.assert_close(*scores)


@pytest.mark.parametrize("samples", [1, slice(None)], ids=["one sample", "whole batch"])
def test_absent_modality(make_network, make_batch, samples):
    network, batch = make_network(dropout=0.3), without(make_batch(), "visual", samples)
    losses = lesson(network, batch)
    assert all(term.isfinite() for term in losses.terms.values())
    assert all(gradient.isfinite().all() for gradient in gradients(network).values())
    before = network.eval().scores(batch)
    batch.features["visual"][samples] = 5.0
    torch.testing.assert_close(network.scores(batch), before)


def test_an_absent_modality_has_no_specific_features(make_network, make_batch):
    """Without the visual modality in any sample, what it would be is not learned from zeros."""
    network = make_network()
    lesson(network, without(make_batch(), "visual", slice(None)))
    gradient = network.specific.linear.weight.grad
    assert (gradient[1] == 0).all()
    assert (gradient[[0, 2]] != 0).any()


def test_same_seed_same_bits(make_network, make_batch):
    batch = make_batch()
    networks = [make_network(dropout=0.3, common_dropout=0.3) for _ in range(2)]
    terms = [lesson(network, batch).terms for network in networks]
    assert all(torch.equal(terms[0][name], terms[1][name]) for name in terms[0])
    first, second = (gradients(network) for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_losses_change_nothing(make_network, make_batch):
    network, batch = make_network(dropout=0.3), make_batch()
    network.after_step(lesson(network, batch).carry)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    network.losses(batch)
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


def test_the_adversarial_block_is_no_part_of_scoring(make_network, make_batch):
    network, batch = make_network().eval(), make_batch()
    before = network.scores(batch)
    for part in (network.specific, network.common, network.discriminator):
        for parameter in part.parameters():
            parameter.data.normal_()
    assert torch.equal(network.scores(batch), before)


def test_features_are_drawn_to_where_the_discriminator_errs(make_network, make_batch):
    """What specific features gain by being told, common ones gain by not being told."""
    network, batch = make_network().train(), make_batch()
    for term, extractor, sign in (
        ("adversary_specific", network.specific, 1),
        ("adversary_common", network.common, -1),
    ):
        torch.manual_seed(3)
        loss = network.losses(batch).terms[term]
        weights = extractor.linear.weight
        (gradient,) = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            weights -= 1e-2 * gradient / gradient.norm()
            torch.manual_seed(3)
            moved = network.losses(batch).terms[term] - loss
            weights += 1e-2 * gradient / gradient.norm()
        assert moved * sign < 0, term


@pytest.mark.parametrize("part", OWN_PARTS)
def test_what_is_left_without_a_part_trains_and_scores(make_network, make_batch, part):
    network, batch = make_network(parts={part: False}), make_batch()
    optimiser = torch.optim.SGD(network.parameters(), 0.05)
    before = lesson(network, batch).terms["bce_aggregation"].item()
    for _ in range(15):
        losses = lesson(network, batch)
        optimiser.step()
        network.after_step(losses.carry)
    assert lesson(network, batch).terms["bce_aggregation"].item() < before
    assert network.eval().scores(batch).isfinite().all()


@pytest.mark.parametrize(
    ("part", "terms"),
    [
        ("adversary", {"adversary_specific", "adversary_common"}),
        ("orthogonality", {"orthogonality_specific", "orthogonality_common"}),
        ("common_classification", {"bce_common"}),
        ("contrast", {"contrast"}),
        ("alpha", {"bce_alpha", "mse_alpha"}),
        ("stack_shuffle", set()),
    ],
)
def test_its_losses_are_gone(make_network, make_batch, part, terms):
    batch = make_batch()
    whole = lesson(make_network(), batch).terms
    left = lesson(make_network(parts={part: False}), batch).terms
    assert whole.keys() - left.keys() == terms


def test_without_the_shuffle_its_loss_is_that_of_the_plain_aggregation(make_network, make_batch):
    batch = make_batch()
    for changes in ({"parts": {"stack_shuffle": False}}, {"reference": True}):
        terms = lesson(make_network(**changes), batch).terms
        torch.testing.assert_close(terms["bce_shuffled"], terms["bce_aggregation"])
    terms = lesson(make_network(), batch).terms
    assert abs(terms["bce_shuffled"] - terms["bce_aggregation"]) > 1e-4


@pytest.mark.parametrize("with_persons", [False, True])
def test_a_step_never_asks_the_device_for_a_value(
    make_settings, make_talk, persons, with_persons, monkeypatch
):
    """Meta tensors have no values: whatever would wait for one fails."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no meta device
    batch = make_talk().to(torch.device("meta"))
    widths = {m: x.shape[2] for m, x in batch.features.items()}
    with torch.device("meta"):
        network = Ramer(make_settings(dropout=0.3), widths, 3, persons if with_persons else None)
    losses = network.losses(batch)
    losses.terms["total"].backward()
    network.after_step(losses.carry)
    assert network.eval().scores(batch).shape == (5, 3)


@pytest.mark.parametrize("with_persons", [False, True])
def test_bfloat16_autocast_stays_near_float32(make_network, make_talk, persons, with_persons):
    batch = make_talk()
    full, half = (make_network(persons=persons if with_persons else None) for _ in range(2))
    expected = lesson(full, batch).terms
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = half.train().losses(batch, half._shuffle(5, batch.labels.device)).terms
    terms["total"].backward()
    for name in terms.keys() - {"total", "bce_shuffled"}:
        assert terms[name].item() == pytest.approx(expected[name].item(), rel=0.1, abs=0.1), name
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in half.parameters())


@pytest.mark.parametrize("with_persons", [False, True])
def test_it_scores_in_double_precision_too(make_network, make_talk, persons, with_persons):
    """As a registered model does."""
    batch = make_talk()
    network = make_network(persons=persons if with_persons else None).eval()
    scores = network.scores(batch)
    features = {m: x.double() for m, x in batch.features.items()}
    doubled = network.double().scores(replace(batch, features=features))
    torch.testing.assert_close(doubled.float(), scores)
