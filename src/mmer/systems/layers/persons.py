"""What a person says and shows among others: attention across persons and segments (RAMer; AMER).

A step of a corpus with several persons is a cell: what one person does in one segment of the
conversation. The labels are those of one of the persons, the target.

Shapes: B samples, T steps, D raw features, K traits, d hidden, L labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer.samples.batches import StepPersons
from mmer.samples.table import Persons
from mmer.systems.layers.dropout import add_dropout
from mmer.systems.layers.encoder import NORM_EPS, Encoder, InputNorm
from mmer.systems.layers.label_specific import (
    LabelAttention,
    LabelSpecificFeatures,
    MeanOverSteps,
)
from mmer.systems.layers.packing import Packing


class Traits(nn.Module):
    """What is known of each person, so that a loaded model needs no table for it.

    Buffer: `vectors` (P + 1, K), each column with mean 0 and deviation 1 over the P persons (0
    where they do not differ), whatever its unit was; the last row, all zero, is that of a person of
    whom nothing is known.
    """

    vectors: Tensor

    def __init__(self, persons: Persons) -> None:
        super().__init__()
        known = torch.tensor(persons.traits, dtype=torch.float64).view(len(persons.names), -1)
        deviation = known.std(dim=0, correction=0)
        known = torch.where(deviation > 0, (known - known.mean(dim=0)) / deviation, 0)
        self.register_buffer("vectors", F.pad(known, (0, 0, 0, 1)).to(torch.get_default_dtype()))

    @property
    def unknown(self) -> int:
        """The number of a person of whom nothing is known."""
        return len(self.vectors) - 1

    def forward(self, persons: Tensor) -> Tensor:
        """(..) -> (.., K)."""
        return F.embedding(persons, self.vectors)


class PersonSteps:
    """Whose the steps of one modality are, and in which segment; all (B, T).

    Where that is not `told`, every step stands in a segment of its own.
    """

    def __init__(
        self, told: StepPersons | None, modality: str, mask_BT: Tensor, traits: Traits
    ) -> None:
        B, T = mask_BT.shape
        self.told = told is not None
        if told is None:
            self.segments = torch.arange(T, device=mask_BT.device).expand(B, T)
            self.persons = torch.full_like(self.segments, traits.unknown)
            self.of_target = torch.ones_like(mask_BT)
        else:
            missing = (0, T - told.persons[modality].shape[1])
            self.persons = F.pad(told.persons[modality], missing)
            self.segments = F.pad(told.segments[modality], missing)
            self.of_target = self.persons == told.target[:, None]
        self.traits = traits(self.persons)


class PersonContext(nn.Module):
    """What everybody's steps mean to the target: a vector for each step, for the encoder to see.

    A step's features, normalised, are joined with its person's traits (two linear layers with GELU
    between, for what a step means may depend on whose it is) and with its role: the target's,
    another's beside a step of the target, or another's in a segment in which the target has none.
    Then scaled dot-product attention across the persons of a segment (inter-personal), and across
    the segments of a person (intra-personal), both masked. All four are added (residual) and start
    at nothing, so that training begins as if all steps were alike. In training they are left out
    for a share of the samples, as they are where persons are not told: what a network learns of
    persons then stands on what it can tell without.

    The encoder sees everybody's steps, not the target's alone: where it does not matter who shows
    something, nothing that the others show is lost.

    Rows may stand in any order, and persons have no number that counts: a step knows whose it is by
    traits and role, and where it stands by the number of its segment, which is its position for
    what follows.
    """

    def __init__(
        self, width: int, traits: int, hidden: int, dropout: float, persons_dropout: float
    ) -> None:
        super().__init__()
        self.dropout, self.persons_dropout = dropout, persons_dropout
        self.features = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden, eps=NORM_EPS)
        self.traits = nn.Linear(traits, hidden, bias=False) if traits else None
        self.join = nn.Linear(hidden, hidden)
        self.roles = nn.Parameter(torch.zeros(3, hidden))
        self.across_persons = MaskedAttention(hidden)
        self.across_segments = MaskedAttention(hidden)
        starts_at_nothing(self.join)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor, whose: PersonSteps) -> Tensor:
        """(B, T, D) -> (B, T, d)."""
        alike_BTd = self.norm(self.features(x_BTD))
        if not whose.told:
            return alike_BTd
        own_BT = mask_BT & whose.of_target
        together_BTT = _same(whose.segments) & mask_BT[:, None]
        of_one_BTT = _same(whose.persons) & mask_BT[:, None]
        beside_BT = (together_BTT & own_BT[:, None]).any(dim=-1)
        role_BT = torch.where(own_BT, 0, torch.where(beside_BT, 1, 2))
        kept_B11 = torch.ones_like(alike_BTd[:, :1, :1])
        if self.training and self.persons_dropout:
            kept_B11.bernoulli_(1 - self.persons_dropout)

        joined_BTd = alike_BTd if self.traits is None else alike_BTd + self.traits(whose.traits)
        h_BTd = alike_BTd + self.join(F.gelu(joined_BTd)) + F.embedding(role_BT, self.roles)
        for attention, allowed_BTT in (
            (self.across_persons, together_BTT),
            (self.across_segments, of_one_BTT),
        ):
            attended = attention(h_BTd, allowed_BTT)
            h_BTd = add_dropout(h_BTd, attended, self.dropout, self.training)
        return torch.where(kept_B11 > 0, h_BTd, alike_BTd) if self.training else h_BTd


class MaskedAttention(nn.Module):
    """Scaled dot-product attention with one head, to what is allowed alone."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        starts_at_nothing(self.value)

    def forward(self, x_BTd: Tensor, allowed_BTT: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d); a step to which nothing is allowed attends to all alike."""
        scores_BTT = self.query(x_BTd) @ self.key(x_BTd).transpose(1, 2) * x_BTd.shape[-1] ** -0.5
        lowest = torch.finfo(scores_BTT.dtype).min  # finite: a masked step stays finite
        attention_BTT = scores_BTT.masked_fill(~allowed_BTT, lowest).softmax(dim=-1)
        return attention_BTT @ self.value(x_BTd)


class PersonFeatures(LabelSpecificFeatures):
    """All layers of one modality; what the encoder sees is everybody's steps in their context.

    Its positions are the numbers of segments; those beyond the last one that it has share that.
    """

    def __init__(
        self,
        input_norm: InputNorm,
        context: PersonContext,
        encoder: Encoder,
        label_attention: LabelAttention | MeanOverSteps,
    ) -> None:
        super().__init__(input_norm, None, encoder, label_attention)
        self.context = context

    def forward(  # type: ignore[override]
        self, x_BTD: Tensor, mask_BT: Tensor, whose: PersonSteps
    ) -> tuple[Tensor, Tensor]:
        """U (B, L, d), and the attention (B, T, L) that each label pays to everybody's steps."""
        h_BTd = self.context(self.input_norm(x_BTD), mask_BT, whose)
        packing = Packing(mask_BT, whose.segments.clamp(0, len(self.encoder.positions) - 1))
        h_Rd = self.encoder(packing.pack(h_BTd), packing)
        return self.label_attention(packing.unpack(h_Rd), mask_BT)


def starts_at_nothing(layer: nn.Linear) -> None:
    """Zero the layer, so that what it adds to is left as it is until something is learned."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def _same(x_BT: Tensor) -> Tensor:
    """(B, T, T), whether two are equal."""
    return x_BT[:, :, None] == x_BT[:, None]
