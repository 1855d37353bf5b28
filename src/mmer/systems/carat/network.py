"""CARAT: contrastive feature reconstruction and aggregation (Peng et al., AAAI 2024).

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
from mmer.systems.carat.settings import CaratNetwork
from mmer.systems.carat.shuffle import Shuffle, apply_shuffle, draw_shuffle
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


class Carat(Network):
    """The whole network with its prototypes and its queue.

    In training mode the prototypes are mixed and dropout is on; in evaluation mode the nearest
    prototype stands alone. What stands at padded steps of the features must be finite and is
    otherwise without effect. The modalities of `widths` stand in the order that they have
    everywhere.

    Raises:
        InputError: The settings are for other modalities. In every method: a batch has more steps
            than the network has positions (a ValueError if its shapes do not fit at all).
    """

    def __init__(self, settings: CaratNetwork, widths: Mapping[str, int], num_labels: int) -> None:
        super().__init__()
        settings.check_modalities(tuple(widths))
        self.settings, self.widths, self.num_labels = settings, dict(widths), num_labels
        self.longest = {m: settings.longest(m) for m in widths}
        # As published under `reference`; else only a batch without any step of a modality gets one.
        self.shortest = {m: n if settings.reference and n else 1 for m, n in self.longest.items()}
        self.parts = settings.parts
        self.loss_weights = _weights(settings)
        count, hidden, latent = len(widths), settings.hidden, settings.latent
        self.label_specific = nn.ModuleDict()
        for modality, width in widths.items():
            steps = settings.pseudo_aligned_to(modality)
            self.label_specific[modality] = LabelSpecificFeatures(
                InputNorm(width),
                PseudoAlignment(width, steps) if steps else None,
                Encoder(
                    width,
                    hidden,
                    settings.heads,
                    settings.feed_forward,
                    settings.layers[modality],
                    settings.max_length,
                    settings.dropout,
                ),
                LabelAttention(hidden, num_labels)
                if self.parts.label_attention
                else MeanOverSteps(num_labels),
            )
        self.autoencoders = Autoencoders(count, hidden, latent)
        self.prototypes = PrototypeBank(count, num_labels, latent, settings.prototype_momentum)
        self.reconstruction = TwoLevelReconstruction(count, hidden)
        self.heads = MaxPooledHeads(count, num_labels, hidden)
        self.aggregation = Aggregation(num_labels, hidden)
        self.queue = FeatureQueue(settings.queue, latent, random_start=settings.reference)

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
        bank = self.prototypes
        prototype = bank.mixture(unit) if self.training else bank.nearest(unit)
        if not self.parts.prototypes:
            prototype = torch.zeros_like(prototype)
        # One pass through the decoders for what was seen and what the prototypes say.
        both = torch.cat([latent, prototype.to(latent.dtype)], dim=1).flatten(1, 2)
        decoded, pad = (x.view_as(u_MBLd) for x in self.autoencoders.decode(both).chunk(2, dim=1))
        seen = torch.where(present_MB[..., None, None], decoded, pad)
        alpha = self.reconstruction.alpha(seen, pad) if self.parts.alpha else seen
        beta = self.reconstruction.beta(alpha) if self.parts.beta else alpha
        return FeatureLevels(u_MBLd, latent, unit, decoded, alpha, beta, present_MB)

    def losses(self, batch: Batch, shuffle: Shuffle | None = None) -> Losses:
        """All terms of the loss, under the names of their weights; `shuffle` is drawn if None."""
        found = self(batch)
        labels = gathered(batch.labels).to(self.queue.vectors.dtype)
        if shuffle is None:
            shuffle = draw_shuffle(
                self.num_labels,
                len(self.widths),
                len(labels),
                labels.device,
                mix_samples=self.parts.shuffle_samples,
                mix_modalities=self.parts.shuffle_modalities,
            )
        target, present = found.label_specific, found.present
        aggregated = self.aggregation(found.beta.transpose(0, 1))  # (B, M, L)
        shuffled, shuffled_labels = apply_shuffle(shuffle, found.beta, labels)
        terms = {
            "bce_label_specific": binary_cross_entropy(self.heads(target, present), labels),
            "bce_alpha": binary_cross_entropy(self.heads(found.alpha), labels),
            "bce_beta": binary_cross_entropy(self.heads(found.beta), labels),
            "bce_aggregation": binary_cross_entropy(aggregated, labels[:, None]),
            "bce_shuffled": binary_cross_entropy(self.aggregation(shuffled), shuffled_labels),
            "mse_autoencoder": summed_mse(found.decoded, target, present),
            "mse_alpha": summed_mse(found.alpha, target, present),
            "mse_beta": summed_mse(found.beta, target, present),
        }
        vectors, classes = self._contrasted(found, labels)
        if self.parts.contrast:
            terms["contrast"] = supervised_contrast(
                vectors, classes, self.queue.vectors, self.queue.classes, self.settings.temperature
            )
        terms = {name: terms[name] for name in self.loss_weights}
        total = torch.stack([weight * terms[name] for name, weight in self.loss_weights.items()])
        lesson = Lesson(found.unit.detach(), labels, present, vectors.detach(), classes)
        return Losses({"total": total.sum(), **terms}, lesson)

    def _contrasted(self, found: FeatureLevels, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of all levels that there are, and their classes; none without contrast."""
        if not self.parts.contrast:
            return found.unit.new_zeros(0, found.unit.shape[-1]), labels.new_zeros(0).long()
        levels = [x for name, x in _levels(found) if getattr(self.parts, name)]
        rebuilt = (self._unit(self._encode(x)) for x in levels)
        classes = contrast_classes(labels, found.present, 1 + len(levels))
        return contrast_vectors(found.unit, *rebuilt), classes

    def after_step(self, carry: Lesson) -> None:
        """The prototypes move towards level U; the contrasted vectors enter the queue."""
        self.prototypes.update(carry.unit, carry.labels, carry.present)
        self.queue.enqueue(carry.vectors, carry.classes)

    @torch.no_grad()
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
        for modality, branch in self.label_specific.items():
            x_BTD, mask_BT = batch.features[modality], batch.masks[modality]
            if (missing := self.shortest[modality] - x_BTD.shape[1]) > 0:
                x_BTD, mask_BT = F.pad(x_BTD, (0, 0, 0, missing)), F.pad(mask_BT, (0, missing))
            if self.settings.reference:
                mask_BT = torch.ones_like(mask_BT)
            u_BLd, attention[modality] = branch(x_BTD, mask_BT)
            vectors.append(u_BLd)
            present.append(mask_BT.any(dim=1))
        return torch.stack(vectors), attention, torch.stack(present)

    def _encode(self, x_MBLd: Tensor) -> Tensor:
        return self.autoencoders.encode(x_MBLd.flatten(1, 2)).view(*x_MBLd.shape[:3], -1)

    def _unit(self, latent_MBLz: Tensor) -> Tensor:
        """Z/|Z|, in full precision also under autocast."""
        return F.normalize(latent_MBLz.to(self.queue.vectors.dtype), dim=-1)


def _weights(settings: CaratNetwork) -> dict[str, float]:
    """Those of the terms that are not switched off."""
    parts = settings.parts.model_dump()
    off = {f"{kind}_{name}" for name, on in parts.items() if not on for kind in ("bce", "mse")}
    off |= {name for name, on in parts.items() if not on}
    return {name: w for name, w in settings.loss_weights.model_dump().items() if name not in off}


def _levels(found: FeatureLevels) -> tuple[tuple[str, Tensor], ...]:
    return ("alpha", found.alpha), ("beta", found.beta)
