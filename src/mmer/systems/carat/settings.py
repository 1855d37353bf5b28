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

from typing import Annotated, Self

from pydantic import Field, NonNegativeFloat, model_validator

from mmer.errors import InputError
from mmer.schema import Settings
from mmer.training.settings import TrainingSettings

# Bounded, so that a file from elsewhere cannot ask for a network without end.
Size = Annotated[int, Field(ge=1, le=1 << 20)]
Layers = Annotated[int, Field(ge=1, le=100)]


class LossWeights(Settings):
    """Weights of the terms of CARAT's total loss; the defaults are the published ones.

    Cross-entropies are those of pooled logits of the label-specific features U and of both levels
    of reconstruction, alpha and beta, and of aggregated logits. The squared errors of decoded
    latent vectors and of both levels are against U and summed over the modalities.
    """

    bce_label_specific: NonNegativeFloat = 0.01
    bce_alpha: NonNegativeFloat = 0.1
    bce_beta: NonNegativeFloat = 1.0
    contrast: NonNegativeFloat = 1.0
    mse_autoencoder: NonNegativeFloat = 1.0
    mse_alpha: NonNegativeFloat = 1.0
    mse_beta: NonNegativeFloat = 0.0
    bce_aggregation: NonNegativeFloat = 1.0
    bce_shuffled: NonNegativeFloat = 0.1


class CaratParts(Settings):
    """What can be switched off, to see what it is good for.

    Attributes:
        contrast: The contrastive loss.
        alpha: The first level of reconstruction and its losses; without it, the second rebuilds
            from the decoded features.
        beta: The second level and its losses; without it, the first is what is aggregated.
        prototypes: Where they stood, vectors of zeros stand: Pad carries no information.
        label_attention: Each label's own weights on the steps; without it, all labels have the mean
            of the steps.
        shuffle_samples, shuffle_modalities: Which of them the shuffle mixes. With neither, the
            shuffled aggregation is what it is without shuffling.
    """

    contrast: bool = True
    alpha: bool = True
    beta: bool = True
    prototypes: bool = True
    label_attention: bool = True
    shuffle_samples: bool = True
    shuffle_modalities: bool = True


class CaratNetwork(Settings):
    """Sizes and constants of the network; the defaults are the paper's, for word-aligned features.

    Attributes:
        hidden: Width d of the encoders.
        latent: Width z of the autoencoders' code.
        heads: Attention heads; divides `hidden`.
        feed_forward: Width of the encoders' feed-forward layers.
        layers: Transformer layers of each of the corpus's modalities.
        dropout: Probability, on attention weights and on the sub-layers' outputs.
        max_length: Learned positions: the longest sequence that an encoder takes.
        pseudo_aligned_length: None where the modalities share their steps or are encoded at their
            own length; otherwise those of `pseudo_aligned` are first brought to this many steps.
        pseudo_aligned: Modalities that `pseudo_aligned_length` is for.
        temperature: Of the contrast.
        queue: Vectors that the contrast remembers.
        prototype_momentum: Share of a prototype that one update keeps.
        loss_weights: Weights of the terms of the total loss.
        parts: All on, but in ablations.
        reference: True reproduces the published program with its surprises; see the module.
        reference_lengths: Under `reference`, the steps to which every sample of a modality is
            padded; `max_length` for those not named. Published: 60 aligned; unaligned text 50,
            visual and audio 500.
    """

    hidden: Size = Field(default=256, multiple_of=2)
    latent: Size = 64
    heads: Size = 8
    feed_forward: Size = 256
    layers: dict[str, Layers] = Field(default={"text": 6, "visual": 4, "audio": 4})
    dropout: float = Field(default=0.3, ge=0, lt=1)
    max_length: Size = 60
    pseudo_aligned_length: Size | None = None
    pseudo_aligned: tuple[str, ...] = ("visual", "audio")
    temperature: float = Field(default=0.07, gt=0)
    queue: Size = 8192
    prototype_momentum: float = Field(default=0.99, ge=0, le=1)
    loss_weights: LossWeights = LossWeights()
    parts: CaratParts = CaratParts()
    reference: bool = False
    reference_lengths: dict[str, Size] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fit_each_other(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"heads must divide hidden, {self.hidden}; {self.heads} do not")
        if self.reference_lengths and not self.reference:
            raise ValueError("reference_lengths are for reference: true")
        lengths = {m: n for m, n in self.reference_lengths.items() if not self.pseudo_aligned_to(m)}
        if self.pseudo_aligned_length:
            lengths["pseudo_aligned_length"] = self.pseudo_aligned_length
        for name, steps in lengths.items():
            if steps > self.max_length:
                raise ValueError(f"{name}: {steps} steps, but max_length is {self.max_length}")
        return self

    def pseudo_aligned_to(self, modality: str) -> int | None:
        """Steps that a modality is brought to; None if it is encoded at its own length."""
        return self.pseudo_aligned_length if modality in self.pseudo_aligned else None

    def longest(self, modality: str) -> int | None:
        """Most steps of a modality that the network takes, to which `reference` pads; None: any."""
        if self.reference:
            return self.reference_lengths.get(modality, self.max_length)
        return None if self.pseudo_aligned_to(modality) else self.max_length

    def check_modalities(self, modalities: tuple[str, ...]) -> None:
        """Refuse settings for other modalities than a corpus has, with an InputError."""
        for name, named, needed in (
            ("layers", self.layers, modalities),
            ("pseudo_aligned", self.pseudo_aligned if self.pseudo_aligned_length else (), ()),
            ("reference_lengths", self.reference_lengths, ()),
        ):
            if not set(needed) <= set(named) <= set(modalities):
                some = "" if needed else "some of "
                expected = f"{some}the corpus's modalities, {', '.join(modalities)}"
                raise InputError("CARAT's settings", f"network.{name}", expected, ", ".join(named))


class CaratSettings(Settings):
    """All that is set of CARAT."""

    network: CaratNetwork = CaratNetwork()
    training: TrainingSettings = TrainingSettings()
