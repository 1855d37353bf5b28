"""Frames brought to steps, and labels that attend to steps."""

from __future__ import annotations

import math

import torch

from mmer.systems.layers.label_specific import LabelAttention, PseudoAlignment


def test_formula_over_valid_steps_alone() -> None:
    torch.manual_seed(0)
    module = LabelAttention(hidden=4, num_labels=3)
    h, mask = torch.randn(2, 6, 4), torch.arange(6) < torch.tensor([[6], [2]])
    with torch.no_grad():
        u, attention = module(h, mask)
    for b in range(2):
        valid = h[b, mask[b]]
        for label in range(3):
            scores = [(row @ module.weight[label]).item() for row in valid]
            weights = [math.exp(s) / sum(math.exp(t) for t in scores) for s in scores]
            expected = sum(w * row for w, row in zip(weights, valid, strict=True))
            torch.testing.assert_close(u[b, label], expected)
            torch.testing.assert_close(attention[b, mask[b], label], torch.tensor(weights))
    assert (attention[1, 2:] == 0).all()


def test_nothing_to_attend_to_gives_zero_with_finite_gradient() -> None:
    module = LabelAttention(hidden=4, num_labels=3)
    h = torch.randn(2, 5, 4, requires_grad=True)
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[0] = False
    u, attention = module(h, mask)
    assert (u[0] == 0).all()
    assert (attention[0] == 0).all()
    u.square().sum().backward()
    assert h.grad is not None
    assert h.grad.isfinite().all()
    assert (h.grad[0] == 0).all()


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
