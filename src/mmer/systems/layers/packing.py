"""The steps that a batch has, without its padding.

Shapes: B samples, T steps of the longest, R steps of all samples together, d width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Finite, so that a sample without a single valid step gives numbers (which nothing uses) and not
# NaN; large enough that exp() of it is exactly 0 wherever one step is valid.
_PADDED_KEY = -10000.0


class Group(NamedTuple):
    """Samples of one length, one after another in the packed rows."""

    first_row: int
    samples: int
    length: int


class Packing:
    """Where the steps of a padded batch (B, T) lie as rows (R, ..).

    On the CPU the rows are the valid steps alone, samples of equal length together: nothing is
    computed of padding, and attention has nothing to mask. Elsewhere one would have to wait for the
    lengths, and many small products are slower than a few with some padding: R = B T.

    Attributes:
        groups: On the CPU: what attends to what. Empty elsewhere.
        steps: (R,) int64, the place of each row in its sample's sequence.

    Args:
        places_BT: Such a place for each step, where it is not the step's own.
    """

    def __init__(self, mask_BT: Tensor, places_BT: Tensor | None = None) -> None:
        self.mask_BT = mask_BT
        B, T = mask_BT.shape
        self._rows: Tensor | None = None  # None: all steps, as they lie
        self.groups: tuple[Group, ...] = ()
        if mask_BT.device.type != "cpu":
            steps = torch.arange(T, device=mask_BT.device).repeat(B)
            self.steps = steps if places_BT is None else places_BT.flatten()
            return
        lengths_B, order_B = mask_BT.sum(dim=1).sort(stable=True)
        sample_R, self.steps = mask_BT[order_B].nonzero(as_tuple=True)
        if len(self.steps) < B * T:
            self._rows = order_B[sample_R] * T + self.steps
        lengths, counts = (x.tolist() for x in lengths_B.unique_consecutive(return_counts=True))
        first = 0
        for length, count in zip(lengths, counts, strict=True):
            if length:
                self.groups += (Group(first, count, length),)
            first += length * count
        if places_BT is not None:
            self.steps = self.pack(places_BT[..., None]).squeeze(1)

    def pack(self, x_BTd: Tensor) -> Tensor:
        """(B, T, d) -> (R, d)."""
        x = x_BTd.flatten(0, 1)
        return x if self._rows is None else x.index_select(0, self._rows)

    def unpack(self, x_Rd: Tensor) -> Tensor:
        """(R, d) -> (B, T, d), 0 at the steps that are not among the rows."""
        B, T = self.mask_BT.shape
        if self._rows is None:
            return x_Rd.view(B, T, -1)
        return x_Rd.new_zeros(B * T, x_Rd.shape[1]).index_copy(0, self._rows, x_Rd).view(B, T, -1)

    def key_bias(self, dtype: torch.dtype) -> Tensor:
        """What padded keys add to their scores, (B, 1, 1, T)."""
        zeros_BT = torch.zeros(self.mask_BT.shape, dtype=dtype, device=self.mask_BT.device)
        return zeros_BT.masked_fill(~self.mask_BT, _PADDED_KEY)[:, None, None, :]
