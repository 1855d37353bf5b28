"""From one modality's raw sequence to one vector per label (CARAT, "label-specific features").

Shapes: B samples, T steps, S steps after pseudo-alignment (T without), D raw features, d hidden,
L labels.
"""

from __future__ import annotations

from torch import Tensor, nn

from mmer.systems.layers.encoder import Encoder
from mmer.systems.layers.feature_input import InputNorm
from mmer.systems.layers.label_attention import LabelAttention
from mmer.systems.layers.pseudo_alignment import PseudoAlignment


class LabelSpecificFeatures(nn.Module):
    """Input layers, encoder and label attention of one modality.

    Args:
        input_norm: Over the D raw features.
        pseudo_alignment: To S steps; None where the modality is encoded at its own length.
        encoder: D -> d.
        label_attention: L vectors of width d.
    """

    def __init__(
        self,
        input_norm: InputNorm,
        pseudo_alignment: PseudoAlignment | None,
        encoder: Encoder,
        label_attention: LabelAttention,
    ) -> None:
        super().__init__()
        self.input_norm = input_norm
        self.pseudo_alignment = pseudo_alignment
        self.encoder = encoder
        self.label_attention = label_attention

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
