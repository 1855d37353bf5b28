"""Self-distillation: what a network says of a sample teaches it what to say of less of it.

In a step that hides modalities (`TrainingSettings.modality_dropout`) the network is asked twice
more, as it will be in use (evaluation mode, nothing is drawn): of the samples as they are, which is
the teacher and has no gradient, and of what the step leaves of them. The Kullback-Leibler
divergence of their probabilities, its mean over labels and samples, joins the losses. It is zero
where nothing was hidden. A step takes one forward and backward pass more, and one forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from mmer.errors import InputError
from mmer.samples.batches import Batch
from mmer.training.absent import ToldBatch
from mmer.training.distributed import gathered_scores
from mmer.training.network import Losses, Network


@dataclass(frozen=True)
class DroppedBatch(ToldBatch):
    """A batch in which modalities are hidden, and the same samples with all that they have."""

    complete: Batch | None = None

    def first(self, count: int) -> Batch:
        complete = self.complete and self.complete.first(count)
        return with_complete(super().first(count), complete)


def with_complete(batch: Batch, complete: Batch | None) -> DroppedBatch:
    """A batch that remembers what it was before modalities were hidden."""
    own = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return DroppedBatch(**{**own, "complete": complete})


def distilled(
    network: Network, losses: Callable[[Batch], Losses], weight: float
) -> Callable[[Batch], Losses]:
    """The losses of a network with the term "distillation", which joins the total so weighted.

    Raises:
        InputError: In a step: the network's scores have no gradient.
    """

    def with_term(batch: Batch) -> Losses:
        found = losses(batch)
        assert isinstance(batch, DroppedBatch)
        assert batch.complete is not None
        term = distillation(network, batch, batch.complete)
        total = found.terms["total"] + weight * term
        return found._replace(terms={**found.terms, "total": total, "distillation": term})

    return with_term


def distillation(network: Network, batch: Batch, complete: Batch) -> Tensor:
    """KL(scores of the complete samples || scores of the batch), mean over samples and labels."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            teacher = gathered_scores(network, complete)
        student = gathered_scores(network, batch)
    finally:
        network.train(training)
    if not student.requires_grad:
        expected = "a network whose scores have a gradient (Network.scores)"
        raise InputError("training settings", "absent.distillation", expected, "none")
    with torch.autocast(student.device.type, enabled=False):
        teacher, student = teacher.float(), student.float()
        entropy = F.binary_cross_entropy(teacher, teacher)
        return F.binary_cross_entropy(student, teacher) - entropy
