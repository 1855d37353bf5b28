"""Frames brought to as many steps as asked (CARAT, the unaligned setting).

Shapes: B samples, T frames, S pseudo-aligned steps, D raw features.
"""

from __future__ import annotations

from torch import Tensor, nn


class PseudoAlignment(nn.Module):
    """A recurrent network says how much each frame belongs to each step; steps are those mixtures.

    Two LSTM layers give S + 1 outputs per frame; a softmax over them, without the first (blank),
    holds the frame's shares. The published program trains it by the task alone, without CTC loss.

    Args:
        width: Raw features D.
        steps: Number S.
    """

    def __init__(self, width: int, steps: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, steps + 1, num_layers=2, batch_first=True)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mix frames into steps.

        Returns:
            The steps (B, S, D); their mask (B, S), false where a sample has no frame at all; and
            the shares (B, S, T), zero for padded frames.
        """
        outputs, _ = self.lstm(x_BTD)  # (B, T, S + 1)
        shares_BTS = outputs.softmax(dim=-1)[..., 1:] * mask_BT[..., None]
        shares_BST = shares_BTS.transpose(1, 2)
        mask_BS = mask_BT.any(dim=1, keepdim=True).expand(-1, shares_BST.shape[1])
        return shares_BST @ x_BTD, mask_BS, shares_BST
