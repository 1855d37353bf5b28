"""The network up to the second level of reconstruction, which several systems share (CARAT).

Shapes: M modalities, in the corpus's order; B samples, T steps, D raw features, L labels, d hidden,
z latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer.samples.batches import Batch
from mmer.systems.layers.checks import check_shapes
from mmer.systems.layers.contrast import FeatureQueue, supervised_contrast
from mmer.systems.layers.encoder import Encoder, InputNorm
from mmer.systems.layers.heads import Aggregation, MaxPooledHeads
from mmer.systems.layers.label_specific import (
    LabelAttention,
    LabelSpecificFeatures,
    MeanOverSteps,
    PseudoAlignment,
)
from mmer.systems.layers.losses import (
    binary_cross_entropy,
    contrast_classes,
    contrast_vectors,
    summed_mse,
)
from mmer.systems.layers.prototypes import PrototypeBank
from mmer.systems.layers.reconstruction import Autoencoders, TwoLevelReconstruction
from mmer.systems.layers.settings import ReconstructionSettings
from mmer.training.distributed import gathered
from mmer.training.network import Losses, Network


class FeatureLevels(NamedTuple):
    """Every level of a batch's features, (M, B, L, d) where nothing else is said.

    Attributes:
        label_specific: U.
        latent: Z of U (M, B, L, z).
        unit: Z/|Z| (M, B, L, z); zero where the sample lacks the modality.
        decoded: R.
        alpha, beta: First and second level of reconstruction.
        present: (M, B) bool, false where a sample lacks the modality.
    """

    label_specific: Tensor
    latent: Tensor
    unit: Tensor
    decoded: Tensor
    alpha: Tensor
    beta: Tensor
    present: Tensor


class Lesson(NamedTuple):
    """What prototypes and queue learn from a batch, as their methods take it."""

    unit: Tensor
    labels: Tensor
    present: Tensor
    vectors: Tensor
    classes: Tensor


class ReconstructionNetwork(Network):
    """Encoders, label attention, prototypes, both levels of reconstruction, heads, aggregation.

    In training mode the prototypes are mixed and dropout is on; in evaluation mode the nearest
    prototype stands alone. What stands at padded steps of the features must be finite and is
    otherwise without effect. The modalities of `widths` stand in the order that they have
    everywhere. What is left to the systems that are made of it is `losses`.

    Raises:
        InputError: The settings are for other modalities. In every method: a batch has more steps
            than the network has positions (a ValueError if its shapes do not fit at all).
    """

    def __init__(
        self, settings: ReconstructionSettings, widths: Mapping[str, int], num_labels: int
    ) -> None:
        super().__init__()
        settings.check_modalities(tuple(widths))
        self.settings, self.widths, self.num_labels = settings, dict(widths), num_labels
        self.longest = {m: settings.longest(m) for m in widths}
        self.loss_weights = settings.weights()
        count, hidden, latent = len(widths), settings.hidden, settings.latent
        self.label_specific = nn.ModuleDict({m: self._branch(m, n) for m, n in widths.items()})
        self.autoencoders = Autoencoders(count, hidden, latent)
        self.prototypes = PrototypeBank(count, num_labels, latent, settings.prototype_momentum)
        self.reconstruction = TwoLevelReconstruction(count, hidden)
        self.heads = MaxPooledHeads(count, num_labels, hidden)
        self.aggregation = Aggregation(num_labels, hidden)
        self.queue = FeatureQueue(settings.queue, latent, random_start=settings.reference)

    def _branch(self, modality: str, width: int) -> LabelSpecificFeatures:
        """From one modality's raw steps of this width to its label-specific features."""
        steps = self.settings.pseudo_aligned_to(modality)
        return LabelSpecificFeatures(
            InputNorm(width),
            PseudoAlignment(width, steps) if steps else None,
            self._encoder(modality, width),
            self._label_attention(),
        )

    def _encoder(self, modality: str, width: int) -> Encoder:
        settings = self.settings
        return Encoder(
            width,
            settings.hidden,
            settings.heads,
            settings.feed_forward,
            settings.layers_of(modality),
            settings.max_length,
            settings.dropout,
        )

    def _label_attention(self) -> LabelAttention | MeanOverSteps:
        if self.settings.parts.label_attention:
            return LabelAttention(self.settings.hidden, self.num_labels)
        return MeanOverSteps(self.num_labels)

    def set_input_statistics(self, mean: Mapping[str, Tensor], scale: Mapping[str, Tensor]) -> None:
        """Standardise raw features from now on: (x - mean) / scale; never under `reference`."""
        if self.settings.reference:
            return
        for modality, branch in self.label_specific.items():
            assert isinstance(branch, LabelSpecificFeatures)
            branch.input_norm.standardise(mean[modality], scale[modality])

    def forward(self, batch: Batch) -> FeatureLevels:
        """All levels of a batch's features; modalities may differ in length."""
        u_MBLd, _, present_MB = self._label_specific(batch)
        u_MBLd, present_MB = gathered(u_MBLd, dim=1), gathered(present_MB, dim=1)
        latent = self._encode(u_MBLd)
        unit = self._unit(latent) * present_MB[..., None, None]
        bank, parts = self.prototypes, self.settings.parts
        prototype = bank.mixture(unit) if self.training else bank.nearest(unit)
        if not parts.prototypes:
            prototype = torch.zeros_like(prototype)
        # One pass through the decoders for what was seen and what the prototypes say.
        both = torch.cat([latent, prototype.to(latent.dtype)], dim=1).flatten(1, 2)
        decoded, pad = (x.view_as(u_MBLd) for x in self.autoencoders.decode(both).chunk(2, dim=1))
        seen = torch.where(present_MB[..., None, None], decoded, pad)
        alpha = self.reconstruction.alpha(seen, pad) if parts.alpha else seen
        beta = self.reconstruction.beta(alpha) if parts.beta else alpha
        return FeatureLevels(u_MBLd, latent, unit, decoded, alpha, beta, present_MB)

    def head_terms(self, found: FeatureLevels, labels: Tensor) -> dict[str, Tensor]:
        """Cross-entropies of the pooled logits of U, alpha and beta."""
        seen = self.heads(found.label_specific, found.present)
        return {
            "bce_label_specific": binary_cross_entropy(seen, labels),
            "bce_alpha": binary_cross_entropy(self.heads(found.alpha), labels),
            "bce_beta": binary_cross_entropy(self.heads(found.beta), labels),
        }

    def rebuilding_terms(self, found: FeatureLevels) -> dict[str, Tensor]:
        """Squared errors of what is rebuilt of U."""
        target, present = found.label_specific, found.present
        return {
            "mse_autoencoder": summed_mse(found.decoded, target, present),
            "mse_alpha": summed_mse(found.alpha, target, present),
            "mse_beta": summed_mse(found.beta, target, present),
        }

    def losses_of(
        self, found: FeatureLevels, labels: Tensor, terms: Mapping[str, Tensor]
    ) -> Losses:
        """These terms and the contrast, their weighted total, and what the batch teaches.

        Terms without a weight, those of parts that are switched off, are left out.
        """
        vectors, classes = self._contrasted(found, labels)
        terms = dict(terms)
        if self.settings.parts.contrast:
            terms["contrast"] = supervised_contrast(
                vectors, classes, self.queue.vectors, self.queue.classes, self.settings.temperature
            )
        terms = {name: terms[name] for name in self.loss_weights}
        total = torch.stack([weight * terms[name] for name, weight in self.loss_weights.items()])
        lesson = Lesson(found.unit.detach(), labels, found.present, vectors.detach(), classes)
        return Losses({"total": total.sum(), **terms}, lesson)

    def _contrasted(self, found: FeatureLevels, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of all levels that there are, and their classes; none without contrast."""
        parts = self.settings.parts
        if not parts.contrast:
            return found.unit.new_zeros(0, found.unit.shape[-1]), labels.new_zeros(0).long()
        levels = [x for name, x in _levels(found) if getattr(parts, name)]
        rebuilt = (self._unit(self._encode(x)) for x in levels)
        classes = contrast_classes(labels, found.present, 1 + len(levels))
        return contrast_vectors(found.unit, *rebuilt), classes

    def after_step(self, carry: Lesson) -> None:
        """The prototypes move towards level U; the contrasted vectors enter the queue."""
        self.prototypes.update(carry.unit, carry.labels, carry.present)
        self.queue.enqueue(carry.vectors, carry.classes)

    def scores(self, batch: Batch) -> Tensor:
        """(B, L) in [0, 1]: the mean of the beta heads' and of the aggregation's probability."""
        beta = self(batch).beta
        pooled = self.heads(beta).sigmoid()
        aggregated = self.aggregation(beta.transpose(0, 1)).sigmoid().mean(dim=1)
        return ((pooled + aggregated) / 2).to(self.queue.vectors.dtype)

    @torch.no_grad()
    def label_attention(self, batch: Batch) -> dict[str, Tensor]:
        """How much each label looks at each step, (B, T, L) per modality; 0 at padded steps."""
        _, attention, _ = self._label_specific(batch)
        return {m: x[:, : batch.features[m].shape[1]] for m, x in attention.items()}

    def _label_specific(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """U (M, B, L, d), attention (B, T, L) per modality, and presence (M, B)."""
        check_shapes(batch, self.widths, self.num_labels, self.longest)
        vectors, attention, present = [], {}, []
        for modality in self.label_specific:
            x_BTD, mask_BT = batch.features[modality], batch.masks[modality]
            padded_to = self.settings.padded_to(modality)
            # A batch without any step of a modality gets one.
            if (missing := (padded_to or 1) - x_BTD.shape[1]) > 0:
                x_BTD, mask_BT = F.pad(x_BTD, (0, 0, 0, missing)), F.pad(mask_BT, (0, missing))
            if padded_to:
                mask_BT = torch.ones_like(mask_BT)
            u_BLd, attention[modality] = self._look(modality, x_BTD, mask_BT, batch)
            vectors.append(u_BLd)
            present.append(mask_BT.any(dim=1))
        return torch.stack(vectors), attention, torch.stack(present)

    def _look(
        self, modality: str, x_BTD: Tensor, mask_BT: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """U (B, L, d) and attention (B, T, L) of one modality, its steps as they are to be seen."""
        return self.label_specific[modality](x_BTD, mask_BT)

    def _encode(self, x_MBLd: Tensor) -> Tensor:
        return self.autoencoders.encode(x_MBLd.flatten(1, 2)).view(*x_MBLd.shape[:3], -1)

    def _unit(self, latent_MBLz: Tensor) -> Tensor:
        """Z/|Z|, in full precision also under autocast."""
        return F.normalize(latent_MBLz.to(self.queue.vectors.dtype), dim=-1)


def _levels(found: FeatureLevels) -> tuple[tuple[str, Tensor], ...]:
    return ("alpha", found.alpha), ("beta", found.beta)
