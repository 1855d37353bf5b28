"""From one modality's raw sequence to one vector per label (CARAT, "label-specific features").

Shapes: B samples, T steps, S steps after pseudo-alignment (T without), D raw features, d hidden,
L labels.
"""

from __future__ import annotations

from torch import Tensor, nn

from mmer.models.encoder import Encoder
from mmer.models.feature_input import InputNorm
from mmer.models.label_attention import LabelAttention
from mmer.models.pseudo_alignment import PseudoAlignment
from mmer.models.settings import CaratSettings


class LabelSpecificFeatures(nn.Module):
    """Input layers, encoder and label attention of one modality.

    Args:
        settings: Sizes and constants.
        modality: Which one; text is never pseudo-aligned.
        width: Raw features D.
        num_labels: Number L.
    """

    def __init__(self, settings: CaratSettings, modality: str, width: int, num_labels: int) -> None:
        super().__init__()
        self.input_norm = InputNorm(width)
        self.pseudo_alignment = (
            PseudoAlignment(width, settings.pseudo_aligned_length)
            if settings.pseudo_aligned_length and settings.is_pseudo_aligned(modality)
            else None
        )
        self.encoder = Encoder(
            width,
            settings.hidden,
            settings.heads,
            settings.feed_forward,
            settings.layers[modality],
            settings.max_length,
            settings.dropout,
        )
        self.label_attention = LabelAttention(settings.hidden, num_labels)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Features and where they come from.

        Returns:
            U (B, L, d), and the attention (B, T, L) that each label pays to the raw steps.
        """
        x_BTD = self.input_norm(x_BTD)
        if self.pseudo_alignment is None:
            return self.label_attention(self.encoder(x_BTD, mask_BT), mask_BT)
        x_BSD, mask_BS, shares_BST = self.pseudo_alignment(x_BTD, mask_BT)
        u_BLd, attention_BSL = self.label_attention(self.encoder(x_BSD, mask_BS), mask_BS)
        return u_BLd, shares_BST.transpose(1, 2) @ attention_BSL
