from __future__ import annotations

import torch

from mmer.systems.layers.heads import MaxPooledHeads


def test_the_modality_that_speaks_for_a_label_most_decides() -> None:
    torch.manual_seed(0)
    heads = MaxPooledHeads(modalities=3, num_labels=2, hidden=4)
    x = torch.randn(3, 5, 2, 4)
    logits = heads(x)
    for b in range(5):
        for label in range(2):
            each = [x[m, b, label] @ heads.weight[m, label] for m in range(3)]
            torch.testing.assert_close(logits[b, label], max(each))


def test_an_absent_modality_does_not_speak() -> None:
    torch.manual_seed(0)
    heads = MaxPooledHeads(modalities=3, num_labels=2, hidden=4)
    x, present = torch.randn(3, 4, 2, 4), torch.ones(3, 4, dtype=torch.bool)
    present[0, 0] = present[1, 1] = present[2, 1] = False
    present[:, 3] = False
    logits = heads(x, present)
    torch.testing.assert_close(logits[0], _pool(heads, x, 0))
    torch.testing.assert_close(logits[1], (x[0, 1] * heads.weight[0]).sum(dim=-1))
    torch.testing.assert_close(logits[2:], heads(x)[2:])  # all are there, or none


def _pool(heads: MaxPooledHeads, x: torch.Tensor, sample: int) -> torch.Tensor:
    """The maximum over the second and third modality."""
    each = [(x[m, sample] * heads.weight[m]).sum(dim=-1) for m in (1, 2)]
    return torch.stack(each).amax(dim=0)
