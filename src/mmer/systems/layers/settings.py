"""What is set of every network that rebuilds modalities from each other (`layers.network`)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, NonNegativeFloat, model_validator

from mmer.errors import InputError
from mmer.schema import Settings

# Bounded, so that a file from elsewhere cannot ask for a network without end.
Size = Annotated[int, Field(ge=1, le=1 << 20)]
Layers = Annotated[int, Field(ge=1, le=100)]


class ReconstructionWeights(Settings):
    """Weights of the terms of the loss that such networks share; the published ones.

    Cross-entropies are those of pooled logits of the label-specific features U and of both levels
    of reconstruction, alpha and beta. The squared errors of decoded latent vectors and of both
    levels are against U and summed over the modalities.
    """

    bce_label_specific: NonNegativeFloat = 0.01
    bce_alpha: NonNegativeFloat = 0.1
    bce_beta: NonNegativeFloat = 1.0
    contrast: NonNegativeFloat = 1.0
    mse_autoencoder: NonNegativeFloat = 1.0
    mse_alpha: NonNegativeFloat = 1.0
    mse_beta: NonNegativeFloat = 0.0


class ReconstructionParts(Settings):
    """What can be switched off of each of them, to see what it is good for.

    Attributes:
        contrast: The contrastive loss.
        alpha: The first level of reconstruction and its losses; without it, the second rebuilds
            from the decoded features.
        beta: The second level and its losses; without it, the first is what is aggregated.
        prototypes: Where they stood, vectors of zeros stand: Pad carries no information.
        label_attention: Each label's own weights on the steps; without it, all labels have the mean
            of the steps.
    """

    terms: ClassVar[dict[str, tuple[str, ...]]] = {
        "contrast": ("contrast",),
        "alpha": ("bce_alpha", "mse_alpha"),
        "beta": ("bce_beta", "mse_beta"),
    }
    """Part -> the terms of the loss that go with it."""

    contrast: bool = True
    alpha: bool = True
    beta: bool = True
    prototypes: bool = True
    label_attention: bool = True

    @classmethod
    def changes(cls) -> dict[str, dict[str, Any]]:
        """Part -> settings of a system that take it away (`System.parts`)."""
        return {name: {"network": {"parts": {name: False}}} for name in cls.model_fields}


class ReconstructionSettings(Settings):
    """Sizes and constants of such a network.

    Attributes:
        hidden: Width d of the encoders.
        latent: Width z of the autoencoders' code.
        heads: Attention heads; divides `hidden`.
        feed_forward: Width of the encoders' feed-forward layers.
        layers: Transformer layers of each of the corpus's modalities, or of all alike.
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
        reference: True reproduces the published program with its surprises.
    """

    whose: ClassVar[str] = "network"
    """Whose settings errors speak of."""

    hidden: Size = Field(default=256, multiple_of=2)
    latent: Size = 64
    heads: Size = 8
    feed_forward: Size = 256
    layers: Layers | dict[str, Layers]
    dropout: float = Field(default=0.3, ge=0, lt=1)
    max_length: Size = 60
    pseudo_aligned_length: Size | None = None
    pseudo_aligned: tuple[str, ...] = ()
    temperature: float = Field(default=0.07, gt=0)
    queue: Size = 8192
    prototype_momentum: float = Field(default=0.99, ge=0, le=1)
    loss_weights: ReconstructionWeights = ReconstructionWeights()
    parts: ReconstructionParts = ReconstructionParts()
    reference: bool = False

    @model_validator(mode="after")
    def _fit_each_other(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"heads must divide hidden, {self.hidden}; {self.heads} do not")
        if (self.pseudo_aligned_length or 0) > self.max_length:
            steps, most = self.pseudo_aligned_length, self.max_length
            raise ValueError(f"pseudo_aligned_length: {steps} steps, but max_length is {most}")
        return self

    def layers_of(self, modality: str) -> int:
        """Transformer layers of a modality."""
        return self.layers if isinstance(self.layers, int) else self.layers[modality]

    def pseudo_aligned_to(self, modality: str) -> int | None:
        """Steps that a modality is brought to; None if it is encoded at its own length."""
        return self.pseudo_aligned_length if modality in self.pseudo_aligned else None

    def longest(self, modality: str) -> int | None:
        """Most steps of a modality that the network takes; None if any."""
        return None if self.pseudo_aligned_to(modality) else self.max_length

    def padded_to(self, modality: str) -> int | None:
        """Steps to which samples are padded with zeros that are attended to; None: that is not."""
        return None

    def weights(self) -> dict[str, float]:
        """Term of the loss -> its weight, without the terms of parts that are switched off."""
        parts = self.parts
        off = {t for part, terms in parts.terms.items() if not getattr(parts, part) for t in terms}
        weights = self.loss_weights.model_dump()
        return {term: weight for term, weight in weights.items() if term not in off}

    def check_modalities(self, modalities: tuple[str, ...]) -> None:
        """Refuse settings for other modalities than a corpus has, with an InputError."""
        for name, named in self._by_modality().items():
            every = name == "layers"
            if not set(modalities if every else ()) <= set(named) <= set(modalities):
                some = "" if every else "some of "
                expected = f"{some}the corpus's modalities, {', '.join(modalities)}"
                where = f"{self.whose}'s settings"
                raise InputError(where, f"network.{name}", expected, ", ".join(named))

    def _by_modality(self) -> dict[str, Collection[str]]:
        """Setting -> the modalities that it names."""
        named: dict[str, Collection[str]] = {}
        if not isinstance(self.layers, int):
            named["layers"] = self.layers
        return named | {"pseudo_aligned": self.pseudo_aligned if self.pseudo_aligned_length else ()}
