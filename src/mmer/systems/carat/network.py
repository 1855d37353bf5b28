"""CARAT: contrastive feature reconstruction and aggregation (Peng et al., AAAI 2024).

Shapes: M = 3 modalities in the order text, visual, audio; B samples, T steps, D raw features,
L labels, d hidden, z latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmer.errors import InputError
from mmer.models.aggregation import Aggregation
from mmer.models.autoencoder import Autoencoders
from mmer.models.checks import check_labels, check_shapes
from mmer.models.contrast import FeatureQueue, supervised_contrast
from mmer.models.feature_input import InputNorm
from mmer.models.heads import MaxPooledHeads
from mmer.models.label_specific import LabelSpecificFeatures
from mmer.models.losses import (
    binary_cross_entropy,
    contrast_classes,
    contrast_vectors,
    summed_mse,
    weighted_total,
)
from mmer.models.prototypes import PrototypeBank
from mmer.models.reconstruction import TwoLevelReconstruction
from mmer.models.settings import MODALITIES, CaratSettings
from mmer.models.shuffle import Shuffle, apply_shuffle, draw_shuffle


class FeatureLevels(NamedTuple):
    """Every level of a batch's features.

    Attributes:
        label_specific: U (M, B, L, d).
        latent: Z of U (M, B, L, z).
        unit: Z/|Z| (M, B, L, z); zero where the sample lacks the modality.
        decoded: R (M, B, L, d).
        alpha: First level of reconstruction (M, B, L, d).
        beta: Second level of reconstruction (M, B, L, d).
        present: (M, B) bool, false where a sample lacks the modality.
    """

    label_specific: Tensor
    latent: Tensor
    unit: Tensor
    decoded: Tensor
    alpha: Tensor
    beta: Tensor
    present: Tensor


class Carat(nn.Module):
    """The whole network with its prototypes and its queue.

    In training mode the prototypes are mixed and dropout is on; in evaluation mode the nearest
    prototype stands alone. What stands at padded steps of the features must be finite and is
    otherwise without effect.

    Args:
        settings: Sizes and constants.
        widths: Raw features D per modality.
        num_labels: Number L.

    Raises:
        InputError: Widths not of the three modalities or below 1, or no label.
    """

    def __init__(self, settings: CaratSettings, widths: Mapping[str, int], num_labels: int) -> None:
        super().__init__()
        if set(widths) != set(MODALITIES) or min(widths.values()) < 1:
            raise InputError("model", "widths", f"a width for each of {MODALITIES}", dict(widths))
        if num_labels < 1:
            raise InputError("model", "num_labels", "at least 1", num_labels)
        self.settings, self.num_labels = settings, num_labels
        self.widths = {modality: widths[modality] for modality in MODALITIES}
        count, hidden, latent = len(MODALITIES), settings.hidden, settings.latent
        self.label_specific = nn.ModuleDict(
            {m: LabelSpecificFeatures(settings, m, widths[m], num_labels) for m in MODALITIES}
        )
        self.autoencoders = Autoencoders(count, hidden, latent)
        self.prototypes = PrototypeBank(count, num_labels, latent, settings.prototype_momentum)
        self.reconstruction = TwoLevelReconstruction(count, hidden)
        self.heads = MaxPooledHeads(count, num_labels, hidden)
        self.aggregation = Aggregation(num_labels, hidden)
        self.queue = FeatureQueue(settings.queue, latent, random_start=settings.reference)

    def set_input_statistics(self, mean: Mapping[str, Tensor], scale: Mapping[str, Tensor]) -> None:
        """Standardise raw features from now on: (x - mean) / scale, part of the weights.

        Args:
            mean: (D,) per modality.
            scale: (D,) per modality, above 0.

        Raises:
            InputError: Wrong shapes or values, or the reference setting, which has none.
        """
        if self.settings.reference:
            raise InputError("input statistics", "", "none under reference", "some")
        for modality, width in self.widths.items():
            for name, values in (("mean", mean[modality]), ("scale", scale[modality])):
                where = f"{name} of {modality}"
                if values.shape != (width,):
                    raise InputError(
                        "input statistics", where, f"shape ({width},)", tuple(values.shape)
                    )
                if not values.isfinite().all() or (name == "scale" and not (values > 0).all()):
                    raise InputError(
                        "input statistics", where, "finite; a scale above 0", values.tolist()
                    )
            norm = self.label_specific[modality].input_norm
            assert isinstance(norm, InputNorm)
            norm.standardise(mean[modality], scale[modality])

    def forward(self, features: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> FeatureLevels:
        """All levels of features: (B, T, D) and (B, T) bool per modality; lengths may differ.

        Raises:
            InputError: Shapes that do not fit (values: see `checks.check_batch`).
        """
        u_MBLd, _, present_MB = self._label_specific(features, masks)
        latent = self._encode(u_MBLd)
        unit = self._unit(latent) * present_MB[..., None, None]
        bank = self.prototypes
        prototype = bank.mixture(unit) if self.training else bank.nearest(unit)
        # One pass through the decoders for what was seen and what the prototypes say.
        both = torch.cat([latent, prototype.to(latent.dtype)], dim=1).flatten(1, 2)
        decoded, stand_in = (
            x.view_as(u_MBLd) for x in self.autoencoders.decode(both).chunk(2, dim=1)
        )
        seen = torch.where(present_MB[..., None, None], decoded, stand_in)
        alpha = self.reconstruction.alpha(seen, stand_in)
        beta = self.reconstruction.beta(alpha)
        return FeatureLevels(u_MBLd, latent, unit, decoded, alpha, beta, present_MB)

    def training_losses(
        self,
        features: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        labels: Tensor,
        *,
        shuffle: Shuffle | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """All terms of the loss; afterwards prototypes and queue have moved on.

        Args:
            features: (B, T, D) per modality.
            masks: (B, T) bool per modality; all false where a sample lacks the modality.
            labels: (B, L), 1 where the label is present, else 0.
            shuffle: Which features the shuffled aggregation sees; drawn if None.
            generator: Of the draw, on the labels' device.

        Returns:
            "total", and each term under the name of its weight in `LossWeights`, unweighted.

        Raises:
            InputError: Shapes that do not fit.
        """
        found = self(features, masks)
        check_labels(labels, found.present.shape[1], self.num_labels)
        labels = labels.to(self.queue.vectors.dtype)
        if shuffle is None:
            shuffle = draw_shuffle(
                self.num_labels, len(MODALITIES), len(labels), labels.device, generator
            )
        terms = self._supervised_terms(found, labels, shuffle)
        target, present = found.label_specific, found.present
        terms["mse_autoencoder"] = summed_mse(found.decoded, target, present)
        terms["mse_alpha"] = summed_mse(found.alpha, target, present)
        terms["mse_beta"] = summed_mse(found.beta, target, present)
        terms["contrast"] = self._contrast_and_remember(found, labels)
        return {"total": weighted_total(terms, self.settings.loss_weights), **terms}

    @torch.no_grad()
    def scores(self, features: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> Tensor:
        """(B, L) in [0, 1]: the mean of the beta heads' and of the aggregation's probability."""
        beta = self(features, masks).beta
        pooled = self.heads(beta).sigmoid()
        aggregated = self.aggregation(beta.transpose(0, 1)).sigmoid().mean(dim=1)
        return ((pooled + aggregated) / 2).to(self.queue.vectors.dtype)

    @torch.no_grad()
    def label_attention(
        self, features: Mapping[str, Tensor], masks: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """How much each label looks at each step, (B, T, L) per modality; 0 at padded steps."""
        _, attention, _ = self._label_specific(features, masks)
        return {m: attention[m][:, : features[m].shape[1]] for m in MODALITIES}

    def _label_specific(
        self, features: Mapping[str, Tensor], masks: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """U (M, B, L, d), attention (B, T, L) per modality, and presence (M, B)."""
        longest = {m: self.settings.longest(m) for m in MODALITIES}
        check_shapes(features, masks, self.widths, longest)
        vectors, attention, present = [], {}, []
        for modality in MODALITIES:
            x_BTD, mask_BT = self._pad(modality, features[modality], masks[modality])
            u_BLd, attention[modality] = self.label_specific[modality](x_BTD, mask_BT)
            vectors.append(u_BLd)
            present.append(mask_BT.any(dim=1))
        return torch.stack(vectors), attention, torch.stack(present)

    def _pad(self, modality: str, x_BTD: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """As published under `reference`: zeros to a fixed length, attended to like the rest.

        Otherwise only a batch without any step of the modality gets one, masked.
        """
        reference = self.settings.reference
        length = self.settings.padded_length(modality) if reference else 1
        if (missing := length - x_BTD.shape[1]) > 0:
            x_BTD, mask_BT = F.pad(x_BTD, (0, 0, 0, missing)), F.pad(mask_BT, (0, missing))
        return x_BTD, torch.ones_like(mask_BT) if reference else mask_BT

    def _encode(self, x_MBLd: Tensor) -> Tensor:
        return self.autoencoders.encode(x_MBLd.flatten(1, 2)).view(*x_MBLd.shape[:3], -1)

    def _unit(self, latent_MBLz: Tensor) -> Tensor:
        """Z/|Z|, in full precision also under autocast."""
        return F.normalize(latent_MBLz.to(self.queue.vectors.dtype), dim=-1)

    def _supervised_terms(
        self, found: FeatureLevels, labels: Tensor, shuffle: Shuffle
    ) -> dict[str, Tensor]:
        aggregated = self.aggregation(found.beta.transpose(0, 1))  # (B, M, L)
        shuffled_BMLd, shuffled_labels = apply_shuffle(shuffle, found.beta, labels)
        return {
            "bce_label_specific": binary_cross_entropy(self.heads(found.label_specific), labels),
            "bce_alpha": binary_cross_entropy(self.heads(found.alpha), labels),
            "bce_beta": binary_cross_entropy(self.heads(found.beta), labels),
            "bce_aggregation": binary_cross_entropy(aggregated, labels[:, None]),
            "bce_shuffled": binary_cross_entropy(self.aggregation(shuffled_BMLd), shuffled_labels),
        }

    def _contrast_and_remember(self, found: FeatureLevels, labels: Tensor) -> Tensor:
        """The contrast with what the queue holds; then the prototypes and the queue move on."""
        rebuilt = (self._unit(self._encode(x)) for x in (found.alpha, found.beta))
        vectors = contrast_vectors(found.unit, *rebuilt)
        classes = contrast_classes(labels, found.present)
        loss = supervised_contrast(
            vectors, classes, self.queue.vectors, self.queue.classes, self.settings.temperature
        )
        self.prototypes.update(found.unit.detach(), labels, found.present)
        self.queue.enqueue(vectors.detach(), classes)
        return loss
