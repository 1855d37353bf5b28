"""Settings of CARAT, and the one switch between the published program and ours.

`CaratNetwork.reference` chooses the setting. All else is shared; the two differ in this only:

================  ========================================  ========================================
what              reference = true                          reference = false (default)
================  ========================================  ========================================
queue at first    random vectors, normalised over the       empty slots, which take no part: the
                  wrong axis, whose labels match nothing    first steps contrast real vectors only
padding           not masked: every sample is padded with   masked: a score does not depend on the
                  zeros to `reference_lengths`, all steps   batch that a sample happens to be in
                  are attended to
absent modality   looks like a clip of zeros                leaves the losses, the contrast and the
                                                            prototypes that it would teach
input statistics  none: the LayerNorm over raw features     features are standardised first if
                  sees the largest alone                    training is asked to
================  ========================================  ========================================

`reference` exists to reproduce published numbers; a model that is to be used wants the default.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, NonNegativeFloat

from mmer.schema import Settings
from mmer.systems.layers.settings import (
    Layers,
    ReconstructionParts,
    ReconstructionSettings,
    ReconstructionWeights,
)
from mmer.training.settings import TrainingSettings


class LossWeights(ReconstructionWeights):
    """Weights of the terms of CARAT's total loss; the defaults are the published ones."""

    bce_aggregation: NonNegativeFloat = 1.0
    bce_shuffled: NonNegativeFloat = 0.1


class CaratParts(ReconstructionParts):
    """What can be switched off, to see what it is good for.

    Attributes:
        shuffle_samples, shuffle_modalities: Which of them the shuffle mixes. With neither, the
            shuffled aggregation is what it is without shuffling.
    """

    shuffle_samples: bool = True
    shuffle_modalities: bool = True


class CaratNetwork(ReconstructionSettings):
    """Sizes and constants of the network; the defaults are the paper's, for word-aligned features.

    Attributes:
        layers: Transformer layers of each of the corpus's modalities.
        reference: True reproduces the published program with its surprises; see the module.
    """

    whose: ClassVar[str] = "CARAT"

    layers: dict[str, Layers] = Field(default={"text": 6, "visual": 4, "audio": 4})
    pseudo_aligned: tuple[str, ...] = ("visual", "audio")
    loss_weights: LossWeights = LossWeights()
    parts: CaratParts = CaratParts()


class CaratSettings(Settings):
    """All that is set of CARAT."""

    network: CaratNetwork = CaratNetwork()
    training: TrainingSettings = TrainingSettings()
