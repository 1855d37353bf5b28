from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmer.errors import InputError
from mmer.models.carat import Carat
from mmer.models.contrast import EMPTY
from mmer.models.settings import MODALITIES, LossWeights
from mmer.models.shuffle import draw_shuffle
from mmer.training.optimiser import BertAdam, OptimiserSettings


def gradients(network: Carat) -> dict[str, Tensor]:
    found = {}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        found[name] = parameter.grad.clone()
    return found


def train_once(network: Carat, batch, seed: int = 3) -> dict[str, Tensor]:
    network.train().zero_grad()
    torch.manual_seed(seed)
    terms = network.training_losses(batch.features, batch.masks, batch.labels)
    terms["total"].backward()
    return terms


def padded(batch, extra: int, fill: float = 0.0):
    features = {m: F.pad(x, (0, 0, 0, extra), value=fill) for m, x in batch.features.items()}
    masks = {m: F.pad(x, (0, extra)) for m, x in batch.masks.items()}
    return replace(batch, features=features, masks=masks)


def test_terms_are_named_as_their_weights(make_network: Callable, make_batch: Callable) -> None:
    terms = train_once(make_network(), make_batch())
    assert set(terms) == {"total", *(weight.name for weight in fields(LossWeights))}
    assert all(term.isfinite() and term.ndim == 0 for term in terms.values())


@pytest.mark.parametrize("pseudo", [None, 6])
def test_scores_are_probabilities_and_repeat(
    make_network: Callable, make_batch: Callable, pseudo: int | None
) -> None:
    network, batch = make_network(pseudo_aligned_length=pseudo, dropout=0.5).eval(), make_batch()
    scores = network.scores(batch.features, batch.masks)
    assert scores.shape == (5, 3)
    assert ((scores > 0) & (scores < 1)).all()
    assert torch.equal(scores, network.scores(batch.features, batch.masks))


@pytest.mark.parametrize("pseudo", [None, 6])
def test_padding_changes_neither_scores_nor_losses_nor_gradients(
    make_network: Callable, make_batch: Callable, pseudo: int | None
) -> None:
    batch = make_batch(length=9)
    longer = padded(batch, 3, fill=7.0)
    networks = [make_network(pseudo_aligned_length=pseudo) for _ in range(2)]
    terms = [train_once(n, b) for n, b in zip(networks, (batch, longer), strict=True)]
    for name, term in terms[0].items():
        torch.testing.assert_close(terms[1][name], term, msg=name)
    first, second = (gradients(n) for n in networks)
    for name, gradient in first.items():
        torch.testing.assert_close(second[name], gradient, atol=2e-6, rtol=1e-4, msg=name)
    scores = [
        n.eval().scores(b.features, b.masks) for n, b in zip(networks, (batch, longer), strict=True)
    ]
    torch.testing.assert_close(scores[0], scores[1])


def test_reference_attends_to_padding_up_to_its_length(
    make_network: Callable, make_batch: Callable
) -> None:
    network = make_network(reference=True, max_length=12).eval()
    batch = make_batch(length=9)
    scores = network.scores(batch.features, batch.masks)
    longer = padded(batch, 3)
    torch.testing.assert_close(network.scores(longer.features, longer.masks), scores)
    ones = {m: torch.ones_like(mask) for m, mask in longer.masks.items()}
    torch.testing.assert_close(network.scores(longer.features, ones), scores)
    ours = make_network(reference=False, max_length=12).eval()
    ours.load_state_dict(network.state_dict())
    assert (ours.scores(batch.features, batch.masks) - scores).abs().max() > 1e-4


def test_the_queue_starts_empty_and_under_reference_full_of_strangers(
    make_network: Callable, make_batch: Callable
) -> None:
    ours, reference = make_network(), make_network(reference=True)
    assert (ours.queue.classes == EMPTY).all()
    assert (reference.queue.classes != EMPTY).all()
    torch.testing.assert_close(reference.queue.vectors.norm(dim=0), torch.ones(4))
    batch = make_batch()
    vectors = 5 * 3 * 3 * 3
    train_once(ours, batch)
    assert int(ours.queue.pointer) == vectors % 64


def test_scores_do_not_depend_on_the_batch(make_network: Callable, make_batch: Callable) -> None:
    network, batch = make_network().eval(), make_batch(size=6)
    scores = network.scores(batch.features, batch.masks)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    other = batch.pick(order)
    torch.testing.assert_close(network.scores(other.features, other.masks), scores[order])
    for b in range(6):
        alone = batch.pick(torch.tensor([b]))
        torch.testing.assert_close(network.scores(alone.features, alone.masks)[0], scores[b])


def test_losses_do_not_depend_on_the_order_of_samples(
    make_network: Callable, make_batch: Callable
) -> None:
    batch, order = make_batch(), torch.tensor([4, 2, 0, 1, 3])
    shuffle = draw_shuffle(3, 3, 5, torch.device("cpu"))
    moved = shuffle._replace(
        samples=torch.argsort(order)[shuffle.samples[:, :, order]],
        modalities=shuffle.modalities[:, order],
    )
    first, second = make_network(), make_network()
    terms = first.training_losses(batch.features, batch.masks, batch.labels, shuffle=shuffle)
    other = batch.pick(order)
    again = second.training_losses(other.features, other.masks, other.labels, shuffle=moved)
    for name, term in terms.items():
        torch.testing.assert_close(again[name], term, msg=name)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_same_seed_same_bits(make_network: Callable, make_batch: Callable, dropout: float) -> None:
    batch = make_batch()
    networks = [make_network(dropout=dropout) for _ in range(2)]
    terms = [train_once(network, batch) for network in networks]
    assert all(torch.equal(terms[0][name], terms[1][name]) for name in terms[0])
    first, second = (gradients(network) for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)
    states = [network.state_dict() for network in networks]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_dropout_is_on_in_training_alone(make_network: Callable, make_batch: Callable) -> None:
    network, batch = make_network(dropout=0.5), make_batch()
    first, second = (train_once(network, batch, seed)["bce_beta"] for seed in (1, 2))
    assert first != second
    network.eval()
    scores = [network.scores(batch.features, batch.masks) for _ in range(2)]
    assert torch.equal(*scores)


@pytest.mark.parametrize("pseudo", [None, 6])
@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("samples", [1, slice(None)], ids=["one sample", "whole batch"])
def test_absent_modality(
    make_network: Callable,
    make_batch: Callable,
    pseudo: int | None,
    modality: str,
    samples: int | slice,
) -> None:
    network = make_network(pseudo_aligned_length=pseudo, dropout=0.3)
    batch = make_batch().without(modality, samples)
    for _ in range(2):
        terms = train_once(network, batch)
        assert all(term.isfinite() for term in terms.values())
        assert all(gradient.isfinite().all() for gradient in gradients(network).values())
    assert network.prototypes.vectors.isfinite().all()
    assert network.queue.vectors.isfinite().all()
    network.eval()
    assert network.scores(batch.features, batch.masks).isfinite().all()
    attention = network.label_attention(batch.features, batch.masks)
    assert (attention[modality][samples] == 0).all()


def test_absent_modality_teaches_nothing_about_itself(
    make_network: Callable, make_batch: Callable
) -> None:
    network, batch = make_network(), make_batch(size=1).without("visual", 0)
    train_once(network, batch)
    assert (network.prototypes.vectors[1] == 0).all()
    assert (network.prototypes.vectors[[0, 2]] != 0).any()
    classes = network.queue.classes[: 3 * 3 * 3].view(3, 3, 3)  # level, modality, label
    assert (classes[0, 1] == EMPTY).all()
    assert (classes[1:] != EMPTY).all()
    assert (classes[0, [0, 2]] != EMPTY).all()


def test_what_an_absent_modality_holds_is_without_effect(
    make_network: Callable, make_batch: Callable
) -> None:
    network, batch = make_network().eval(), make_batch().without("audio", 2)
    scores = network.scores(batch.features, batch.masks)
    batch.features["audio"][2] = 5.0
    torch.testing.assert_close(network.scores(batch.features, batch.masks), scores)


def test_a_batch_without_any_step_of_a_modality(
    make_network: Callable, make_batch: Callable
) -> None:
    batch = make_batch()
    batch.features["audio"] = batch.features["audio"][:, :0]
    batch.masks["audio"] = batch.masks["audio"][:, :0]
    network = make_network()
    assert train_once(network, batch)["total"].isfinite()
    attention = network.eval().label_attention(batch.features, batch.masks)
    assert attention["audio"].shape == (5, 0, 3)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("num_labels", [1, 2])
@pytest.mark.parametrize("pseudo", [None, 1])
def test_the_smallest_of_everything(
    make_network: Callable, make_batch: Callable, size: int, num_labels: int, pseudo: int | None
) -> None:
    network = make_network(num_labels, pseudo_aligned_length=pseudo, queue=1, dropout=0.2)
    batch = make_batch(size=size, length=1, num_labels=num_labels)
    assert train_once(network, batch)["total"].isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(network).values())
    assert network.eval().scores(batch.features, batch.masks).shape == (size, num_labels)


@pytest.mark.parametrize("pseudo", [None, 6])
def test_label_attention(make_network: Callable, make_batch: Callable, pseudo: int | None) -> None:
    network, batch = make_network(pseudo_aligned_length=pseudo).eval(), make_batch()
    attention = network.label_attention(batch.features, batch.masks)
    for m in MODALITIES:
        assert attention[m].shape == (*batch.masks[m].shape, 3)
        assert (attention[m][~batch.masks[m]] == 0).all()
        shares = attention[m].sum(dim=1)
        if pseudo is None or m == "text":
            torch.testing.assert_close(shares, torch.ones_like(shares))
        else:  # frames that went to the blank hold the rest
            assert (shares > 0).all()


def test_label_attention_of_the_reference_keeps_the_steps_given(
    make_network: Callable, make_batch: Callable
) -> None:
    batch = make_batch(length=4)
    network = make_network(reference=True).eval()
    attention = network.label_attention(batch.features, batch.masks)
    assert attention["text"].shape == (5, 4, 3)


def test_input_statistics(make_network: Callable, make_batch: Callable) -> None:
    network, batch = make_network().eval(), make_batch(ragged=False)
    scores = network.scores(batch.features, batch.masks)
    mean = {m: torch.randn(width) for m, width in network.widths.items()}
    scale = {m: torch.rand(width) + 0.5 for m, width in network.widths.items()}
    raw = {m: x * scale[m] + mean[m] for m, x in batch.features.items()}
    network.set_input_statistics(mean, scale)
    torch.testing.assert_close(network.scores(raw, batch.masks), scores, atol=1e-5, rtol=1e-4)


def test_impossible_input_statistics_are_refused(make_network: Callable) -> None:
    network = make_network()
    mean = {m: torch.zeros(width) for m, width in network.widths.items()}
    scale = {m: torch.ones(width) for m, width in network.widths.items()}
    for broken in (
        (mean, {**scale, "visual": torch.zeros(5)}),
        ({**mean, "visual": torch.full((5,), float("nan"))}, scale),
        ({**mean, "visual": torch.zeros(4)}, scale),
    ):
        with pytest.raises(InputError, match="visual"):
            network.set_input_statistics(*broken)
    with pytest.raises(InputError, match="reference"):
        make_network(reference=True).set_input_statistics(mean, scale)


def test_wrong_shapes_are_refused_by_name(make_network: Callable, make_batch: Callable) -> None:
    network, batch = make_network(), make_batch()

    def refused(match: str, features: dict | None = None, masks: dict | None = None) -> None:
        with pytest.raises(InputError, match=match):
            network.training_losses(
                {**batch.features, **(features or {})},
                {**batch.masks, **(masks or {})},
                batch.labels,
            )

    refused("visual", features={"visual": batch.features["visual"][..., :4]})
    refused("visual", features={"visual": batch.features["visual"][:4]})
    refused("visual", features={"visual": batch.features["visual"][0]})
    refused("visual", features={"visual": batch.features["visual"].long()})
    refused("mask of audio", masks={"audio": batch.masks["audio"][:, 1:]})
    refused("mask of audio", masks={"audio": batch.masks["audio"].float()})
    refused("smell", features={"smell": batch.features["text"]})
    long = make_batch(length=13)
    refused("at most 12", features=long.features, masks=long.masks)
    empty = batch.pick(torch.arange(0))
    refused("at least one sample", features=empty.features, masks=empty.masks)
    with pytest.raises(InputError, match="labels"):
        network.training_losses(batch.features, batch.masks, batch.labels[:, :2])


def test_wrong_sizes_are_refused(make_settings: Callable) -> None:
    widths = {"text": 3, "visual": 3, "audio": 3}
    with pytest.raises(InputError, match="num_labels"):
        Carat(make_settings(), widths, 0)
    with pytest.raises(InputError, match="widths"):
        Carat(make_settings(), {"text": 3, "visual": 3}, 2)
    with pytest.raises(InputError, match="widths"):
        Carat(make_settings(), {**widths, "audio": 0}, 2)


def test_any_length_of_frames_where_they_are_pseudo_aligned(
    make_network: Callable, make_batch: Callable
) -> None:
    network, batch = make_network(pseudo_aligned_length=6), make_batch(length=12)
    long = make_batch(length=40)
    for m in ("visual", "audio"):
        batch.features[m], batch.masks[m] = long.features[m], long.masks[m]
    assert train_once(network, batch)["total"].isfinite()


@pytest.mark.parametrize("reference", [False, True])
def test_a_step_never_asks_the_device_for_a_value(
    make_settings: Callable,
    make_batch: Callable,
    reference: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Meta tensors have no values: whatever would wait for one fails."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no meta device
    batch = make_batch()
    widths = {m: x.shape[-1] for m, x in batch.features.items()}
    with torch.device("meta"):
        network = Carat(make_settings(reference=reference, dropout=0.3), widths, 3)
    optimiser = BertAdam(network, OptimiserSettings(parameter_gradient_norm=0.5), 10)
    features = {m: x.to("meta") for m, x in batch.features.items()}
    masks = {m: x.to("meta") for m, x in batch.masks.items()}
    for _ in range(2):
        terms = network.training_losses(features, masks, batch.labels.to("meta"))
        optimiser.zero_grad()
        terms["total"].backward()
        optimiser.step()
    assert network.eval().scores(features, masks).shape == (5, 3)


def test_bfloat16_autocast_stays_near_float32(make_network: Callable, make_batch: Callable) -> None:
    batch = make_batch()
    full, half = make_network(dropout=0.2), make_network(dropout=0.2)
    expected = train_once(full, batch)
    half.train()
    torch.manual_seed(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = half.training_losses(batch.features, batch.masks, batch.labels)
    terms["total"].backward()
    for name, term in terms.items():
        assert term.item() == pytest.approx(expected[name].item(), rel=0.1, abs=0.05), name
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in half.parameters())
    assert half.queue.vectors.dtype == half.prototypes.vectors.dtype == torch.float32


def test_it_learns_a_batch(make_network: Callable, make_batch: Callable) -> None:
    """Some steps of the optimiser bring the scores of six samples to their labels."""
    network, batch = make_network(hidden=16, heads=2), make_batch(size=6)
    optimiser = BertAdam(network, OptimiserSettings(learning_rate=1e-2), 60)
    for step in range(60):
        train_once(network, batch, seed=step)
        optimiser.step()
    scores = network.eval().scores(batch.features, batch.masks)
    assert ((scores > 0.5) == batch.labels.bool()).float().mean() > 0.95
