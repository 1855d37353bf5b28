from __future__ import annotations

import torch

from mmer.systems.layers.pseudo_alignment import PseudoAlignment


def test_steps_are_mixtures_of_frames() -> None:
    torch.manual_seed(0)
    module = PseudoAlignment(width=3, steps=4)
    x, mask = torch.randn(2, 7, 3), torch.ones(2, 7, dtype=torch.bool)
    steps, step_mask, shares = module(x, mask)
    outputs = module.lstm(x)[0].softmax(dim=-1)
    for b in range(2):
        for s in range(4):
            expected = sum(outputs[b, t, s + 1] * x[b, t] for t in range(7))
            torch.testing.assert_close(steps[b, s], expected)
    assert step_mask.all()
    torch.testing.assert_close(shares.sum(dim=1), 1 - outputs[..., 0])


def test_padding_at_the_end_changes_nothing() -> None:
    torch.manual_seed(0)
    module = PseudoAlignment(width=3, steps=4)
    x = torch.randn(1, 5, 3)
    short, _, _ = module(x, torch.ones(1, 5, dtype=torch.bool))
    padded = torch.cat([x, torch.randn(1, 3, 3)], dim=1)
    long, _, _ = module(padded, torch.arange(8)[None] < 5)
    torch.testing.assert_close(short, long)


def test_no_frame_no_step() -> None:
    module = PseudoAlignment(width=3, steps=4)
    steps, mask, shares = module(torch.zeros(1, 2, 3), torch.zeros(1, 2, dtype=torch.bool))
    assert not mask.any()
    assert (steps == 0).all()
    assert (shares == 0).all()
