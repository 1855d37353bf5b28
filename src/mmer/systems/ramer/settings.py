"""Settings of RAMer, and the one switch between the released program and ours.

`RamerNetwork.reference` chooses the setting. All else is shared; the two differ in this only:

=====================  ===================================  ========================================
what                   reference = true                     reference = false (default)
=====================  ===================================  ========================================
stack shuffle          the lists in reverse: nothing mixes  cards dealt, from random cuts
common classification  slot 0 of c predicts all labels      slot l predicts label l
queue at first         random vectors, normalised over the  empty slots, which take no part
                       wrong axis, that match nothing
input statistics       none                                 features are standardised first if
                                                            training is asked to
persons                refused: the released code for them  see `layers.persons`
                       cannot run
=====================  ===================================  ========================================

Padding is masked in both. The release's network looks at the masks that it is given, as its golden
numbers show; that it sees padding in its own data is because its reader says that there is none,
which is an option of a reader here (`keep_padding`).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from mmer.schema import Settings
from mmer.systems.layers.settings import (
    Layers,
    ReconstructionParts,
    ReconstructionSettings,
    ReconstructionWeights,
)
from mmer.training.settings import TrainingSettings

Probability = Annotated[float, Field(ge=0, lt=1)]


class RamerWeights(ReconstructionWeights):
    """Weights of the terms of RAMer's total loss; the defaults are the released ones.

    Attributes:
        bce_aggregation: Of the plain aggregation; the release computes it and leaves it out.
        bce_shuffled: Of the aggregation after the stack shuffle.
        adversary_specific, adversary_common: What the discriminator loses on specific features, and
            on common ones, which learn to make it lose.
        orthogonality_specific: Overlap of the modalities' specific features.
        orthogonality_common: Overlap of each modality's common and specific features.
        bce_common: Common classification.
        mse_personality: What is missed of the target's traits, standardised, in what a modality's
            features say of them. Only in corpora with persons, and ours: the release names such a
            task and has no weight for it.
    """

    bce_aggregation: NonNegativeFloat = 0.0
    bce_shuffled: NonNegativeFloat = 1.0
    adversary_specific: NonNegativeFloat = 0.01
    adversary_common: NonNegativeFloat = 0.01
    orthogonality_specific: NonNegativeFloat = 5e-6
    orthogonality_common: NonNegativeFloat = 5e-6
    bce_common: NonNegativeFloat = 0.5
    mse_personality: NonNegativeFloat = 0.1


class RamerParts(ReconstructionParts):
    """What can be switched off, to see what it is good for.

    Attributes:
        adversary: The discriminator.
        orthogonality: That specific features overlap neither with each other nor with common ones.
        common_classification: Labels from the common features alone.
        stack_shuffle: Without it, the shuffled aggregation is what it is in order.
        persons: That steps are somebody's: without it, all steps are alike.
        personality: What is known of each person, and the task to tell it.
    """

    terms: ClassVar[dict[str, tuple[str, ...]]] = {
        **ReconstructionParts.terms,
        "adversary": ("adversary_specific", "adversary_common"),
        "orthogonality": ("orthogonality_specific", "orthogonality_common"),
        "common_classification": ("bce_common",),
        "persons": ("mse_personality",),
        "personality": ("mse_personality",),
    }

    adversary: bool = True
    orthogonality: bool = True
    common_classification: bool = True
    stack_shuffle: bool = True
    persons: bool = True
    personality: bool = True


class RamerNetwork(ReconstructionSettings):
    """Sizes and constants of the network; the defaults are the release's.

    Attributes:
        specific_dropout, common_dropout: Probability, on what becomes specific and common features.
        discriminator_dropout: On the discriminator's hidden layer and on the common logits.
        persons_dropout: Share of the samples whose steps are taken alike in a step of training, of
            each modality for itself; only in corpora with persons.
        reference: True reproduces the released program with its surprises; see the module.
    """

    whose: ClassVar[str] = "RAMer"

    layers: Layers | dict[str, Layers] = 3
    specific_dropout: Probability = 0.1
    common_dropout: Probability = 0.3
    discriminator_dropout: Probability = 0.1
    persons_dropout: Probability = 0.3
    loss_weights: RamerWeights = RamerWeights()
    parts: RamerParts = RamerParts()


class RamerTraining(TrainingSettings):
    """Training with the release's epochs and seed."""

    epochs: PositiveInt = 150
    seed: NonNegativeInt = 42


class RamerSettings(Settings):
    """All that is set of RAMer."""

    network: RamerNetwork = RamerNetwork()
    training: RamerTraining = RamerTraining()
