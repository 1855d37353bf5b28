from __future__ import annotations

import torch
from torch.nn import functional as F

from mmer.systems.layers.contrast import EMPTY
from mmer.systems.layers.losses import (
    binary_cross_entropy,
    contrast_classes,
    contrast_vectors,
    summed_mse,
)


def test_mse_is_summed_over_modalities_and_averaged_over_those_who_have_it() -> None:
    x, target = torch.randn(3, 4, 2, 5), torch.randn(3, 4, 2, 5)
    present = torch.ones(3, 4, dtype=torch.bool)
    whole = sum(F.mse_loss(x[m], target[m]) for m in range(3))
    torch.testing.assert_close(summed_mse(x, target, present), whole)
    present[1, 2:] = False
    present[2] = False
    some = F.mse_loss(x[0], target[0]) + F.mse_loss(x[1, :2], target[1, :2])
    torch.testing.assert_close(summed_mse(x, target, present), some)


def test_mse_draws_its_target_too() -> None:
    target = torch.zeros(1, 1, 1, 2, requires_grad=True)
    summed_mse(torch.ones(1, 1, 1, 2), target, torch.ones(1, 1, dtype=torch.bool)).backward()
    assert target.grad is not None
    assert (target.grad < 0).all()


def test_cross_entropy_of_rows_against_the_same_labels() -> None:
    logits, labels = torch.randn(4, 3, 2), torch.tensor([[1.0, 0.0]] * 4)
    expected = torch.stack(
        [F.binary_cross_entropy(logits[:, m].sigmoid(), labels) for m in range(3)]
    ).mean()
    torch.testing.assert_close(binary_cross_entropy(logits, labels[:, None]), expected)


def test_classes_and_vectors_stand_in_the_same_order() -> None:
    B, L, M = 2, 3, 3
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    present = torch.ones(M, B, dtype=torch.bool)
    present[1, 0] = False
    # Each vector holds its own address.
    address = torch.stack(
        torch.meshgrid(*(torch.arange(n) for n in (M, B, L)), indexing="ij"), dim=-1
    )
    vectors = contrast_vectors(*(F.pad(address, (1, 0), value=level) for level in range(3)))
    classes = contrast_classes(labels, present)
    assert len(vectors) == len(classes) == B * 3 * M * L
    for (level, m, b, label), found in zip(vectors.tolist(), classes.tolist(), strict=True):
        expected = m * 2 * L + label + (0 if labels[b, label] else L)
        assert found == (EMPTY if level == 0 and not present[m, b] else expected)
    assert (vectors[: 3 * M * L, 2] == 0).all()  # sample after sample
