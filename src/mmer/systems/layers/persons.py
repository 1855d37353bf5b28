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
from mmer.systems.layers.stacked import uniform


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
    """Whose the steps of one modality are, and the target's traits, (B, T) and (B, 1).

    Where that is not told, every step is the target's in a segment of its own, and nothing is known
    of the target.
    """

    def __init__(
        self, told: StepPersons | None, modality: str, mask_BT: Tensor, traits: Traits
    ) -> None:
        B, T = mask_BT.shape
        if told is None:
            self.segments = torch.arange(T, device=mask_BT.device).expand(B, T)
            self.target = torch.full_like(self.segments[:, :1], traits.unknown)
            persons = self.target.expand(B, T)
        else:
            missing = (0, T - told.persons[modality].shape[1])
            persons = F.pad(told.persons[modality], missing)
            self.segments = F.pad(told.segments[modality], missing)
            self.target = told.target[:, None]
        self.of_target = persons == self.target
        self.traits, self.target_traits = traits(persons), traits(self.target)


class PersonContext(nn.Module):
    """From everybody's steps to the target's context: one vector per segment in which anybody has
    a step.

    Features and traits side by side pass two linear layers with GELU between, for what a step means
    may depend on whose it is. Where the target has no step in a segment of the others, a learned
    vector stands in the place of the features, so that what the others do there is not lost. Then
    scaled dot-product attention across the persons of a segment, and across the segments of the
    target, both masked and added to what they look from (residual).
    What the others' cells would be after that, nothing asks for, so it is not computed.

    Rows may stand in any order, and persons have no number that counts: a cell knows whose it is by
    its traits, and where it stands by the number of its segment, which is its position for what
    follows (`segments` of `PersonSteps`).
    """

    def __init__(self, width: int, traits: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.features = nn.Linear(width, hidden)
        self.traits = nn.Linear(traits, hidden, bias=False) if traits else None
        self.silent = nn.Parameter(uniform(hidden**-0.5, hidden))
        self.join = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden, eps=NORM_EPS)
        self.across_persons = MaskedAttention(hidden)
        self.across_segments = MaskedAttention(hidden)

    def forward(
        self, x_BTD: Tensor, mask_BT: Tensor, whose: PersonSteps
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Context (B, T, d), its mask (B, T) and the steps (B, T, T) that each of it stands for.

        A step of the target stands for itself, a segment without one for the others' steps in it,
        by equal shares; 0 where there is no context.
        """
        together_BTT = _same(whose.segments) & mask_BT[:, None]
        own_BT = mask_BT & whose.of_target
        with_own_BT = (together_BTT & own_BT[:, None]).any(dim=-1)
        first_BT = ~together_BTT.tril(-1).any(dim=-1)
        silent_BT = mask_BT & ~with_own_BT & first_BT
        context_BT = own_BT | silent_BT
        eye_BTT = torch.eye(mask_BT.shape[1], dtype=torch.bool, device=mask_BT.device)

        steps_BTd = self._joined(self.features(x_BTD), whose.traits)
        silent_B1d = self._joined(self.silent, whose.target_traits)
        h_BTd = torch.where(own_BT[..., None], steps_BTd, silent_B1d)
        # A silent cell is not among the steps, so it is a key of its own.
        keys_BSd = torch.cat([steps_BTd, h_BTd], dim=1)
        allowed_BTS = torch.cat([together_BTT, eye_BTT & ~own_BT[..., None]], dim=-1)
        attended = self.across_persons(h_BTd, keys_BSd, allowed_BTS)
        h_BTd = add_dropout(h_BTd, attended, self.dropout, self.training)
        attended = self.across_segments(h_BTd, h_BTd, context_BT[:, None] | eye_BTT)
        h_BTd = add_dropout(h_BTd, attended, self.dropout, self.training)

        shares_BTT = torch.where(own_BT[..., None], eye_BTT, together_BTT) * context_BT[..., None]
        shares_BTT = shares_BTT / shares_BTT.sum(dim=-1, keepdim=True).clamp(min=1)
        return h_BTd, context_BT, shares_BTT.to(h_BTd.dtype)

    def _joined(self, features: Tensor, traits: Tensor) -> Tensor:
        if self.traits is not None:
            features = features + self.traits(traits)
        return self.norm(self.join(F.gelu(features)))


class MaskedAttention(nn.Module):
    """Scaled dot-product attention with one head, from what is allowed alone."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)

    def forward(self, x_BTd: Tensor, keys_BSd: Tensor, allowed_BTS: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d); every row has something that is allowed."""
        query, key, value = self.query(x_BTd), self.key(keys_BSd), self.value(keys_BSd)
        scores_BTS = query @ key.transpose(1, 2) * query.shape[-1] ** -0.5
        return scores_BTS.masked_fill(~allowed_BTS, -torch.inf).softmax(dim=-1) @ value


class PersonFeatures(LabelSpecificFeatures):
    """All layers of one modality; what the encoder sees is the target's context.

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
        h_BTd, context_BT, shares_BTT = self.context(self.input_norm(x_BTD), mask_BT, whose)
        packing = Packing(context_BT, whose.segments.clamp(0, len(self.encoder.positions) - 1))
        h_Rd = self.encoder(packing.pack(h_BTd), packing)
        u_BLd, attention_BTL = self.label_attention(packing.unpack(h_Rd), context_BT)
        return u_BLd, shares_BTT.transpose(1, 2) @ attention_BTL


def _same(x_BT: Tensor) -> Tensor:
    """(B, T, T), whether two are equal."""
    return x_BT[:, :, None] == x_BT[:, None]
