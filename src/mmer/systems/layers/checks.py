"""What a batch's shapes must be, asked in every step.

Values live on the device; to look at them is to wait for it. So a step looks at shapes alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mmer.errors import InputError
from mmer.samples.batches import Batch


def check_shapes(
    batch: Batch,
    widths: Mapping[str, int],
    num_labels: int,
    longest: Mapping[str, int | None],
) -> None:
    """Features (B, T, D), masks (B, T) and labels (B, L) fit each other and the network.

    More than a modality's `longest` steps are an InputError, anything else is a ValueError.
    """
    for name, tensors in (("features", batch.features), ("masks", batch.masks)):
        if set(tensors) != set(widths):
            raise ValueError(f"{name} of {tuple(widths)} expected, found {tuple(tensors)}")
    size, found_labels = len(batch.labels), batch.labels.shape
    if found_labels != (size, num_labels):
        raise ValueError(f"labels: expected (B, {num_labels}), found {tuple(found_labels)}")
    for modality, width in widths.items():
        x, mask = batch.features[modality], batch.masks[modality]
        if x.ndim != 3 or x.shape[0] != size or x.shape[2] != width or not size:
            raise ValueError(f"{modality}: expected ({size} > 0, T, {width}), found {x.shape}")
        if not x.dtype.is_floating_point:
            raise ValueError(f"{modality}: expected floating-point features, found {x.dtype}")
        if mask.dtype != torch.bool or mask.shape != x.shape[:2]:
            found = f"{mask.dtype} of {mask.shape}"
            raise ValueError(f"mask of {modality}: expected bool of {x.shape[:2]}, found {found}")
        most = longest[modality]
        if most is not None and x.shape[1] > most:
            raise InputError(
                "batch",
                modality,
                f"at most {most} steps, for so many the network has positions",
                x.shape[1],
                "Raise max_length (or reference_lengths), or shorten the samples.",
            )
