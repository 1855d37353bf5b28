"""Features and label bits mixed across samples and modalities.

Shapes: L labels, M modalities, B samples, d hidden.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Shuffle(NamedTuple):
    """Which features take part in each row of the shuffled aggregation.

    Attributes:
        samples: (L, M, B); for each label and modality a permutation of the samples.
        modalities: (L, B, M); for each label and sample a permutation of the modalities.
    """

    samples: Tensor
    modalities: Tensor


def apply_shuffle(
    shuffle: Shuffle, features_MBLd: Tensor, labels_BL: Tensor
) -> tuple[Tensor, Tensor]:
    """Gather features and label bits together.

    Row (b, m), label l takes sample `samples[l, m, b]` of modality `modalities[l, b, m]`.

    Returns:
        Features (B, M, L, d) and labels (B, M, L).
    """
    # Contiguous, for what is gathered takes over the layout of the index.
    samples_BML = shuffle.samples.permute(2, 1, 0).contiguous()
    modalities_BML = shuffle.modalities.permute(1, 2, 0).contiguous()
    label_L = torch.arange(labels_BL.shape[1], device=labels_BL.device)
    return features_MBLd[modalities_BML, samples_BML, label_L], labels_BL[samples_BML, label_L]
