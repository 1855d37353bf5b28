"""Computational sequences (.csd): the HDF5 files in which the CMU-MultimodalSDK keeps its corpora.

Inside: one group (the root name) / data / <video id> / features (n, D) and intervals (n, 2), and
beside `data` a group `metadata` of strings, JSON in newer files and bare in older ones.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from mmer.errors import InputError
from mmer.files import atomic_file

_OWN_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_USUAL_TYPES = [(h5py.h5t.py_create(dtype), dtype) for dtype in map(np.dtype, ("<f4", "<f8"))]
_KINDS = {"S": "words (bytes)", "f": "numbers (float)"}
_MAX_DEFLATE_RATIO = 1100
_MAX_BYTES = 1 << 28
_MOST_TEXTS, _LONGEST_TEXTS = 10_000, 1 << 20
# An analysis window may begin before the recording does; no recording lasts a day, and none of
# three hours has as many rows at 100 a second, the most that any published sequence has.
_EARLIEST, _LATEST = -1.0, 86_400.0
_MOST_ROWS = 1_000_000


class Entry(NamedTuple):
    """One video of a computational sequence.

    Attributes:
        features: (n, D) floats, or (n, 1) bytes where the sequence holds words.
        intervals: (n, 2) float64, start and end in seconds; rows may overlap, be out of order, have
            no length, or (some published words do) end before they start.
    """

    features: np.ndarray
    intervals: np.ndarray


class ComputationalSequence:
    """A .csd file open for reading; entries are read when asked for.

    Nothing in the file can lead elsewhere: soft and external links, external storage, virtual
    datasets and filters that HDF5 would have to load from a plug-in are refused.

    Args:
        path: The file.
        width: Width D of the features; None if the file holds words.

    Attributes:
        root_name: Name of the file's one group.

    Raises:
        InputError: The file is missing, cut off, not HDF5, or not a computational sequence.
    """

    def __init__(self, path: Path, width: int | None) -> None:
        self.path, self.width = path, width
        if not path.is_file():
            raise InputError(path, "", "a computational sequence (.csd)", "no such file")
        with self._reporting(""):
            self._file = h5py.File(path, "r", locking="best-effort")
        try:
            with self._reporting(""):
                roots = self._names(self._file)
                if len(roots) != 1:
                    found = f"{len(roots)} groups {roots}"
                    raise InputError(path, "", "one group, the root", found)
                self.root_name = roots[0]
                self._descriptor = self._file.id.get_vfd_handle()
                self._root = self._group(self._file.id, self.root_name)
                self._data = self._group(self._root, "data")
        except InputError:
            self._file.close()
            raise

    @cached_property
    def ids(self) -> list[str]:
        """Video ids in the file's order; there is at least one."""
        with self._reporting(f"{self.root_name}/data"):
            ids = self._names(h5py.Group(self._data))
        if not ids:
            raise InputError(self.path, f"{self.root_name}/data", "at least one entry", "none")
        return ids

    def __enter__(self) -> ComputationalSequence:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __contains__(self, entry_id: str) -> bool:
        with self._reporting(entry_id):
            return self._data.links.exists(entry_id.encode())

    def read(self, entry_id: str) -> Entry:
        """Features and intervals of one video.

        Raises:
            InputError: The entry is missing or broken, of another width or type, its features and
                intervals differ in length, or its intervals are not seconds.
        """
        key = f"{entry_id}/intervals"
        with self._reporting(entry_id):
            group = self._group(self._data, entry_id)
            features = self._array(group, "features", f"{entry_id}/features", self.width)
            intervals = self._array(group, "intervals", key, 2)
        if len(intervals) != len(features):
            found = f"{len(intervals)} rows for {len(features)}"
            raise InputError(self.path, key, "one row for each of the features", found)
        # A comparison with NaN is false, so NaN is refused with the rest.
        if len(intervals) and not (intervals.min() >= _EARLIEST and intervals.max() <= _LATEST):
            row = int(np.argmin(((intervals >= _EARLIEST) & (intervals <= _LATEST)).all(axis=1)))
            found = f"row {row}: {intervals[row]}"
            raise InputError(self.path, key, "seconds from the video's start", found)
        return Entry(features, intervals.astype(np.float64, copy=False))

    def metadata(self, key: str) -> str | list[str] | None:
        """What the file says of itself under `key`; None if it does not.

        JSON of a text or of a list of texts, as the SDK writes it, is parsed; any other text comes
        as it stands, as older files have it, and several texts come as a list. They may be stored
        in any way that HDF5 has. A damaged heap of texts can make libhdf5 crash or never return:
        read strangers' files through `confined`.

        Raises:
            InputError: There is no text, or it is broken.
        """
        place = f"metadata/{key}"
        with self._reporting(place):
            group = self._group(self._root, "metadata")
            if not group.links.exists(key.encode()):
                return None
            dataset = h5py.h5d.open(group, self._link(group, key, place))
            texts = self._texts(h5py.Dataset(dataset), place)
        if len(texts) != 1:
            return texts or None
        try:
            value = json.loads(texts[0])
        except (ValueError, RecursionError):
            return texts[0]
        names = value if isinstance(value, list) else [value]
        return value if all(isinstance(name, str) for name in names) else texts[0]

    @contextmanager
    def _reporting(self, key: str) -> Iterator[None]:
        try:
            yield
        except (InputError, MemoryError):
            raise
        except Exception as error:  # what libhdf5 finds broken comes as any of them
            expected = "a readable computational sequence (HDF5)"
            remedy = "The file is damaged or cut off: fetch it again."
            raise InputError(self.path, key, expected, error, remedy) from error

    def _names(self, group: h5py.Group) -> list[str]:
        """Of what is in a group; h5py gives those that are not UTF-8 as bytes."""
        names = list(group)
        if odd := [name for name in names if not isinstance(name, str)]:
            raise InputError(self.path, group.name, "names that are text", odd[0])
        return names

    def _link(self, group: h5py.h5g.GroupID, name: str, key: str) -> bytes:
        """The link of this name in `group`, if it leads to something in this very file."""
        link = name.encode()
        if not group.links.exists(link):
            raise InputError(self.path, key, "a group or dataset of this name", "none")
        if group.links.get_info(link).type != h5py.h5l.TYPE_HARD:
            raise InputError(self.path, key, "data inside the file", "a link to elsewhere")
        return link

    def _group(self, group: h5py.h5g.GroupID, name: str) -> h5py.h5g.GroupID:
        return h5py.h5g.open(group, self._link(group, name, name))

    def _array(self, group: h5py.h5g.GroupID, name: str, key: str, width: int | None) -> np.ndarray:
        """Floats of shape (n, width), or words of shape (n, 1) if it is None."""
        dataset = h5py.h5d.open(group, self._link(group, name, key))
        stored_type, shape = dataset.get_type(), dataset.shape
        # What nearly all are; to have h5py translate the type takes longer than to read many.
        usual = (dtype for known, dtype in _USUAL_TYPES if stored_type.equal(known))
        dtype = next(usual, None) or stored_type.dtype
        kind, columns = ("S", 1) if width is None else ("f", width)
        if dtype.kind != kind or len(shape) != 2 or shape[1] != columns:
            expected = f"{_KINDS[kind]} of shape (n, {columns})"
            raise InputError(self.path, key, expected, f"{dtype} of shape {shape}")
        if shape[0] > _MOST_ROWS:
            raise InputError(self.path, key, f"at most {_MOST_ROWS} rows", shape[0])
        offset, size = dataset.get_offset(), dtype.itemsize * math.prod(shape)
        if offset is None:
            self._check_size(dataset, dtype.itemsize, self._storage(dataset, key), key)
        elif size > min(dataset.get_storage_size(), _MAX_BYTES):
            raise InputError(self.path, key, "rows that the file holds", f"{shape} rows, cut off")
        values = np.empty(shape, dtype)
        if offset is None:
            dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
        elif os.preadv(self._descriptor, [values.data], offset) != size:
            # Only plain bytes have an offset: they need nothing of libhdf5, which is slower here.
            raise InputError(self.path, key, "rows that the file holds", "the file's end")
        return values.astype(dtype.newbyteorder("="), copy=False)

    def _check_size(
        self, dataset: h5py.h5d.DatasetID, each: int, plan: h5py.h5p.PropDCID, key: str
    ) -> None:
        """Refuse more than the file can hold; `each` element takes so many bytes."""
        stored, unpacked = dataset.get_storage_size(), each * math.prod(dataset.shape)
        if plan.get_nfilters():
            stored *= _MAX_DEFLATE_RATIO
        if stored and plan.get_layout() == h5py.h5d.CHUNKED:  # libhdf5 unpacks whole chunks
            unpacked = max(unpacked, each * math.prod(plan.get_chunk()))
        if unpacked > min(stored, _MAX_BYTES):
            found = f"{dataset.shape} elements, cut off"
            raise InputError(self.path, key, "no more than the file holds", found)

    def _texts(self, dataset: h5py.Dataset, key: str) -> list[str]:
        """All strings of a dataset, of fixed or variable length."""
        kind = h5py.check_string_dtype(dataset.dtype)
        if kind is None:
            raise InputError(self.path, key, "text", f"{dataset.dtype} of shape {dataset.shape}")
        plan = self._storage(dataset.id, key)
        count = 0 if dataset.shape is None else math.prod(dataset.shape)
        if count > _MOST_TEXTS or count * (kind.length or 0) > _LONGEST_TEXTS:
            raise InputError(self.path, key, f"at most {_MOST_TEXTS} short texts", count)
        if count == 0:
            return []
        self._check_size(dataset.id, dataset.id.get_type().get_size(), plan, key)
        texts = np.ravel(dataset.asstr("utf-8")[()]).tolist()
        if sum(map(len, texts)) > _LONGEST_TEXTS:
            expected = f"at most {_LONGEST_TEXTS} characters of text"
            raise InputError(self.path, key, expected, "more")
        return texts

    def _storage(self, dataset: h5py.h5d.DatasetID, key: str) -> h5py.h5p.PropDCID:
        """How a dataset is stored, having seen that it needs nothing outside the file."""
        plan = dataset.get_create_plist()
        if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count():
            raise InputError(self.path, key, "data inside the file", "data stored in other files")
        filters = [plan.get_filter(number)[0] for number in range(plan.get_nfilters())]
        if set(filters) - _OWN_FILTERS or len(set(filters)) < len(filters):
            raise InputError(self.path, key, "gzip or no compression", f"HDF5 filters {filters}")
        return plan


def write_csd(
    path: Path,
    root_name: str,
    entries: Iterable[tuple[str, np.ndarray, np.ndarray]],
    description: str,
    dimension_names: list[str] | None = None,
    compression: str | None = "gzip",
) -> None:
    """Write a computational sequence, entry by entry; the file appears only when it is whole.

    Args:
        path: Where the file goes; its folder is made.
        root_name: Name of the HDF5 file's one group, such as "COVAREP".
        entries: Video id, features (n, D) or words as bytes (n, 1), intervals (n, 2) in seconds.
        description: What the sequence holds.
        dimension_names: What the D columns are; unstated if None.
        compression: HDF5 filter, or None for plain bytes.
    """
    empty = ("dataset name", "dataset version", "contact", "featureset bib citation")
    metadata = {
        **dict.fromkeys((*empty, "dataset bib citation"), ""),
        "root name": root_name,
        "computational sequence description": description,
        "dimension names": dimension_names or [],
        "computational sequence version": "1.0",
        "alignment compatible": "yes",
        "creator": "mmer",
    }
    with atomic_file(path) as partial, h5py.File(partial, "w") as file:
        data = file.create_group(f"{root_name}/data")
        for entry_id, features, intervals in entries:
            group = data.create_group(entry_id)
            group.create_dataset("features", data=features, compression=compression)
            group.create_dataset("intervals", data=intervals, compression=compression)
        for key, value in metadata.items():
            name, text = f"{root_name}/metadata/{key}", [json.dumps(value)]
            file.create_dataset(name, data=text, dtype=h5py.string_dtype())
