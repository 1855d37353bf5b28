"""Ways to break a file of computational sequences, among others that are whole."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import look_alikes
import mutations
import numpy as np

from mmer.corpora import CORPORA
from mmer.corpora.corpus import Ingestion
from mmer.corpora.mosei.csd import FILES, LABELS, WORDS


def _entry(file: h5py.File) -> tuple[h5py.Group, str, np.ndarray]:
    """The group of a video, its first dataset's name and content."""
    data = file[next(iter(file))]["data"]
    group = data["2869"]
    return group, "features", group["features"][()]


def _replaced(change: Callable[[h5py.Group, str, np.ndarray], None]) -> Callable:
    def fault(file: h5py.File) -> None:
        group, name, content = _entry(file)
        del group[name]
        change(group, name, content)

    return fault


def _external_storage(group: h5py.Group, name: str, content: np.ndarray) -> None:
    group.create_dataset(
        name, content.shape, content.dtype, external=[("/etc/passwd", 0, content.nbytes)]
    )


def _virtual(group: h5py.Group, name: str, content: np.ndarray) -> None:
    layout = h5py.VirtualLayout(shape=content.shape, dtype=content.dtype)
    source = h5py.VirtualSource("/etc/passwd", "data", shape=content.shape)
    layout[:] = source
    group.create_virtual_dataset(name, layout)


def _deflate_bomb(group: h5py.Group, name: str, content: np.ndarray) -> None:
    rows = (1 << 24) // max(1, content.dtype.itemsize * content.shape[1])
    group.create_dataset(
        name, data=np.zeros((rows, content.shape[1]), content.dtype), compression="gzip"
    )


def _large_chunk(group: h5py.Group, name: str, content: np.ndarray) -> None:
    """One chunk of 600 MB, of which the file has 1 kB."""
    columns = content.shape[1]
    rows = 600_000_000 // (content.dtype.itemsize * columns)
    dataset = group.create_dataset(
        name, (4, columns), content.dtype, chunks=(rows, columns), maxshape=(None, columns),
        compression="gzip",
    )  # fmt: skip
    dataset.id.write_direct_chunk((0, 0), b"\x78\x9c" + bytes(1000))


def _zeros(group: h5py.Group, name: str, content: np.ndarray) -> None:
    """900 MB of zeros in chunks of 30 MB, of which the file has 0.9 MB."""
    columns = content.shape[1]
    rows = 30_000_000 // (content.dtype.itemsize * columns)
    dataset = group.create_dataset(
        name, (30 * rows, columns), content.dtype, chunks=(rows, columns), compression="gzip"
    )
    packed = zlib.compress(bytes(rows * columns * content.dtype.itemsize), 9)
    for number in range(30):
        dataset.id.write_direct_chunk((number * rows, 0), packed)


def _long_intervals(file: h5py.File) -> None:
    """20,000 rows, all of which last the whole day."""
    group, name, content = _entry(file)
    for what, rows in (
        (name, np.repeat(content[:1], 20_000, axis=0)),
        ("intervals", np.tile([0.0, 86_000.0], (20_000, 1))),
    ):
        del group[what]
        group[what] = rows


def _nested_groups(file: h5py.File) -> None:
    group = file[next(iter(file))]["metadata"]
    for _ in range(3000):
        group = group.create_group("g")


def _names(file: h5py.File) -> h5py.Group:
    """The metadata, without the names of the columns."""
    metadata = file[next(iter(file))]["metadata"]
    del metadata["dimension names"]
    return metadata


def _reordered_labels(store: Callable[[h5py.Group, list[str]], object]) -> Callable:
    """Label columns in another order, and their names in the same one."""

    def fault(file: h5py.File) -> None:
        order = [0, 4, 6, 1, 5, 2, 3]
        for video in file[next(iter(file))]["data"].values():
            if video["features"].shape[1] == len(order):
                video["features"][...] = video["features"][()][:, order]
        store(_names(file), [_LABEL_NAMES[column] for column in order])

    return fault


def _text(metadata: h5py.Group, text: object, **storage: object) -> None:
    metadata.create_dataset("dimension names", data=text, **storage)


_LABEL_NAMES = ("sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear")
_CHUNKED = {"chunks": (2,), "maxshape": (None,), "compression": "gzip"}
_LABEL_FAULTS: dict[str, Callable[[h5py.File], None]] = {
    f"names {how}": _reordered_labels(store)
    for how, store in {
        "as JSON": lambda m, names: _text(m, [json.dumps(names)]),
        "printed": lambda m, names: _text(m, [str(names)]),
        "as bare text": lambda m, names: _text(m, ", ".join(names)),
        "as an array": lambda m, names: _text(m, names),
        "of fixed length": lambda m, names: _text(m, np.array(names, "S12")),
        "in chunks": lambda m, names: _text(m, np.array(names, "S12"), **_CHUNKED),
        "in resizable texts": lambda m, names: _text(m, names, **_CHUNKED),
        "in the longer form": lambda m, names: _text(
            m, [json.dumps([n.replace("happy", "happiness") for n in names])]
        ),
        "missing": lambda m, names: None,
    }.items()
}
_COSTLY: dict[str, Callable[[h5py.File], None]] = {
    "intervals of a day": _long_intervals,
    "nested groups": _nested_groups,
    "nested metadata": lambda f: _text(_names(f), "[" * 100_000),
    "megabytes of metadata": lambda f: _text(_names(f), "x" * 3_000_000),
    "names by the million": lambda f: _text(_names(f), np.full(1_000_000, b"a"), compression=9),
}

FAULTS: dict[str, Callable[[h5py.File], None]] = {
    "no features": _replaced(lambda g, n, x: None),
    "link inside": _replaced(lambda g, n, x: g.__setitem__(n, h5py.SoftLink("/elsewhere"))),
    "link outside": _replaced(
        lambda g, n, x: g.__setitem__(n, h5py.ExternalLink("/etc/passwd", "/x"))
    ),
    "storage outside": _replaced(_external_storage),
    "virtual": _replaced(_virtual),
    "a terabyte of nothing": _replaced(
        lambda g, n, x: g.create_dataset(n, (1 << 38, x.shape[1]), x.dtype, chunks=(64, x.shape[1]))
    ),
    "a deflate bomb": _replaced(_deflate_bomb),
    "a large chunk": _replaced(_large_chunk),
    "zeros": _replaced(_zeros),
    **_COSTLY,
    **_LABEL_FAULTS,
    "lzf": _replaced(lambda g, n, x: g.create_dataset(n, data=x, compression="lzf")),
    "no rows": _replaced(lambda g, n, x: g.create_dataset(n, data=x[:0])),
    "fewer rows": _replaced(lambda g, n, x: g.create_dataset(n, data=x[:1])),
    "a column less": _replaced(lambda g, n, x: g.create_dataset(n, data=x[:, 1:])),
    "one dimension": _replaced(lambda g, n, x: g.create_dataset(n, data=x.ravel())),
    "a scalar": _replaced(lambda g, n, x: g.create_dataset(n, data=1.0)),
    "integers": _replaced(lambda g, n, x: g.create_dataset(n, data=np.ones(x.shape, int))),
    "complex numbers": _replaced(lambda g, n, x: g.create_dataset(n, data=np.ones(x.shape, "c8"))),
    "records": _replaced(
        lambda g, n, x: g.create_dataset(n, x.shape, np.dtype([("a", "f4"), ("b", "S3")]))
    ),
    "variable strings": _replaced(
        lambda g, n, x: g.create_dataset(n, x.shape, h5py.string_dtype())
    ),
    "ragged rows": _replaced(lambda g, n, x: g.create_dataset(n, x.shape, h5py.vlen_dtype("f4"))),
    "references": _replaced(lambda g, n, x: g.create_dataset(n, x.shape, h5py.ref_dtype)),
    "a group": _replaced(lambda g, n, x: g.create_group(n)),
    "a named type": _replaced(lambda g, n, x: g.__setitem__(n, np.dtype("f4"))),
    "a cycle": _replaced(lambda g, n, x: g.__setitem__(n, g.file["/"])),
    "no intervals": lambda f: _entry(f)[0].__delitem__("intervals"),
    "intervals without numbers": lambda f: _entry(f)[0]["intervals"].__setitem__(..., np.nan),
    "endless intervals": lambda f: _entry(f)[0]["intervals"].__setitem__(..., np.inf),
    "huge intervals": lambda f: _entry(f)[0]["intervals"].__setitem__(..., 1e300),
    "reversed intervals": lambda f: _entry(f)[0]["intervals"].__setitem__(..., [[5.0, 1.0]]),
    "no data": lambda f: f[next(iter(f))].__delitem__("data"),
    "no entries": lambda f: [
        f[next(iter(f))]["data"].__delitem__(v) for v in list(_entry(f)[0].parent)
    ],
    "two roots": lambda f: f.create_group("another"),
    "no root": lambda f: f.__delitem__(next(iter(f))),
    "no metadata": lambda f: f[next(iter(f))].__delitem__("metadata"),
    "the same entry twice": lambda f: _entry(f)[0].parent.__setitem__("copy", _entry(f)[0]),
    "odd ids": lambda f: _entry(f)[0].parent.create_group("../\x1b[2J"),
}


def _broken_heap(content: bytes) -> bytes:
    """Free space of size 0 in the heap of strings, on which libhdf5 never ends."""
    at, heap = content.index(b"GCOL") + 16, bytearray(content)
    while struct.unpack_from("<H", heap, at)[0]:
        at += 16 + -(-struct.unpack_from("<8xQ", heap, at)[0] // 8) * 8
    struct.pack_into("<Q", heap, at + 8, 0)
    return bytes(heap)


# A reader that followed these would have read another file.
_NEVER_READ = ("link inside", "link outside", "storage outside", "virtual")


@dataclass(frozen=True)
class CsdFormat:
    """The folder of computational sequences, one of its files broken.

    Attributes:
        folder: Where the good files go, and where a broken one takes a good one's place.
        compression: HDF5 filter of the good files; None for plain bytes.
    """

    folder: Path
    compression: str | None

    def __post_init__(self) -> None:
        for part in ("good", "broken"):
            (self.folder / part).mkdir(parents=True)
        rng = np.random.default_rng(0)
        look_alikes.write_csd_folder(self.folder / "good", rng, self.compression)

    @property
    def corpus(self) -> str:
        return "mosei"

    @property
    def settings(self) -> Ingestion:
        options = look_alikes.options("mosei", "csd")
        return CORPORA["mosei"].ingestion().model_copy(update={"reader": "csd", "csd": options})

    def make(self, rng: np.random.Generator, number: int, path: Path) -> bool:
        """Write the broken file of this number; the first numbers go through `FAULTS`."""
        names = [file.name for file in (*FILES.values(), LABELS, WORDS)]
        name = names[int(rng.integers(len(names)))]
        fault = (*FAULTS, "heap", "bytes")[min(number, len(FAULTS) + 1)]
        if fault in _LABEL_FAULTS or fault == "heap":
            name = LABELS.name
        content = (self.folder / "good" / name).read_bytes()
        path.write_bytes(content)
        if fault in FAULTS:
            with h5py.File(path, "r+") as file:
                FAULTS[fault](file)
        elif fault == "heap":
            path.write_bytes(_broken_heap(content))
        else:
            path.write_bytes(mutations.break_bytes(rng, content))
        (path.parent / "place").write_text(name)
        (path.parent / "fault").write_text(fault)
        return True

    def put(self, path: Path | None) -> Path:
        """The corpus with this file in its place, or without any broken one."""
        shutil.copytree(self.folder / "good", self.folder / "broken", dirs_exist_ok=True)
        if path:
            shutil.copy(path, self.folder / "broken" / path.with_name("place").read_text())
        return self.folder / "broken"

    def labels_are_known(self, path: Path) -> bool:
        """Whether the labels cannot have changed: another file was broken, or order alone."""
        place, fault = (path.with_name(name).read_text() for name in ("place", "fault"))
        return place != LABELS.name or (fault in _LABEL_FAULTS and fault != "names missing")

    def name_of(self, row: dict) -> str | None:
        return None if row["text"] is None else str(row["text"])

    def compare(self, path: Path) -> str:
        fault = path.with_name("fault").read_text()
        return f"read with {fault}" if fault in _NEVER_READ else "read"
