from __future__ import annotations

import pytest
import torch

from mmer.systems.layers.dropout import KeepMasks, add_dropout, dropout


@pytest.mark.parametrize("probability", [0.001, 0.3, 0.5, 0.9])
def test_rate_and_mean(probability: float) -> None:
    torch.manual_seed(0)
    masks = KeepMasks(probability)
    keep, scale = masks.draw((1001, 1003)), masks.scale
    assert set(keep.unique().tolist()) <= {0, 1}
    dropped = 1 - keep.double().mean().item()
    assert dropped == pytest.approx(probability, abs=5 * (probability / 1e6) ** 0.5)
    assert scale * (1 - probability) == pytest.approx(1, abs=2e-4)


def test_all_four_parts_of_a_random_word_are_fair() -> None:
    torch.manual_seed(0)
    keep = KeepMasks(0.3).draw((100_000, 4))
    torch.testing.assert_close(
        keep.double().mean(dim=0), torch.full((4,), 0.7).double(), atol=0.01, rtol=0
    )


def test_same_seed_same_mask_other_seed_other_mask() -> None:
    def mask(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return KeepMasks(0.5).draw((50,))

    assert torch.equal(mask(1), mask(1))
    assert not torch.equal(mask(1), mask(2))


def test_a_seed_given_repeats_all_masks() -> None:
    first = KeepMasks(0.5)
    again = KeepMasks(0.5, first.seed)
    found = [first.draw((3, 7)), first.draw((9,))]
    assert all(torch.equal(x, again.draw(x.shape)) for x in found)
    assert not torch.equal(found[0].flatten()[:9], found[1])


def test_nothing_happens_outside_training() -> None:
    x = torch.randn(4, 3)
    assert torch.equal(dropout(x, 0.5, training=False), x)
    assert torch.equal(add_dropout(x, x, 0.5, training=False), 2 * x)
    assert torch.equal(dropout(x, 0.0, training=True), x)


def test_added_dropout_is_dropout_added_with_its_gradient() -> None:
    residual, x = torch.randn(30, 7), torch.randn(30, 7, requires_grad=True)
    torch.manual_seed(3)
    added = add_dropout(residual, x, 0.4, training=True)
    torch.manual_seed(3)
    torch.testing.assert_close(added, residual + dropout(x, 0.4, training=True))
    (gradient,) = torch.autograd.grad(added.sum(), x)
    torch.testing.assert_close(added - residual, gradient * x, atol=1e-6, rtol=1e-5)
    assert (gradient == 0).any()


def test_certain_dropout_stays_finite() -> None:
    assert dropout(torch.ones(100), 1 - 1e-9, training=True).isfinite().all()
