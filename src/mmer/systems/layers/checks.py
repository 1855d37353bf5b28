"""What a batch must be: its shapes, asked in every step, and its values, asked where it is made.

Values live on the device; to look at them is to wait for it. So a training step looks at shapes
alone, and `check_batch` is for whoever makes the samples.

Shapes: B samples, T steps, D raw features, L labels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmer.errors import InputError
from mmer.models.settings import MODALITIES

_WHERE = "batch"


def check_shapes(
    features: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    widths: Mapping[str, int],
    longest: Mapping[str, int | None],
) -> None:
    """Features (B, T, D) and masks (B, T) fit each other and the network; never waits.

    Args:
        features: Per modality.
        masks: Per modality, bool.
        widths: D per modality.
        longest: Greatest T per modality, None for any.

    Raises:
        InputError: Naming the modality, what was expected and what was found.
    """
    for name, tensors in (("features", features), ("masks", masks)):
        if set(tensors) != set(MODALITIES):
            raise InputError(_WHERE, name, f"the modalities {MODALITIES}", tuple(tensors))
    batch = features[MODALITIES[0]].shape[0]
    for modality in MODALITIES:
        _check_features(modality, features[modality], batch, widths[modality], longest[modality])
        mask, expected = masks[modality], features[modality].shape[:2]
        if mask.dtype != torch.bool or mask.shape != expected:
            raise InputError(
                _WHERE,
                f"mask of {modality}",
                f"bool of shape {tuple(expected)}",
                f"{mask.dtype} of shape {tuple(mask.shape)}",
            )


def _check_features(modality: str, x: Tensor, batch: int, width: int, longest: int | None) -> None:
    if x.ndim != 3 or x.shape[0] != batch or x.shape[2] != width:
        raise InputError(_WHERE, modality, f"shape ({batch}, T, {width})", tuple(x.shape))
    if not batch:
        raise InputError(_WHERE, modality, "at least one sample", tuple(x.shape))
    if not x.dtype.is_floating_point:
        raise InputError(_WHERE, modality, "floating-point features", x.dtype)
    if longest is not None and x.shape[1] > longest:
        raise InputError(
            _WHERE,
            modality,
            f"at most {longest} steps, for so many the network has positions",
            x.shape[1],
            "Raise max_length (or reference_lengths), or shorten the samples.",
        )


def check_labels(labels: Tensor, batch: int, num_labels: int) -> None:
    """Labels are (B, L); never waits.

    Raises:
        InputError: They are not.
    """
    if labels.shape != (batch, num_labels):
        raise InputError(_WHERE, "labels", f"shape ({batch}, {num_labels})", tuple(labels.shape))


def check_batch(
    features: Mapping[str, Tensor], masks: Mapping[str, Tensor], labels: Tensor | None = None
) -> None:
    """Values that a network can learn from; waits for the device, so not for use in a step.

    Raises:
        InputError: A feature is not finite, a label neither 0 nor 1, or a sample has no valid step
            in any modality.
    """
    for modality, x in features.items():
        if not x.isfinite().all():
            place = (~x.isfinite()).nonzero()[0].tolist()
            raise InputError(
                _WHERE, f"{modality} {place}", "a finite feature", x[tuple(place)].item()
            )
    if labels is not None and not ((labels == 0) | (labels == 1)).all():
        sample, label = ((labels != 0) & (labels != 1)).nonzero()[0].tolist()
        raise InputError(
            _WHERE, f"labels [{sample}, {label}]", "0 or 1", labels[sample, label].item()
        )
    present = torch.stack([mask.any(dim=1) for mask in masks.values()]).any(dim=0)
    if not present.all():
        raise InputError(
            _WHERE,
            f"sample {int((~present).nonzero()[0])}",
            "a valid step in at least one modality",
            "none",
        )
