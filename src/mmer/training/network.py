"""What the trainer asks of a network. It owns everything else: optimiser, schedule, precision."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from mmer.samples.batches import Batch


class Losses(NamedTuple):
    """What a network says of a batch.

    Attributes:
        terms: Name -> term of the loss, unweighted; "total" is what is minimised.
        carry: What `after_step` needs of this batch, detached from the graph.
    """

    terms: dict[str, Tensor]
    carry: Any = None


class Network(nn.Module):
    """A network that the trainer can train."""

    @abstractmethod
    def losses(self, batch: Batch) -> Losses:
        """Terms of the loss on a batch in training mode; changes nothing but random generators."""

    def after_step(self, carry: Any) -> None:
        """Move what moves with the batches and not with the gradient (queues, prototypes)."""

    @abstractmethod
    def scores(self, batch: Batch) -> Tensor:
        """(B, L) in [0, 1], in evaluation mode; with a gradient where the caller asks for one."""

    def set_input_statistics(self, mean: Mapping[str, Tensor], scale: Mapping[str, Tensor]) -> None:
        """Take mean and deviation (D,) of each feature over the training steps, per modality."""

    def label_attention(self, batch: Batch) -> dict[str, Tensor]:
        """Modality -> (B, T, L), how much each label looks at each step; empty if not known."""
        return {}
