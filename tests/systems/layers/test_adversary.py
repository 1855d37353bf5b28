from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mmer.systems.layers.adversary import (
    CommonClassification,
    Discriminator,
    SpecificFeatures,
    overlap_of_specific,
    overlap_with_common,
    reverse_gradient,
    told_modality,
)

M, B, L, D = 3, 5, 4, 6


@pytest.fixture
def features() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(M, B, L, D)


def test_the_gradient_is_reversed_and_the_value_is_not(features):
    features.requires_grad_()
    assert torch.equal(reverse_gradient(features), features)
    (features.sin().sum() + reverse_gradient(features).sin().sum()).backward()
    assert torch.equal(features.grad, torch.zeros_like(features))


def test_the_discriminator_learns_what_the_features_unlearn(features):
    torch.manual_seed(1)
    everywhere, judge = torch.ones(M, B, dtype=torch.bool), Discriminator(M, D, 0.0)
    features.requires_grad_()
    loss = told_modality(judge(reverse_gradient(features)), everywhere)
    loss.backward()
    with torch.no_grad():
        there = told_modality(judge(features - 0.01 * features.grad), everywhere)
        assert there > loss  # descent for the features: the discriminator loses more
        for parameter in judge.parameters():
            parameter -= 0.01 * parameter.grad
        assert told_modality(judge(features), everywhere) < loss


def test_what_is_told_of_a_modality_is_its_mean_cross_entropy(features):
    logits = features[..., :M]
    present = torch.ones(M, B, dtype=torch.bool)
    present[1, 2:] = False
    present[2] = False
    expected = F.cross_entropy(logits[0].flatten(0, 1), torch.zeros(B * L).long())
    expected += F.cross_entropy(logits[1, :2].flatten(0, 1), torch.ones(2 * L).long())
    torch.testing.assert_close(told_modality(logits, present), expected)


def test_each_modality_has_specific_features_of_its_own(features):
    torch.manual_seed(1)
    specific = SpecificFeatures(M, D, 0.0)
    found = specific(features)
    for m in range(M):
        expected = F.linear(features[m], specific.linear.weight[m], specific.linear.bias[m]).tanh()
        torch.testing.assert_close(found[m], expected)


def test_overlaps_are_the_loop(features):
    present = torch.ones(M, B, dtype=torch.bool)
    present[0, 1] = present[2, 3] = present[2, 1] = False
    other = torch.randn_like(features)

    def squares(x, y, n):
        return (x[n] @ y[n].T).square().sum()

    def mean_over(x, y, samples):
        return sum(squares(x, y, n) for n in samples) / len(samples)

    specific = mean_over(features[0], features[1], [0, 2, 3, 4])
    specific += mean_over(features[0], features[2], [0, 2, 4])
    specific += mean_over(features[1], features[2], [0, 2, 4])
    torch.testing.assert_close(overlap_of_specific(features, present), specific)
    common = mean_over(other[0], features[0], [0, 2, 3, 4])
    common += mean_over(other[1], features[1], range(B))
    common += mean_over(other[2], features[2], [0, 2, 4])
    torch.testing.assert_close(overlap_with_common(other, features, present), common)


def test_nothing_overlaps_what_is_nowhere(features):
    nowhere = torch.zeros(M, B, dtype=torch.bool)
    assert overlap_of_specific(features, nowhere) == 0
    assert overlap_of_specific(features[:1], nowhere[:1]) == 0
    assert told_modality(features[..., :M], nowhere) == 0


def test_each_label_is_read_from_its_own_slot(features):
    torch.manual_seed(1)
    classify = CommonClassification(L, D, 0.0)
    logits = classify(features)
    for label in range(L):
        expected = features[:, :, label].sum(0) @ classify.linear.weight[label]
        torch.testing.assert_close(logits[:, label], expected + classify.linear.bias[label])
    first = classify(features, first_slot=True)
    torch.testing.assert_close(first, classify.linear(features[:, :, 0].sum(0)))
