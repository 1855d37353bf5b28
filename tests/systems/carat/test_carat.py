from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmer.errors import InputError
from mmer.samples.batches import Batch
from mmer.systems.carat.network import Carat
from mmer.systems.carat.settings import LossWeights
from mmer.systems.carat.shuffle import draw_shuffle
from mmer.systems.layers.contrast import EMPTY
from mmer.training.optimiser import BertAdam
from mmer.training.settings import OptimiserSettings

WIDTHS = {"text": 7, "visual": 5, "audio": 6}


def gradients(network: Carat) -> dict[str, Tensor]:
    found = {}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        found[name] = parameter.grad.clone()
    return found


def train_once(network: Carat, batch: Batch, seed: int = 3) -> dict[str, Tensor]:
    network.train().zero_grad()
    torch.manual_seed(seed)
    terms, carry = network.losses(batch)
    terms["total"].backward()
    network.after_step(carry)
    return terms


def pick(batch: Batch, index: Tensor) -> Batch:
    """The samples `index`, in that order."""
    features = {m: x[index] for m, x in batch.features.items()}
    masks = {m: x[index] for m, x in batch.masks.items()}
    return Batch(features, masks, batch.labels[index])


def without(batch: Batch, modality: str, samples: slice | int) -> Batch:
    """The same with a modality absent from some samples."""
    present = torch.ones(len(batch.labels), dtype=torch.bool)
    present[samples] = False
    return batch.hide({modality: present})


def padded(batch: Batch, extra: int, fill: float = 0.0) -> Batch:
    features = {m: F.pad(x, (0, 0, 0, extra), value=fill) for m, x in batch.features.items()}
    masks = {m: F.pad(x, (0, extra)) for m, x in batch.masks.items()}
    return replace(batch, features=features, masks=masks)


def test_terms_are_named_as_their_weights(make_network: Callable, make_batch: Callable) -> None:
    terms = train_once(make_network(), make_batch())
    assert set(terms) == {"total", *LossWeights.model_fields}
    assert all(term.isfinite() and term.ndim == 0 for term in terms.values())


@pytest.mark.parametrize("pseudo", [None, 6])
def test_scores_are_probabilities_and_repeat(
    make_network: Callable, make_batch: Callable, pseudo: int | None
) -> None:
    network, batch = make_network(pseudo_aligned_length=pseudo, dropout=0.5).eval(), make_batch()
    scores = network.scores(batch)
    assert scores.shape == (5, 3)
    assert ((scores > 0) & (scores < 1)).all()
    assert torch.equal(scores, network.scores(batch))


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
    scores = [n.eval().scores(b) for n, b in zip(networks, (batch, longer), strict=True)]
    torch.testing.assert_close(scores[0], scores[1])


def test_reference_attends_to_padding_up_to_its_length(
    make_network: Callable, make_batch: Callable
) -> None:
    network = make_network(reference=True, max_length=12).eval()
    batch = make_batch(length=9)
    scores = network.scores(batch)
    longer = padded(batch, 3)
    torch.testing.assert_close(network.scores(longer), scores)
    ones = {m: torch.ones_like(mask) for m, mask in longer.masks.items()}
    torch.testing.assert_close(network.scores(replace(longer, masks=ones)), scores)
    ours = make_network(reference=False, max_length=12).eval()
    ours.load_state_dict(network.state_dict())
    assert (ours.scores(batch) - scores).abs().max() > 1e-4


def make_generic(make_network: Callable, make_batch: Callable, widths: dict[str, int], **changes):
    """A network and a batch of modalities with other names."""
    names = tuple(widths)
    layers = {m: 1 + place % 2 for place, m in enumerate(names)}
    network = make_network(widths=widths, layers=layers, pseudo_aligned=names[1:], **changes)
    return network, make_batch(widths=widths)


def buffers(network: Carat) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in network.named_buffers()}


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(
    "widths", [{"face": 4}, {"face": 4, "voice": 3}, {"a": 2, "b": 3, "c": 4, "d": 5}], ids=len
)
class TestPurity:
    """`losses` changes nothing, `after_step` moves what moves; for any number of modalities."""

    def test_losses_change_nothing_and_repeat(
        self, make_network: Callable, make_batch: Callable, widths: dict, reference: bool
    ) -> None:
        network, batch = make_generic(
            make_network, make_batch, widths, dropout=0.3, reference=reference
        )
        train_once(network, batch)  # so that queue and prototypes hold something
        before = {name: x.clone() for name, x in network.state_dict().items()}
        found = []
        for _ in range(2):
            torch.manual_seed(7)
            found.append(network.losses(batch))
        assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
        for name, term in found[0].terms.items():
            assert torch.equal(term, found[1].terms[name]), name
        for first, second in zip(found[0].carry, found[1].carry, strict=True):
            assert torch.equal(first, second)
            assert not first.requires_grad

    def test_prototypes_follow_level_u_and_the_queue_takes_all_levels(
        self, make_network: Callable, make_batch: Callable, widths: dict, reference: bool
    ) -> None:
        network, batch = make_generic(
            make_network, make_batch, widths, reference=reference, queue=500
        )
        network.train()
        found = network(batch)
        before = buffers(network)
        expected = before["prototypes.vectors"].clone()
        for m, b, label in product(range(len(widths)), range(5), range(3)):
            moved = expected[m, 0 if batch.labels[b, label] else 1, label]
            moved.mul_(0.99).add_(0.01 * found.unit[m, b, label].detach())
        network.after_step(network.losses(batch).carry)
        after, count = buffers(network), 5 * 3 * len(widths) * 3
        torch.testing.assert_close(after["prototypes.vectors"], expected)
        assert int(after["queue.pointer"]) == count
        level_u = after["queue.vectors"][:count].view(5, 3, len(widths), 3, 4)[:, 0]
        torch.testing.assert_close(level_u, found.unit.transpose(0, 1))
        norms = after["queue.vectors"][:count].norm(dim=-1)
        torch.testing.assert_close(norms, torch.ones_like(norms))
        assert torch.equal(after["queue.vectors"][count:], before["queue.vectors"][count:])
        assert torch.equal(after["queue.classes"][count:], before["queue.classes"][count:])
        assert set(after["queue.classes"][:count].tolist()) <= set(range(2 * 3 * len(widths)))

    def test_it_trains_scores_and_explains(
        self, make_network: Callable, make_batch: Callable, widths: dict, reference: bool
    ) -> None:
        network, batch = make_generic(
            make_network, make_batch, widths, reference=reference, pseudo_aligned_length=6
        )
        for _ in range(2):
            assert all(term.isfinite() for term in train_once(network, batch).values())
            gradients(network)
        assert network.eval().scores(batch).shape == (5, 3)
        attention = network.label_attention(batch)
        assert {m: x.shape for m, x in attention.items()} == dict.fromkeys(widths, (5, 9, 3))


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
    scores = network.scores(batch)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    other = pick(batch, order)
    torch.testing.assert_close(network.scores(other), scores[order])
    for b in range(6):
        alone = pick(batch, torch.tensor([b]))
        torch.testing.assert_close(network.scores(alone)[0], scores[b])


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
    terms = first.losses(batch, shuffle).terms
    other = pick(batch, order)
    again = second.losses(other, moved).terms
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
    scores = [network.scores(batch) for _ in range(2)]
    assert torch.equal(*scores)


@pytest.mark.parametrize("pseudo", [None, 6])
@pytest.mark.parametrize("modality", WIDTHS)
@pytest.mark.parametrize("samples", [1, slice(None)], ids=["one sample", "whole batch"])
def test_absent_modality(
    make_network: Callable,
    make_batch: Callable,
    pseudo: int | None,
    modality: str,
    samples: int | slice,
) -> None:
    network = make_network(pseudo_aligned_length=pseudo, dropout=0.3)
    batch = without(make_batch(), modality, samples)
    for _ in range(2):
        terms = train_once(network, batch)
        assert all(term.isfinite() for term in terms.values())
        assert all(gradient.isfinite().all() for gradient in gradients(network).values())
    assert network.prototypes.vectors.isfinite().all()
    assert network.queue.vectors.isfinite().all()
    network.eval()
    assert network.scores(batch).isfinite().all()
    attention = network.label_attention(batch)
    assert (attention[modality][samples] == 0).all()


def test_absent_modality_teaches_nothing_about_itself(
    make_network: Callable, make_batch: Callable
) -> None:
    network, batch = make_network(), without(make_batch(size=1), "visual", 0)
    train_once(network, batch)
    assert (network.prototypes.vectors[1] == 0).all()
    assert (network.prototypes.vectors[[0, 2]] != 0).any()
    classes = network.queue.classes[: 3 * 3 * 3].view(3, 3, 3)  # level, modality, label
    assert (classes[0, 1] == EMPTY).all()
    assert (classes[1:] != EMPTY).all()
    assert (classes[0, [0, 2]] != EMPTY).all()


def test_an_absent_modality_has_no_vote_on_what_is_seen(
    make_network: Callable, make_batch: Callable
) -> None:
    """Its features are 0: a logit of 0 would be the largest wherever the others say no."""
    network, batch = make_network().eval(), without(make_batch(size=1), "visual", 0)
    batch.labels.zero_()
    with torch.no_grad():
        seen = network(batch).label_specific[:, 0]  # (M, L, d)
        network.heads.weight.copy_(-100 * torch.nn.functional.normalize(seen, dim=-1))
        assert network.losses(batch).terms["bce_label_specific"] < 1e-3


def test_what_an_absent_modality_holds_is_without_effect(
    make_network: Callable, make_batch: Callable
) -> None:
    network, batch = make_network().eval(), without(make_batch(), "audio", 2)
    scores = network.scores(batch)
    batch.features["audio"][2] = 5.0
    torch.testing.assert_close(network.scores(batch), scores)


def test_a_batch_without_any_step_of_a_modality(
    make_network: Callable, make_batch: Callable
) -> None:
    batch = make_batch()
    batch.features["audio"] = batch.features["audio"][:, :0]
    batch.masks["audio"] = batch.masks["audio"][:, :0]
    network = make_network()
    assert train_once(network, batch)["total"].isfinite()
    attention = network.eval().label_attention(batch)
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
    assert network.eval().scores(batch).shape == (size, num_labels)


@pytest.mark.parametrize("pseudo", [None, 6])
def test_label_attention(make_network: Callable, make_batch: Callable, pseudo: int | None) -> None:
    network, batch = make_network(pseudo_aligned_length=pseudo).eval(), make_batch()
    attention = network.label_attention(batch)
    for m in WIDTHS:
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
    attention = network.label_attention(batch)
    assert attention["text"].shape == (5, 4, 3)


def test_input_statistics(make_network: Callable, make_batch: Callable) -> None:
    network, batch = make_network().eval(), make_batch(ragged=False)
    scores = network.scores(batch)
    mean = {m: torch.randn(width) for m, width in network.widths.items()}
    scale = {m: torch.rand(width) + 0.5 for m, width in network.widths.items()}
    raw = {m: x * scale[m] + mean[m] for m, x in batch.features.items()}
    network.set_input_statistics(mean, scale)
    batch = replace(batch, features=raw)
    torch.testing.assert_close(network.scores(batch), scores, atol=1e-5, rtol=1e-4)


def test_the_reference_takes_no_input_statistics(make_network: Callable) -> None:
    network = make_network(reference=True)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    network.set_input_statistics(
        {m: torch.ones(width) for m, width in network.widths.items()},
        {m: torch.full((width,), 2.0) for m, width in network.widths.items()},
    )
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


def test_wrong_shapes_are_refused_by_name(make_network: Callable, make_batch: Callable) -> None:
    network, batch = make_network(), make_batch()

    def refused(match: str, changed: Batch) -> None:
        with pytest.raises(ValueError, match=match):
            network.losses(changed)

    def with_features(**changed: Tensor) -> Batch:
        return replace(batch, features={**batch.features, **changed})

    def with_masks(**changed: Tensor) -> Batch:
        return replace(batch, masks={**batch.masks, **changed})

    visual, mask = batch.features["visual"], batch.masks["audio"]
    refused("visual", with_features(visual=visual[..., :4]))
    refused("visual", with_features(visual=visual[:4]))
    refused("visual", with_features(visual=visual[0]))
    refused("visual", with_features(visual=visual.long()))
    refused("mask of audio", with_masks(audio=mask[:, 1:]))
    refused("mask of audio", with_masks(audio=mask.float()))
    refused("smell", with_features(smell=visual))
    refused("> 0", pick(batch, torch.arange(0)))
    refused("labels", replace(batch, labels=batch.labels[:, :2]))


def test_more_steps_than_positions_are_the_users_matter(
    make_network: Callable, make_batch: Callable
) -> None:
    with pytest.raises(InputError, match=r"text.*at most 12.*13.*max_length"):
        make_network().losses(make_batch(length=13))


def test_other_modalities_than_the_settings_are_for(make_settings: Callable) -> None:
    with pytest.raises(InputError, match=r"network\.layers.*text, visual.*text, visual, audio"):
        Carat(make_settings(), {"text": 3, "visual": 3}, 2)
    two = {"text": 1, "visual": 1}
    with pytest.raises(InputError, match=r"network\.pseudo_aligned.*audio"):
        Carat(make_settings(layers=two, pseudo_aligned_length=4), {"text": 3, "visual": 3}, 2)
    lengths = {"text": 5, "smell": 5}
    with pytest.raises(InputError, match=r"network\.reference_lengths.*smell"):
        Carat(make_settings(reference=True, reference_lengths=lengths), WIDTHS, 2)


def test_any_length_of_frames_where_they_are_pseudo_aligned(
    make_network: Callable, make_batch: Callable
) -> None:
    network, batch = make_network(pseudo_aligned_length=6), make_batch(length=40)
    batch.features["text"] = batch.features["text"][:, :12]
    batch.masks["text"] = batch.masks["text"][:, :12]
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
    batch = make_batch().to(torch.device("meta"))
    with torch.device("meta"):
        network = Carat(make_settings(reference=reference, dropout=0.3), WIDTHS, 3)
    for _ in range(2):
        terms, carry = network.losses(batch)
        terms["total"].backward()
        network.after_step(carry)
    assert network.eval().scores(batch).shape == (5, 3)


def test_bfloat16_autocast_stays_near_float32(make_network: Callable, make_batch: Callable) -> None:
    batch = make_batch()
    full, half = make_network(dropout=0.2), make_network(dropout=0.2)
    expected = train_once(full, batch)
    half.train()
    torch.manual_seed(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = half.losses(batch).terms
    terms["total"].backward()
    for name, term in terms.items():
        assert term.item() == pytest.approx(expected[name].item(), rel=0.1, abs=0.05), name
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in half.parameters())
    assert half.queue.vectors.dtype == half.prototypes.vectors.dtype == torch.float32


def test_it_learns_a_batch(make_network: Callable, make_batch: Callable) -> None:
    """Some steps of the optimiser bring the scores of six samples to their labels."""
    network, batch = make_network(hidden=16, heads=2), make_batch(size=6)
    optimiser = BertAdam(network, OptimiserSettings(learning_rate=5e-3))
    for step in range(60):
        train_once(network, batch, seed=step)
        optimiser.step()
    scores = network.eval().scores(batch)
    assert ((scores > 0.5) == batch.labels.bool()).float().mean() > 0.95
