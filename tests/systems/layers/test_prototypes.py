from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from mmer.systems.layers.prototypes import PrototypeBank


def bank(labels: int = 2, latent: int = 4, momentum: float = 0.9, seed: int = 0) -> PrototypeBank:
    made = PrototypeBank(3, labels, latent, momentum).double()
    generator = torch.Generator().manual_seed(seed)
    made.vectors.copy_(torch.randn(made.vectors.shape, generator=generator))
    return made


def unit_vectors(batch: int, labels: int = 2, latent: int = 4, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(3, batch, labels, latent, generator=generator, dtype=torch.double)
    return F.normalize(vectors, dim=-1)


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 70),
    labels=st.integers(1, 4),
    momentum=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    rate=st.floats(0, 1),
    seed=st.integers(0, 2**20),
)
def test_closed_form_is_the_loop_over_samples(
    batch: int, labels: int, momentum: float, rate: float, seed: int
) -> None:
    made = bank(labels, momentum=momentum, seed=seed)
    unit = unit_vectors(batch, labels, seed=seed + 1)
    generator = torch.Generator().manual_seed(seed)
    present = (torch.rand(batch, labels, generator=generator) < rate).double()
    taught = torch.rand(3, batch, generator=generator) < 0.8
    expected = made.vectors.clone()
    for m in range(3):
        for b in range(batch):
            for label in range(labels):
                if taught[m, b]:
                    moved = expected[m, 0 if present[b, label] else 1, label]
                    moved.mul_(momentum).add_((1 - momentum) * unit[m, b, label])
    made.update(unit, present, taught)
    torch.testing.assert_close(made.vectors, expected)


def test_mixture_and_nearest() -> None:
    made, unit = bank(), unit_vectors(5)
    mixture, nearest = made.mixture(unit), made.nearest(unit)
    for m in range(3):
        for b in range(5):
            for label in range(2):
                pair = made.vectors[m, :, label]  # (P, z)
                shares = (pair @ unit[m, b, label]).softmax(dim=0)
                torch.testing.assert_close(mixture[m, b, label], shares @ pair)
                torch.testing.assert_close(nearest[m, b, label], pair[shares.argmax()])


def test_without_a_direction_both_prototypes_stand_in_equally() -> None:
    made = bank()
    nothing = torch.zeros_like(unit_vectors(1))
    middle = made.vectors.mean(dim=1, keepdim=True)
    torch.testing.assert_close(made.mixture(nothing), middle)
    torch.testing.assert_close(made.nearest(nothing), middle)


def test_moving_before_the_backward_pass_is_noticed() -> None:
    made = bank()
    loss = made.mixture(unit_vectors(3).requires_grad_()).square().sum()
    made.update(unit_vectors(3), torch.ones(3, 2).double(), torch.ones(3, 3, dtype=torch.bool))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_vectors_are_not_renormalised() -> None:
    made = PrototypeBank(3, 2, 4, 0.99)
    unit = unit_vectors(1).float()
    made.update(unit, torch.ones(1, 2), torch.ones(3, 1, dtype=torch.bool))
    torch.testing.assert_close(made.vectors[:, 0].norm(dim=-1), torch.full((3, 2), 0.01))
