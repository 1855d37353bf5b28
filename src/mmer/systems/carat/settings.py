"""Sizes and constants of CARAT, and the one switch between the published program and ours.

`CaratSettings.reference` chooses the setting. All else is shared; the two differ in this only:

=====================  ====================================  ======================================
what                   reference = true                      reference = false (default)
=====================  ====================================  ======================================
queue at the start     random vectors, normalised over the   empty slots, which take no part: the
                       wrong axis, whose labels match        first steps contrast real vectors only
                       nothing: negatives alone, until they
                       have left the queue
padding                not masked: every sample is padded    masked: a score does not depend on the
                       with zeros to `reference_lengths`     batch that a sample happens to be in
                       and all steps are attended to
absent modality        looks like a clip of zeros            leaves the losses, the contrast and
                                                             the prototypes that it would teach
input statistics       none; LayerNorm over raw features     features may be standardised first
                       whose scales differ by orders of      (`Carat.set_input_statistics`)
                       magnitude, so that the largest drown
                       the others
=====================  ====================================  ======================================

`reference` exists to reproduce published numbers; a model that is to be used wants the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar

from mmer.errors import InputError

MODALITIES = ("text", "visual", "audio")


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of CARAT's total loss; the defaults are the published ones.

    Attributes:
        bce_label_specific: Pooled logits of the label-specific features U.
        bce_alpha: Pooled logits of the first level of reconstruction.
        bce_beta: Pooled logits of the second level of reconstruction.
        contrast: Supervised contrast.
        mse_autoencoder: Decoded latent vectors against U, summed over the modalities.
        mse_alpha: First level of reconstruction against U, summed over the modalities.
        mse_beta: Second level of reconstruction against U, summed over the modalities.
        bce_aggregation: Aggregated logits.
        bce_shuffled: Aggregated logits of shuffled features.
    """

    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    bce_label_specific: float = 0.01
    bce_alpha: float = 0.1
    bce_beta: float = 1.0
    contrast: float = 1.0
    mse_autoencoder: float = 1.0
    mse_alpha: float = 1.0
    mse_beta: float = 0.0
    bce_aggregation: float = 1.0
    bce_shuffled: float = 0.1

    def __post_init__(self) -> None:
        for weight in fields(self):
            value = getattr(self, weight.name)
            if not 0 <= value < float("inf"):
                raise InputError("loss_weights", weight.name, "a finite weight >= 0", value)


def _published_layers() -> dict[str, int]:
    return {"text": 6, "visual": 4, "audio": 4}


@dataclass(frozen=True)
class CaratSettings:
    """Sizes and constants of CARAT; the defaults are the paper's for aligned CMU-MOSEI.

    Attributes:
        hidden: Width d of the encoders.
        latent: Width z of the autoencoders' code.
        heads: Attention heads; divides `hidden`.
        feed_forward: Width of the encoders' feed-forward layers.
        layers: Transformer layers per modality.
        dropout: Probability, on attention weights and on the sub-layers' outputs.
        max_length: Learned positions: the longest sequence that an encoder takes.
        pseudo_aligned_length: None where the modalities share their steps or are encoded at their
            own length; otherwise visual and audio are first brought to this many steps.
        temperature: Of the contrast.
        queue: Vectors that the contrast remembers.
        prototype_momentum: Share of a prototype that one update keeps.
        loss_weights: Weights of the terms of the total loss.
        reference: True reproduces the published program with its surprises; see the module.
        reference_lengths: Under `reference`, the steps to which every sample of a modality is
            padded; None pads all three to `max_length`. Published: 60 aligned; unaligned text 50,
            visual and audio 500.

    Raises:
        InputError: A value is outside its range or does not fit another.
    """

    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    hidden: int = 256
    latent: int = 64
    heads: int = 8
    feed_forward: int = 256
    layers: dict[str, int] = field(default_factory=_published_layers)
    dropout: float = 0.3
    max_length: int = 60
    pseudo_aligned_length: int | None = None
    temperature: float = 0.07
    queue: int = 8192
    prototype_momentum: float = 0.99
    loss_weights: LossWeights = field(default_factory=LossWeights)
    reference: bool = False
    reference_lengths: dict[str, int] | None = None

    def __post_init__(self) -> None:
        for name in ("hidden", "latent", "heads", "feed_forward", "max_length", "queue"):
            if getattr(self, name) < 1:
                raise InputError("model settings", name, "at least 1", getattr(self, name))
        if self.hidden % self.heads:
            raise InputError(
                "model settings", "heads", f"a divisor of hidden = {self.hidden}", self.heads
            )
        if self.hidden % 2:
            raise InputError("model settings", "hidden", "an even width", self.hidden)
        if not 0 <= self.dropout < 1:
            raise InputError("model settings", "dropout", "in [0, 1)", self.dropout)
        if not 0 <= self.prototype_momentum <= 1:
            raise InputError(
                "model settings", "prototype_momentum", "in [0, 1]", self.prototype_momentum
            )
        if not 0 < self.temperature < float("inf"):
            raise InputError("model settings", "temperature", "above 0", self.temperature)
        _check_modalities("layers", self.layers)
        self._check_lengths()

    def longest(self, modality: str) -> int | None:
        """Most steps of a modality that the network takes; None if any number."""
        if self.reference:
            return self.padded_length(modality)
        return None if self.is_pseudo_aligned(modality) else self.max_length

    def padded_length(self, modality: str) -> int:
        """Steps to which `reference` pads a modality."""
        return (self.reference_lengths or {}).get(modality, self.max_length)

    def is_pseudo_aligned(self, modality: str) -> bool:
        """Whether a modality is brought to `pseudo_aligned_length` steps; text never is."""
        return self.pseudo_aligned_length is not None and modality != "text"

    def _check_lengths(self) -> None:
        if self.reference_lengths is not None:
            if not self.reference:
                raise InputError(
                    "model settings", "reference_lengths", "none unless reference is true", "some"
                )
            _check_modalities("reference_lengths", self.reference_lengths)
        for modality in MODALITIES:
            if self.is_pseudo_aligned(modality):
                name, steps = "pseudo_aligned_length", self.pseudo_aligned_length
            else:
                name, steps = "reference_lengths", self.padded_length(modality)
            if steps is not None and not 1 <= steps <= self.max_length:
                raise InputError(
                    "model settings",
                    name,
                    f"1 to max_length = {self.max_length}, for so many steps have a position",
                    steps,
                )


def _check_modalities(name: str, values: Mapping[str, int]) -> None:
    if sorted(values) != sorted(MODALITIES):
        raise InputError("model settings", name, f"the keys {MODALITIES}", tuple(values))
    for modality, value in values.items():
        if value < 1:
            raise InputError("model settings", f"{name}.{modality}", "at least 1", value)
