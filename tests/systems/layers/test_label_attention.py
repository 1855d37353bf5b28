from __future__ import annotations

import math

import torch

from mmer.systems.layers.label_attention import LabelAttention


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
