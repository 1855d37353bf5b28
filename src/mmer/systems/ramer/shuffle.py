"""The stack shuffle: lists cut into stacks, and cards dealt from these in turn (RAMer).

Shapes: L labels, M modalities, B samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmer.systems.layers.shuffle import Shuffle

STACKS_OF_SAMPLES, STACKS_OF_MODALITIES, ROUNDS = 4, 3, 2


def draw_stack_shuffle(
    num_labels: int, modalities: int, batch: int, device: torch.device, *, rounds: int = ROUNDS
) -> Shuffle:
    """For each label and modality an order of the samples, for each label and sample one of the
    modalities, each from cuts of its own.

    The paper's words and the released program differ. In words, the list is cut into stacks and
    cards are dealt one from each stack in turn. The release deals, sorts what it has dealt and
    returns the list in reverse, whatever was dealt and the same for every label; so nothing mixes.
    Here the cards are dealt. The cuts are drawn, for fixed ones give one order for ever; a stack
    may be empty; and a card is dealt from the top, where the stack's last card lies: dealt from the
    bottom, the first card of the list would stay the first for ever, which nothing would mix.

    Each list is a permutation. What the two together deal is none, as in the release: where a row
    takes a modality out of its place, it takes the sample that is dealt to the place, so that some
    (sample, modality) cards are dealt twice and some not at all (`apply_shuffle`).

    Args:
        rounds: How often the list is cut and dealt; 0 leaves it in order.
    """
    return Shuffle(
        samples=_dealt((num_labels, modalities), batch, STACKS_OF_SAMPLES, rounds, device),
        modalities=_dealt((num_labels, batch), modalities, STACKS_OF_MODALITIES, rounds, device),
    )


def reversed_order(num_labels: int, modalities: int, batch: int, device: torch.device) -> Shuffle:
    """What the released program does instead: samples and modalities the other way round."""
    samples = torch.arange(batch - 1, -1, -1, device=device)
    order = torch.arange(modalities - 1, -1, -1, device=device)
    return Shuffle(
        samples=samples.expand(num_labels, modalities, batch),
        modalities=order.expand(num_labels, batch, modalities),
    )


def deal(cuts: Tensor, cards: int) -> Tensor:
    """Which card (..., n) lies where after a list of n was cut and dealt once.

    Args:
        cuts: (..., k - 1) ascending places in [0, n]; stack s ends before cut s, the last at n.
    """
    places = torch.arange(cards, device=cuts.device)
    stack = (places[:, None] >= cuts[..., None, :]).sum(dim=-1)  # (..., n)
    ends = torch.nn.functional.pad(cuts, (0, 1), value=cards)
    turn = ends.gather(-1, stack) - 1 - places  # the top card is dealt in the first turn
    return (turn * ends.shape[-1] + stack).argsort(dim=-1)


def _dealt(
    lists: tuple[int, int], cards: int, stacks: int, rounds: int, device: torch.device
) -> Tensor:
    """Orders (*lists, n), uniform cuts anew in every round."""
    order = torch.arange(cards, device=device).expand(*lists, cards)
    for _ in range(rounds):
        cuts = torch.randint(cards + 1, (*lists, stacks - 1), device=device)
        order = order.gather(-1, deal(cuts.sort(dim=-1).values, cards))
    return order
