from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mmer.errors import InputError
from mmer.models.checks import check_batch


def test_a_sound_batch_passes(make_batch: Callable) -> None:
    batch = make_batch().without("visual", 1)
    check_batch(batch.features, batch.masks, batch.labels)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite(make_batch: Callable, value: float) -> None:
    batch = make_batch()
    batch.features["audio"][2, 0, 3] = value
    with pytest.raises(InputError, match=r"audio \[2, 0, 3\]"):
        check_batch(batch.features, batch.masks, batch.labels)


@pytest.mark.parametrize("value", [0.5, -1.0, 2.0, float("nan")])
def test_labels_that_are_not_0_or_1(make_batch: Callable, value: float) -> None:
    batch = make_batch()
    batch.labels[3, 1] = value
    with pytest.raises(InputError, match=r"labels \[3, 1\]"):
        check_batch(batch.features, batch.masks, batch.labels)


def test_a_sample_without_anything(make_batch: Callable) -> None:
    batch = make_batch()
    for mask in batch.masks.values():
        mask[4] = torch.zeros_like(mask[4])
    with pytest.raises(InputError, match="sample 4"):
        check_batch(batch.features, batch.masks)
