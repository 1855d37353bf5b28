"""From one modality's raw sequence to one vector per label (CARAT, "label-specific features").

Shapes: B samples, T steps or frames, S steps after pseudo-alignment (T without), D raw features,
d hidden, L labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmer.systems.layers.encoder import Encoder, InputNorm
from mmer.systems.layers.packing import Packing
from mmer.systems.layers.stacked import xavier_uniform


class PseudoAlignment(nn.Module):
    """Frames mixed into S steps by the shares that a recurrent network gives each frame in them.

    Two LSTM layers give S + 1 outputs per frame; a softmax over them, without the first (blank),
    holds the frame's shares. The published program trains it by the task alone, without CTC loss.
    """

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, steps + 1, num_layers=2, batch_first=True)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Steps (B, S, D), their mask (B, S) and the shares (B, S, T).

        The mask is false where a sample has no frame at all; shares of padded frames are 0.
        """
        outputs, _ = self.lstm(x_BTD)  # (B, T, S + 1)
        shares_BTS = outputs.softmax(dim=-1)[..., 1:] * mask_BT[..., None]
        shares_BST = shares_BTS.transpose(1, 2)
        mask_BS = mask_BT.any(dim=1, keepdim=True).expand(-1, shares_BST.shape[1])
        return shares_BST @ x_BTD, mask_BS, shares_BST


class LabelAttention(nn.Module):
    """A = softmax over time of H W; U_l = sum over t of A_tl H_t. No bias, no scaling."""

    def __init__(self, hidden: int, num_labels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(xavier_uniform(num_labels, hidden))

    def forward(self, h_BTd: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """U (B, L, d) and A (B, T, L), 0 at padded steps; both 0 for a sample without a step."""
        scores_BTL = h_BTd @ self.weight.T
        padded_BT1 = ~mask_BT[..., None]
        lowest = torch.finfo(scores_BTL.dtype).min  # finite: a sample of padding alone stays finite
        attention_BTL = scores_BTL.masked_fill(padded_BT1, lowest).softmax(dim=1)
        attention_BTL = attention_BTL.masked_fill(padded_BT1, 0.0)
        return attention_BTL.transpose(1, 2) @ h_BTd, attention_BTL


class MeanOverSteps(nn.Module):
    """What label attention is compared with: for every label, the mean of H over time."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.num_labels = num_labels

    def forward(self, h_BTd: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """As of `LabelAttention`, with equal weights on all steps that there are."""
        share_BT = mask_BT / mask_BT.sum(dim=1, keepdim=True).clamp(min=1)
        attention_BTL = share_BT.to(h_BTd.dtype)[..., None].expand(-1, -1, self.num_labels)
        return attention_BTL.transpose(1, 2) @ h_BTd, attention_BTL


class LabelSpecificFeatures(nn.Module):
    """All layers of one modality; without pseudo-alignment it is encoded at its own length."""

    def __init__(
        self,
        input_norm: InputNorm,
        pseudo_alignment: PseudoAlignment | None,
        encoder: Encoder,
        label_attention: LabelAttention | MeanOverSteps,
    ) -> None:
        super().__init__()
        self.input_norm = input_norm
        self.pseudo_alignment = pseudo_alignment
        self.encoder = encoder
        self.label_attention = label_attention

    def forward(self, x_BTD: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """U (B, L, d), and the attention (B, T, L) that each label pays to the raw steps."""
        if self.pseudo_alignment is None:
            packing = Packing(mask_BT)
            h_Rd = self.encoder(self.input_norm(packing.pack(x_BTD)), packing)
            return self.label_attention(packing.unpack(h_Rd), mask_BT)
        x_BSD, mask_BS, shares_BST = self.pseudo_alignment(self.input_norm(x_BTD), mask_BT)
        packing = Packing(mask_BS)
        h_Rd = self.encoder(packing.pack(x_BSD), packing)
        u_BLd, attention_BSL = self.label_attention(packing.unpack(h_Rd), mask_BS)
        return u_BLd, shares_BST.transpose(1, 2) @ attention_BSL
