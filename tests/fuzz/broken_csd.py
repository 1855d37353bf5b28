"""Ways to break a file of computational sequences, among others that are whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import look_alikes
import mutations
import numpy as np

from mmer.corpora import CORPORA
from mmer.corpora.corpus import CorpusSource
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

    def make(self, rng: np.random.Generator, number: int, path: Path) -> bool:
        """Write the broken file of this number; the first numbers go through `FAULTS`."""
        names = [file.name for file in (*FILES.values(), LABELS, WORDS)]
        name = names[int(rng.integers(len(names)))]
        shutil.copy(self.folder / "good" / name, path)
        if number < len(FAULTS):
            with h5py.File(path, "r+") as file:
                list(FAULTS.values())[number](file)
        else:
            path.write_bytes(mutations.break_bytes(rng, path.read_bytes()))
        (path.parent / "place").write_text(name)
        (path.parent / "fault").write_text((*FAULTS, "bytes")[min(number, len(FAULTS))])
        return True

    def read(self, path: Path) -> CorpusSource:
        shutil.copytree(self.folder / "good", self.folder / "broken", dirs_exist_ok=True)
        shutil.copy(path, self.folder / "broken" / path.with_name("place").read_text())
        options = look_alikes.options("mosei", "csd")
        return CORPORA["mosei"].readers["csd"](self.folder / "broken", options)

    def compare(self, path: Path) -> str:
        fault = path.with_name("fault").read_text()
        return f"read with {fault}" if fault in _NEVER_READ else "read"
