"""Padded batches, gathered by index arithmetic from a sample table that lies flat on the device.

Legend of shapes: N samples, R rows of a modality in all samples together, B samples of a batch,
T steps of the longest sequence in the batch, D width, L labels.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from mmer.errors import InputError
from mmer.samples.table import MODALITIES, flat_features, multi_hot

_BATCHES_PER_POOL = 16


@dataclass(frozen=True)
class Batch:
    """Samples padded to the longest among them, per modality.

    Attributes:
        features: modality -> (B, T, D) float32, zero where padded.
        masks: modality -> (B, T) bool, True where there is a step; a row of False is an absent
            modality.
        labels: (B, L) float32, 0 or 1.
    """

    features: dict[str, Tensor]
    masks: dict[str, Tensor]
    labels: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`, without waiting for the copy."""
        return Batch(
            {m: x.to(device, non_blocking=True) for m, x in self.features.items()},
            {m: x.to(device, non_blocking=True) for m, x in self.masks.items()},
            self.labels.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class PackedSamples:
    """All samples of a table as flat tensors: no padding, one block per modality.

    Attributes:
        values: modality -> (R, D) float32.
        starts: modality -> (N,) int64, first row of each sample.
        lengths: modality -> (N,) int64; 0 where the modality is absent.
        labels: (N, L) float32.
        host_lengths: `lengths` once more as arrays on the host, so that padding a batch needs no
            answer from the device.
    """

    values: dict[str, Tensor]
    starts: dict[str, Tensor]
    lengths: dict[str, Tensor]
    labels: Tensor
    host_lengths: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        return self.labels.device

    @property
    def nbytes(self) -> int:
        """Bytes that the features take on a device."""
        return sum(x.nbytes for x in self.values.values())

    @property
    def longest(self) -> np.ndarray:
        """(N,) length of each sample's longest modality."""
        return np.maximum.reduce([self.host_lengths[m] for m in MODALITIES])

    def to(self, device: torch.device) -> PackedSamples:
        """The same samples on `device`."""
        return PackedSamples(
            {m: x.to(device) for m, x in self.values.items()},
            {m: x.to(device) for m, x in self.starts.items()},
            {m: x.to(device) for m, x in self.lengths.items()},
            self.labels.to(device),
            self.host_lengths,
        )

    def gather(self, index: np.ndarray) -> Batch:
        """The samples `index` (B,) as a padded batch, where the samples lie.

        Raises:
            InputError: `index` is empty.
        """
        if len(index) == 0:
            raise InputError("batch", "index", "at least one sample", "none")
        rows = torch.from_numpy(index).to(self.device, non_blocking=True)  # (B,)
        features, masks = {}, {}
        for modality in MODALITIES:
            steps = torch.arange(
                max(1, int(self.host_lengths[modality][index].max())), device=self.device
            )
            mask = steps < self.lengths[modality][rows, None]  # (B, T)
            values = self.values[modality]
            if len(values) == 0:
                features[modality] = values.new_zeros(*mask.shape, values.shape[1])
            else:
                at = (self.starts[modality][rows, None] + steps).clamp_(max=len(values) - 1)
                # (B, T, D); padded steps first read some other sample's row, then become 0
                features[modality] = values[at].masked_fill_(~mask[..., None], 0)
            masks[modality] = mask
        return Batch(features, masks, self.labels[rows])


def pack(table: pa.Table) -> PackedSamples:
    """A sample table as flat tensors on the host.

    A table of one record batch is used where it lies, without a copy; several are joined.
    """
    values, lengths = {}, {}
    for modality in MODALITIES:
        values[modality], lengths[modality] = _flat(table[modality])
    starts = {m: np.cumsum(n) - n for m, n in lengths.items()}
    with warnings.catch_warnings():
        # the memory map is read-only, and nothing here writes to it
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        features = {m: torch.from_numpy(x) for m, x in values.items()}
    return PackedSamples(
        features,
        {m: torch.from_numpy(x) for m, x in starts.items()},
        {m: torch.from_numpy(x) for m, x in lengths.items()},
        torch.from_numpy(multi_hot(table).astype(np.float32)),
        lengths,
    )


def _flat(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """(R, D) rows and (N,) lengths of a feature column."""
    blocks, offsets = zip(*map(flat_features, column.chunks), strict=True)
    rows = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return rows, np.concatenate([np.diff(o) for o in offsets]).astype(np.int64)


def length_aware_batches(
    lengths: np.ndarray, batch_size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """One epoch's batches: every sample once, samples of like length together.

    Samples are shuffled, sorted by length within pools of a few batches, cut into batches, and the
    batches shuffled. So little is padded, and what an epoch sees is what plain shuffling shows it.

    Args:
        lengths: (N,) steps of each sample.
        batch_size: Samples in a batch; the last one may be smaller.
        rng: Source of both shuffles.

    Returns:
        Arrays of sample positions.
    """
    order = rng.permutation(len(lengths))
    pool = batch_size * _BATCHES_PER_POOL
    batches = []
    for begin in range(0, len(order), pool):
        part = order[begin : begin + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def batches_by_length(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Every sample once, sorted by length: for scoring, where order does not matter."""
    order = np.argsort(lengths, kind="stable")
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
