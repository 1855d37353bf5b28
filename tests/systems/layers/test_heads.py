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
