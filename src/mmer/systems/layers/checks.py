"""What a batch's shapes must be, asked in every step.

Values live on the device; to look at them is to wait for it. So a step looks at shapes alone.

Shapes: B samples, T steps, D raw features, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmer.errors import InputError
from mmer.samples.batches import Batch


def check_shapes(
    batch: Batch, widths: Mapping[str, int], longest: Mapping[str, int | None]
) -> None:
    """Features (B, T, D) and masks (B, T) fit each other and the network; never waits.

    Args:
        batch: What is to be checked; its labels are not looked at.
        widths: D per modality.
        longest: Greatest T per modality, None for any.

    Raises:
        InputError: More steps than the network has positions for.
        ValueError: Anything else, naming the modality.
    """
    for name, tensors in (("features", batch.features), ("masks", batch.masks)):
        if set(tensors) != set(widths):
            raise ValueError(f"{name} of {tuple(widths)} expected, found {tuple(tensors)}")
    size = len(batch.labels)
    for modality, width in widths.items():
        x, mask = batch.features[modality], batch.masks[modality]
        if x.ndim != 3 or x.shape[0] != size or x.shape[2] != width or not size:
            raise ValueError(f"{modality}: expected ({size} > 0, T, {width}), found {x.shape}")
        if not x.dtype.is_floating_point:
            raise ValueError(f"{modality}: expected floating-point features, found {x.dtype}")
        if mask.dtype != torch.bool or mask.shape != x.shape[:2]:
            found = f"{mask.dtype} of {mask.shape}"
            raise ValueError(f"mask of {modality}: expected bool of {x.shape[:2]}, found {found}")
        _check_length(modality, x.shape[1], longest[modality])


def _check_length(modality: str, length: int, longest: int | None) -> None:
    if longest is not None and length > longest:
        raise InputError(
            "batch",
            modality,
            f"at most {longest} steps, for so many the network has positions",
            length,
            "Raise max_length (or reference_lengths), or shorten the samples.",
        )


def check_labels(labels: Tensor, num_labels: int) -> None:
    """Labels are (B, L); never waits.

    Raises:
        ValueError: They are not.
    """
    if labels.ndim != 2 or labels.shape[1] != num_labels:
        raise ValueError(f"labels: expected (B, {num_labels}), found {tuple(labels.shape)}")
