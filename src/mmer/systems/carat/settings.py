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

from collections.abc import Collection
from typing import ClassVar, Self

from pydantic import Field, NonNegativeFloat, model_validator

from mmer.schema import Settings
from mmer.systems.layers.settings import (
    Layers,
    ReconstructionParts,
    ReconstructionSettings,
    ReconstructionWeights,
    Size,
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
        reference_lengths: Under `reference`, the steps to which every sample of a modality is
            padded; `max_length` for those not named. Published: 60 aligned; unaligned text 50,
            visual and audio 500.
    """

    whose: ClassVar[str] = "CARAT"

    layers: dict[str, Layers] = Field(default={"text": 6, "visual": 4, "audio": 4})
    pseudo_aligned: tuple[str, ...] = ("visual", "audio")
    loss_weights: LossWeights = LossWeights()
    parts: CaratParts = CaratParts()
    reference_lengths: dict[str, Size] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _reference_lengths_fit(self) -> Self:
        if self.reference_lengths and not self.reference:
            raise ValueError("reference_lengths are for reference: true")
        for modality, steps in self.reference_lengths.items():
            if steps > self.max_length and not self.pseudo_aligned_to(modality):
                raise ValueError(f"{modality}: {steps} steps, but max_length is {self.max_length}")
        return self

    def longest(self, modality: str) -> int | None:
        return self.padded_to(modality) or super().longest(modality)

    def padded_to(self, modality: str) -> int | None:
        if not self.reference:
            return None
        return self.reference_lengths.get(modality, self.max_length)

    def _by_modality(self) -> dict[str, Collection[str]]:
        return super()._by_modality() | {"reference_lengths": self.reference_lengths}


class CaratSettings(Settings):
    """All that is set of CARAT."""

    network: CaratNetwork = CaratNetwork()
    training: TrainingSettings = TrainingSettings()
