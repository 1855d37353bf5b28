"""The stack shuffle deals cards: each list is permuted, it mixes, and labels go with features."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer.systems.layers.shuffle import Shuffle, apply_shuffle
from mmer.systems.ramer.shuffle import deal, draw_stack_shuffle, reversed_order

CPU = torch.device("cpu")
SIZES = {"labels": st.integers(1, 7), "modalities": st.integers(1, 4), "batch": st.integers(1, 40)}


def drawn_with(seed: int, labels: int, modalities: int, batch: int, rounds: int = 2) -> Shuffle:
    torch.manual_seed(seed)
    return draw_stack_shuffle(labels, modalities, batch, CPU, rounds=rounds)


def dealt_by_hand(cuts: list[int], cards: int) -> list[int]:
    """Stacks of the list between the cuts, one card from the top of each in turn."""
    bounds = [0, *cuts, cards]
    stacks = [list(range(a, b)) for a, b in pairwise(bounds)]
    dealt = []
    while any(stacks):
        dealt += [stack.pop() for stack in stacks if stack]
    return dealt


@settings(max_examples=60, deadline=None)
@given(cards=st.integers(1, 30), data=st.data())
def test_a_deal_is_the_loop(cards: int, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, cards), min_size=1, max_size=5)))
    assert deal(torch.tensor(cuts), cards).tolist() == dealt_by_hand(cuts, cards)


@settings(max_examples=40, deadline=None)
@given(**SIZES, rounds=st.integers(0, 3), seed=st.integers(0, 2**20))
def test_every_draw_is_a_permutation(
    labels: int, modalities: int, batch: int, rounds: int, seed: int
) -> None:
    drawn = drawn_with(seed, labels, modalities, batch, rounds)
    assert drawn.samples.shape == (labels, modalities, batch)
    assert drawn.modalities.shape == (labels, batch, modalities)
    assert (drawn.samples.sort().values == torch.arange(batch)).all()
    assert (drawn.modalities.sort().values == torch.arange(modalities)).all()


@settings(max_examples=20, deadline=None)
@given(batch=st.integers(16, 64), seed=st.integers(0, 2**20))
def test_it_mixes_samples(batch: int, seed: int) -> None:
    """Another order for every label and modality, none of them the list's or its reverse, and a row
    holds features of several samples.
    """
    drawn = drawn_with(seed, 6, 3, batch)
    orders = drawn.samples.flatten(0, 1)
    assert len(orders.unique(dim=0)) > 15
    steps = orders.diff(dim=1)
    assert not (steps == 1).all(dim=1).any()
    assert (steps == -1).all(dim=1).sum() <= 1  # all four cuts at one end may do it once
    samples_of_row = drawn.samples.permute(2, 1, 0)  # (B, M, L)
    distinct = torch.tensor([len(row.unique()) for row in samples_of_row.flatten(0, 1)])
    assert distinct.float().mean() > 3


def test_every_card_can_come_to_every_place() -> None:
    torch.manual_seed(0)
    samples = draw_stack_shuffle(3000, 1, 8, CPU).samples[:, 0]
    modalities = draw_stack_shuffle(1, 1, 3000, CPU).modalities
    assert modalities.shape == (1, 3000, 1)
    seen = torch.zeros(8, 8).index_put_(
        (torch.arange(8).expand_as(samples).flatten(), samples.flatten()),
        torch.ones(samples.numel()),
        accumulate=True,
    )
    assert (seen > 3000 / 8 / 10).all()
    orders = draw_stack_shuffle(1, 3, 3000, CPU).modalities[0].unique(dim=0)
    assert len(orders) == 6


def test_without_a_round_all_stays_in_order() -> None:
    drawn = drawn_with(0, 2, 3, 5, rounds=0)
    assert torch.equal(drawn.samples, torch.arange(5).expand(2, 3, 5))
    assert torch.equal(drawn.modalities, torch.arange(3).expand(2, 5, 3))


@settings(max_examples=20, deadline=None)
@given(labels=st.integers(1, 5), batch=st.integers(1, 12), seed=st.integers(0, 2**20))
def test_labels_move_with_features(labels: int, batch: int, seed: int) -> None:
    """Features that hold their sample's bit hold it wherever they are dealt to."""
    torch.manual_seed(seed)
    bits = (torch.rand(batch, labels) < 0.5).float()
    features = bits.expand(3, batch, labels)[..., None] + torch.zeros(4)
    for shuffle in (
        draw_stack_shuffle(labels, 3, batch, CPU),
        reversed_order(labels, 3, batch, CPU),
    ):
        moved, moved_bits = apply_shuffle(shuffle, features, bits)
        assert torch.equal(moved, moved_bits[..., None].expand_as(moved))


def test_the_release_only_turns_the_lists_round() -> None:
    features, bits = torch.randn(3, 4, 2, 5), torch.rand(4, 2).round()
    moved, moved_bits = apply_shuffle(reversed_order(2, 3, 4, CPU), features, bits)
    assert torch.equal(moved, features.flip(0, 1).transpose(0, 1))
    assert torch.equal(moved_bits, bits.flip(0)[:, None].expand(4, 3, 2))
