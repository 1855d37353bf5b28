"""RAMer: reconstruction-based adversarial model (Yang et al., arXiv 2502.10435).

Shapes: M modalities, in the corpus's order; B samples, T steps, L labels, d hidden, K traits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mmer.errors import InputError
from mmer.samples.batches import Batch
from mmer.samples.table import Persons
from mmer.systems.layers.adversary import (
    CommonClassification,
    CommonFeatures,
    Discriminator,
    SpecificFeatures,
    overlap_of_specific,
    overlap_with_common,
    reverse_gradient,
    told_modality,
)
from mmer.systems.layers.encoder import InputNorm
from mmer.systems.layers.label_specific import LabelSpecificFeatures
from mmer.systems.layers.losses import binary_cross_entropy, summed_mse
from mmer.systems.layers.network import FeatureLevels, ReconstructionNetwork
from mmer.systems.layers.persons import PersonContext, PersonFeatures, PersonSteps, Traits
from mmer.systems.layers.shuffle import Shuffle, apply_shuffle
from mmer.systems.layers.stacked import StackedLinear
from mmer.systems.ramer.settings import RamerNetwork
from mmer.systems.ramer.shuffle import ROUNDS, draw_stack_shuffle, reversed_order
from mmer.training.distributed import gathered
from mmer.training.network import Losses


class Adversarial(NamedTuple):
    """What the adversarial block makes of a batch's features.

    Attributes:
        specific: S (M, B, L, d).
        common: C (M, B, L, d).
        told_of_specific, told_of_common: The discriminator's logits (M, B, L, M).
        classified: Logits (B, L) of the common classification.
    """

    specific: Tensor
    common: Tensor
    told_of_specific: Tensor
    told_of_common: Tensor
    classified: Tensor


class Ramer(ReconstructionNetwork):
    """The shared network up to beta, with features that tell their modality and features that do
    not, and persons where the corpus has them.

    Args:
        persons: Of corpora with several persons. A batch need not tell whose its steps are: all are
            then taken alike.

    Raises:
        InputError: As of the base class; persons under `reference`, or in modalities that are to be
            pseudo-aligned.
    """

    settings: RamerNetwork

    def __init__(
        self,
        settings: RamerNetwork,
        widths: Mapping[str, int],
        num_labels: int,
        persons: Persons | None = None,
    ) -> None:
        parts, count, hidden = settings.parts, len(widths), settings.hidden
        persons = persons if parts.persons else None
        _check_persons(settings, persons)
        num_traits = len(persons.traits[0]) if persons and parts.personality else 0
        self._num_traits = num_traits if persons else None  # the branches ask for it
        super().__init__(settings, widths, num_labels)
        self.specific = SpecificFeatures(count, hidden, settings.specific_dropout)
        self.common = CommonFeatures(hidden, settings.common_dropout)
        self.discriminator = Discriminator(count, hidden, settings.discriminator_dropout)
        self.common_classification = CommonClassification(
            num_labels, hidden, settings.discriminator_dropout
        )
        self.traits = Traits(persons) if persons else None
        self.personality = StackedLinear(count, hidden, num_traits) if num_traits else None
        if self.personality is None:
            self.loss_weights.pop("mse_personality", None)

    def losses(self, batch: Batch, shuffle: Shuffle | None = None) -> Losses:
        """All terms of the loss, under the names of their weights; `shuffle` is drawn if None."""
        found = self(batch)
        labels = gathered(batch.labels).to(self.queue.vectors.dtype)
        shuffle = shuffle or self._shuffle(len(labels), labels.device)
        aggregated = self.aggregation(found.beta.transpose(0, 1))  # (B, M, L)
        shuffled, shuffled_labels = apply_shuffle(shuffle, found.beta, labels)
        terms = {
            **self.head_terms(found, labels),
            "bce_aggregation": binary_cross_entropy(aggregated, labels[:, None]),
            "bce_shuffled": binary_cross_entropy(self.aggregation(shuffled), shuffled_labels),
            **self.rebuilding_terms(found),
            **self._adversarial_terms(found, labels),
        }
        if self.personality is not None:
            terms["mse_personality"] = self._personality_missed(found, batch)
        return self.losses_of(found, labels, terms)

    def adversarial(self, found: FeatureLevels) -> Adversarial:
        """Specific features of U, common ones of beta, and what is made of them.

        The gradient of what the discriminator says of common features is reversed: it learns to
        tell their modality, and they learn that it cannot. It alone is fooled: another classifier,
        trained on C afterwards, tells the modality as before (`test_reversal`).
        """
        specific, common = self.specific(found.label_specific), self.common(found.beta)
        told = self.discriminator(torch.stack([specific, reverse_gradient(common)]))
        reference = self.settings.reference
        classified = self.common_classification(common, first_slot=reference)
        return Adversarial(specific, common, told[0], told[1], classified)

    def _adversarial_terms(self, found: FeatureLevels, labels: Tensor) -> dict[str, Tensor]:
        """Adversary, orthogonality and common classification.

        A modality that a sample lacks has no specific features; its common ones are rebuilt from
        the others, and count.
        """
        made, present = self.adversarial(found), found.present
        everywhere = torch.ones_like(present)
        return {
            "adversary_specific": told_modality(made.told_of_specific, present),
            "adversary_common": told_modality(made.told_of_common, everywhere),
            "orthogonality_specific": overlap_of_specific(made.specific, present),
            "orthogonality_common": overlap_with_common(made.common, made.specific, present),
            "bce_common": binary_cross_entropy(made.classified, labels),
        }

    def _personality_missed(self, found: FeatureLevels, batch: Batch) -> Tensor:
        """Squared error of the target's traits as each modality's U, its mean over the labels,
        says them; only of targets that are known.
        """
        assert self.personality is not None
        assert self.traits is not None
        told_MBK = self.personality(found.label_specific.mean(dim=2))
        target_B = self._unknown(batch) if batch.persons is None else batch.persons.target
        target_B = gathered(target_B)
        traits_MBK = self.traits(target_B).expand_as(told_MBK)
        known_MB = found.present & (target_B != self.traits.unknown)
        return summed_mse(told_MBK[:, :, None], traits_MBK[:, :, None], known_MB)

    def _unknown(self, batch: Batch) -> Tensor:
        assert self.traits is not None
        unknown = self.traits.unknown
        return torch.full((len(batch.labels),), unknown, device=batch.labels.device)

    def _shuffle(self, samples: int, device: torch.device) -> Shuffle:
        lists = self.num_labels, len(self.widths), samples, device
        if self.settings.reference:
            return reversed_order(*lists)
        return draw_stack_shuffle(*lists, rounds=ROUNDS if self.settings.parts.stack_shuffle else 0)

    def _branch(self, modality: str, width: int) -> LabelSpecificFeatures:
        if self._num_traits is None:
            return super()._branch(modality, width)
        settings = self.settings
        return PersonFeatures(
            InputNorm(width),
            PersonContext(
                width,
                self._num_traits,
                settings.hidden,
                settings.dropout,
                settings.persons_dropout,
            ),
            self._encoder(modality, settings.hidden),
            self._label_attention(),
        )

    def _look(
        self, modality: str, x_BTD: Tensor, mask_BT: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        if self.traits is None:
            return super()._look(modality, x_BTD, mask_BT, batch)
        whose = PersonSteps(batch.persons, modality, mask_BT, self.traits)
        return self.label_specific[modality](x_BTD, mask_BT, whose)


def _check_persons(settings: RamerNetwork, persons: Persons | None) -> None:
    if persons is None:
        return
    for name, given in (
        ("reference", settings.reference),
        ("pseudo_aligned_length", settings.pseudo_aligned_length),
    ):
        if given:
            expected = "none in a corpus with persons (or parts.persons: false)"
            raise InputError(f"{settings.whose}'s settings", f"network.{name}", expected, given)
