"""Samples on a device and the padded batches made of them, gathered by index arithmetic.

Legend of shapes: N samples, R steps of a modality in all samples together, B samples of a batch,
T steps of the longest sequence in the batch, D width, L labels, P persons.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from mmer.errors import InputError
from mmer.samples.table import SampleTable, TableInfo, flat_features, multi_hot

Present = dict[str, np.ndarray]
"""Modality -> (N,) bool: where False, the modality is hidden from a system."""

_BATCHES_PER_POOL = 16


@dataclass(frozen=True)
class StepPersons:
    """Whose labels these are (B,), and whose each step is in which segment, (B, T) int64."""

    target: Tensor
    persons: dict[str, Tensor]
    segments: dict[str, Tensor]

    def to(self, device: torch.device) -> StepPersons:
        return StepPersons(
            self.target.to(device), _moved(self.persons, device), _moved(self.segments, device)
        )


@dataclass(frozen=True)
class Batch:
    """Samples padded to the longest among them, per modality.

    Attributes:
        features: Modality -> (B, T, D) float32, zero where padded.
        masks: Modality -> (B, T) bool, where there is a step; nowhere if the modality is absent.
        labels: (B, L) float32, 0 or 1.
        persons: In corpora with several persons.
    """

    features: dict[str, Tensor]
    masks: dict[str, Tensor]
    labels: Tensor
    persons: StepPersons | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`, without waiting for the copy."""
        return Batch(
            _moved(self.features, device),
            _moved(self.masks, device),
            self.labels.to(device, non_blocking=True),
            self.persons and self.persons.to(device),
        )

    def first(self, count: int) -> Batch:
        """The batch of its first samples."""
        persons = self.persons
        return Batch(
            {m: x[:count] for m, x in self.features.items()},
            {m: x[:count] for m, x in self.masks.items()},
            self.labels[:count],
            persons
            and StepPersons(
                persons.target[:count],
                {m: x[:count] for m, x in persons.persons.items()},
                {m: x[:count] for m, x in persons.segments.items()},
            ),
        )

    def hide(self, present: dict[str, Tensor]) -> Batch:
        """The same batch without the modalities where `present` (B,) is False."""
        features, masks = dict(self.features), dict(self.masks)
        for modality, shown in present.items():
            masks[modality] = masks[modality] & shown[:, None]
            features[modality] = features[modality].masked_fill(~shown[:, None, None], 0)
        return replace(self, features=features, masks=masks)


@dataclass(frozen=True)
class Samples:
    """All samples of a table as flat tensors: no padding, one block per modality.

    Attributes:
        sample_ids, group_ids: N names of samples, and of what they belong to.
        values: Modality -> (R, D) float32.
        starts: Modality -> (N,) int64, first step of each sample.
        lengths: Modality -> (N,) int64; 0 where the modality is absent.
        labels: (N, L) float32.
        host_lengths: `lengths` on the host: padding a batch needs no answer from the device.
        target: (N,); step_persons, step_segments: modality -> (R,); see `StepPersons`.
    """

    info: TableInfo
    sample_ids: tuple[str, ...]
    group_ids: tuple[str, ...]
    values: dict[str, Tensor]
    starts: dict[str, Tensor]
    lengths: dict[str, Tensor]
    labels: Tensor
    host_lengths: dict[str, np.ndarray]
    target: Tensor | None = None
    step_persons: dict[str, Tensor] | None = None
    step_segments: dict[str, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.info.modalities

    @property
    def truth(self) -> np.ndarray:
        """(N, L) uint8 on the host."""
        return self.labels.cpu().numpy().astype(np.uint8)

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
        return np.maximum.reduce(list(self.host_lengths.values()))

    def to(self, device: torch.device) -> Samples:
        """The same samples on `device`."""
        return replace(
            self,
            values=_moved(self.values, device),
            starts=_moved(self.starts, device),
            lengths=_moved(self.lengths, device),
            labels=self.labels.to(device),
            target=None if self.target is None else self.target.to(device),
            step_persons=self.step_persons and _moved(self.step_persons, device),
            step_segments=self.step_segments and _moved(self.step_segments, device),
        )

    def take(self, index: np.ndarray) -> Samples:
        """The samples `index` (N',), in this order; the features are those of all, not copied."""
        rows = torch.from_numpy(index).to(self.device)
        return replace(
            self,
            sample_ids=tuple(self.sample_ids[n] for n in index),
            group_ids=tuple(self.group_ids[n] for n in index),
            starts={m: x[rows] for m, x in self.starts.items()},
            lengths={m: x[rows] for m, x in self.lengths.items()},
            labels=self.labels[rows],
            host_lengths={m: x[index] for m, x in self.host_lengths.items()},
            target=None if self.target is None else self.target[rows],
        )

    def without(self, modality: str) -> Samples:
        """The same samples, all of which lack the modality."""
        none = np.zeros(len(self), np.int64)
        nowhere = torch.from_numpy(none).to(self.device)
        return replace(
            self,
            values={**self.values, modality: self.values[modality][:0]},
            starts={**self.starts, modality: nowhere},
            lengths={**self.lengths, modality: nowhere},
            host_lengths={**self.host_lengths, modality: none},
        )

    def gather(self, index: np.ndarray) -> Batch:
        """The samples `index` (B,) as a padded batch, where the samples lie.

        Raises:
            InputError: `index` is empty.
        """
        if len(index) == 0:
            raise InputError("batch", "index", "at least one sample", "none")
        rows = torch.from_numpy(index).to(self.device, non_blocking=True)  # (B,)
        places = {m: self._places(m, index, rows) for m in self.modalities}
        masks = {m: mask for m, (_, mask) in places.items()}
        return Batch(
            {m: _padded(self.values[m], *place) for m, place in places.items()},
            masks,
            self.labels[rows],
            self._persons(rows, places),
        )

    def _places(self, modality: str, index: np.ndarray, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) where each step lies, and whether it is one (it is elsewhere if not)."""
        steps = torch.arange(
            max(1, int(self.host_lengths[modality][index].max())), device=self.device
        )
        mask = steps < self.lengths[modality][rows, None]
        return self.starts[modality][rows, None] + steps, mask

    def _persons(
        self, rows: Tensor, places: dict[str, tuple[Tensor, Tensor]]
    ) -> StepPersons | None:
        if self.target is None or self.step_persons is None or self.step_segments is None:
            return None
        return StepPersons(
            self.target[rows],
            {m: _padded(self.step_persons[m], *place) for m, place in places.items()},
            {m: _padded(self.step_segments[m], *place) for m, place in places.items()},
        )


def _padded(values: Tensor, at: Tensor, mask: Tensor) -> Tensor:
    """(B, T, ..) of flat values (R, ..); a padded step first reads some other step, then is 0."""
    if len(values) == 0:
        return values.new_zeros(*mask.shape, *values.shape[1:])
    mask = mask.view(*mask.shape, *(1 for _ in values.shape[1:]))
    return values[at.clamp(max=len(values) - 1)].masked_fill_(~mask, 0)


def _moved(tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: x.to(device, non_blocking=True) for name, x in tensors.items()}


def pack(table: SampleTable) -> Samples:
    """A sample table as flat tensors on the host.

    A table of one record batch, as alignment makes them, is used where it lies, without a copy;
    several are joined.
    """
    rows, info = table.arrow(), table.info
    flat = {m: _flat(rows[m]) for m in info.modalities}
    samples = _samples(
        info,
        {m: values for m, (values, _) in flat.items()},
        {m: lengths for m, (_, lengths) in flat.items()},
        tuple(rows["sample_id"].to_pylist()),
        tuple(rows["group_id"].to_pylist()),
        torch.from_numpy(multi_hot(rows).astype(np.float32)),
    )
    return with_persons(samples, rows)


def with_persons(samples: Samples, rows: pa.Table | pa.RecordBatch) -> Samples:
    """The samples with what their rows of a table say of persons, if it has several."""
    modalities = samples.modalities
    if not samples.info.persons:
        return samples
    return replace(
        samples,
        target=torch.tensor(rows["person"].to_pylist()),
        step_persons={m: _flat_numbers(rows[f"{m}_person"]) for m in modalities},
        step_segments={m: _flat_numbers(rows[f"{m}_segment"]) for m in modalities},
    )


def samples_of(
    info: TableInfo, features: dict[str, list[np.ndarray]], sample_ids: tuple[str, ...]
) -> Samples:
    """Samples of no table, such as a request's, from N arrays (T, D) per modality; labels are 0."""
    empty = {m: np.zeros((0, width), np.float32) for m, width in info.widths.items()}
    values = {m: np.concatenate([empty[m], *features[m]]) for m in info.modalities}
    lengths = {m: np.array([len(x) for x in features[m]], np.int64) for m in info.modalities}
    labels = torch.zeros(len(sample_ids), len(info.labels))
    return _samples(info, values, lengths, sample_ids, sample_ids, labels)


def _samples(
    info: TableInfo,
    values: dict[str, np.ndarray],
    lengths: dict[str, np.ndarray],
    sample_ids: tuple[str, ...],
    group_ids: tuple[str, ...],
    labels: Tensor,
) -> Samples:
    with warnings.catch_warnings():
        # a memory map is read-only, and nothing here writes to it
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        features = {m: torch.from_numpy(x) for m, x in values.items()}
    starts = {m: torch.from_numpy(np.cumsum(n) - n) for m, n in lengths.items()}
    on_device = {m: torch.from_numpy(n) for m, n in lengths.items()}
    return Samples(
        info, sample_ids, group_ids, features, starts, on_device, labels, host_lengths=lengths
    )


def _flat(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """(R, D) steps and (N,) lengths of a feature column."""
    blocks, offsets = zip(*map(flat_features, column.chunks), strict=True)
    rows = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return rows, np.concatenate([np.diff(o) for o in offsets]).astype(np.int64)


def _flat_numbers(column: pa.ChunkedArray | pa.ListArray) -> Tensor:
    """(R,) of a column of lists of integers."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    flat = [chunk.flatten().to_numpy() for chunk in chunks]
    return torch.from_numpy(np.concatenate(flat).astype(np.int64))


def length_aware_batches(
    lengths: np.ndarray, batch_size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """One epoch's batches, as sample positions: every sample once, like lengths (N,) together.

    Samples are shuffled, sorted by length within pools of a few batches, cut into batches, and the
    batches shuffled. So little is padded, and what an epoch sees is what plain shuffling shows it.
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
