from __future__ import annotations

import pytest
import torch

from mmer.systems.layers.packing import Group, Packing


def lengths_to_mask(*lengths: int) -> torch.Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def test_rows_are_the_valid_steps_grouped_by_length() -> None:
    mask = lengths_to_mask(3, 1, 0, 3)
    packing = Packing(mask)
    assert packing.groups == (Group(0, 1, 1), Group(1, 2, 3))
    assert packing.steps.tolist() == [0, 0, 1, 2, 0, 1, 2]
    x = torch.arange(12.0).view(4, 3, 1)
    assert packing.pack(x).flatten().tolist() == [3, 0, 1, 2, 9, 10, 11]


@pytest.mark.parametrize(
    "mask",
    [
        lengths_to_mask(3, 1, 0, 3),
        lengths_to_mask(2, 2),
        torch.tensor([[True, False, True], [False, False, False]]),
        torch.zeros(2, 3, dtype=torch.bool),
    ],
)
def test_unpacked_is_what_was_packed_and_zero_elsewhere(mask: torch.Tensor) -> None:
    x = torch.randn(*mask.shape, 4, requires_grad=True)
    packing = Packing(mask)
    rows = packing.pack(x)
    assert len(rows) == len(packing.steps) == int(mask.sum())
    unpacked = packing.unpack(rows)
    torch.testing.assert_close(unpacked, x * mask[..., None])
    (gradient,) = torch.autograd.grad(unpacked.sum(), x)
    torch.testing.assert_close(gradient, mask[..., None].float().expand_as(x))


def test_elsewhere_nothing_is_asked_of_the_lengths() -> None:
    """A device that holds no values: asking for one would be an error."""
    packing = Packing(lengths_to_mask(3, 1).to("meta"))
    assert packing.groups == ()
    assert packing.steps.shape == (6,)
    assert packing.pack(torch.empty(2, 3, 5, device="meta")).shape == (6, 5)
