"""CARAT: contrastive feature reconstruction and aggregation (Peng et al., AAAI 2024).

Shapes: M modalities, in the corpus's order; B samples, L labels.
"""

from __future__ import annotations

from mmer.samples.batches import Batch
from mmer.systems.carat.settings import CaratNetwork
from mmer.systems.carat.shuffle import draw_shuffle
from mmer.systems.layers.losses import binary_cross_entropy
from mmer.systems.layers.network import ReconstructionNetwork
from mmer.systems.layers.shuffle import Shuffle, apply_shuffle
from mmer.training.distributed import gathered
from mmer.training.network import Losses


class Carat(ReconstructionNetwork):
    """The whole network with its prototypes and its queue; see the base class."""

    settings: CaratNetwork

    def losses(self, batch: Batch, shuffle: Shuffle | None = None) -> Losses:
        """All terms of the loss, under the names of their weights; `shuffle` is drawn if None."""
        found, parts = self(batch), self.settings.parts
        labels = gathered(batch.labels).to(self.queue.vectors.dtype)
        if shuffle is None:
            shuffle = draw_shuffle(
                self.num_labels,
                len(self.widths),
                len(labels),
                labels.device,
                mix_samples=parts.shuffle_samples,
                mix_modalities=parts.shuffle_modalities,
            )
        aggregated = self.aggregation(found.beta.transpose(0, 1))  # (B, M, L)
        shuffled, shuffled_labels = apply_shuffle(shuffle, found.beta, labels)
        terms = {
            **self.head_terms(found, labels),
            "bce_aggregation": binary_cross_entropy(aggregated, labels[:, None]),
            "bce_shuffled": binary_cross_entropy(self.aggregation(shuffled), shuffled_labels),
            **self.rebuilding_terms(found),
        }
        return self.losses_of(found, labels, terms)
