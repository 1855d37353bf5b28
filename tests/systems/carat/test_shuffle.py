from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer.systems.carat.shuffle import draw_shuffle
from mmer.systems.layers.shuffle import Shuffle, apply_shuffle


def drawn_with(seed: int, labels: int, modalities: int, batch: int) -> Shuffle:
    torch.manual_seed(seed)
    return draw_shuffle(labels, modalities, batch, torch.device("cpu"))


@settings(max_examples=30, deadline=None)
@given(labels=st.integers(1, 7), batch=st.integers(1, 40), seed=st.integers(0, 2**20))
def test_every_draw_is_a_permutation(labels: int, batch: int, seed: int) -> None:
    drawn = drawn_with(seed, labels, 3, batch)
    assert drawn.samples.shape == (labels, 3, batch)
    assert drawn.modalities.shape == (labels, batch, 3)
    assert (drawn.samples.sort().values == torch.arange(batch)).all()
    assert (drawn.modalities.sort().values == torch.arange(3)).all()


def test_draws_differ_between_labels_modalities_and_samples() -> None:
    drawn = drawn_with(0, 6, 3, 64)
    assert len(drawn.samples.flatten(0, 1).unique(dim=0)) == 18
    orders = drawn.modalities.flatten(0, 1).unique(dim=0, return_counts=True)[1]
    assert len(orders) == 6
    assert orders.min() > 64 * 6 / 6 / 2  # each of the six orders about equally often


def test_same_seed_same_draw() -> None:
    first, second = (drawn_with(5, 3, 3, 9) for _ in range(2))
    assert torch.equal(first.samples, second.samples)
    assert torch.equal(first.modalities, second.modalities)


def test_gather_is_the_loop() -> None:
    L, B, d = 4, 5, 3
    generator = torch.Generator().manual_seed(2)
    beta = torch.randn(3, B, L, d, generator=generator)
    labels = (torch.rand(B, L, generator=generator) < 0.5).float()
    drawn = drawn_with(3, L, 3, B)
    features, bits = apply_shuffle(drawn, beta, labels)
    assert features.shape == (B, 3, L, d)
    assert bits.shape == (B, 3, L)
    for b in range(B):
        for m in range(3):
            for label in range(L):
                sample = drawn.samples[label, m, b]
                modality = drawn.modalities[label, b, m]
                assert torch.equal(features[b, m, label], beta[modality, sample, label])
                assert bits[b, m, label] == labels[sample, label]
