"""A small CMU-MOSEI in computational sequences, and ways to break such a file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import mutations
import numpy as np

from mmer.formats.csd import write_csd
from mmer.corpora.mosei import FILES, LABELS, WORDS, MoseiSettings, read_mosei
from mmer.corpora.source import CorpusSource

FOLDS = "folds.json"
_VIDEOS = {"train": ["2869", "286943"], "valid": ["b"], "test": ["c"]}


def write_mosei(folder: Path, rng: np.random.Generator, compression: str | None) -> None:
    """Four videos of two segments of three words, at few frames a second."""
    (folder / FOLDS).write_text(json.dumps(_VIDEOS))
    videos = [video for split in _VIDEOS.values() for video in split]
    spans = {"text": (6, 1.0), "visual": (18, 1 / 3), "audio": (30, 0.2)}
    times = {}
    for modality, (count, step) in spans.items():
        begins = step * np.arange(count)[:, None]
        times[modality] = np.hstack([begins, begins + step])
    for modality, file in FILES.items():
        entries = []
        for video in videos:
            rows = rng.normal(size=(len(times[modality]), file.width)).astype(np.float32)
            rows[0, 0] = -np.inf if modality == "audio" else 1
            entries.append((video, rows, times[modality]))
        write_csd(folder / file.name, file.root_name, entries, "", None, compression)
    segments = np.array([[3.0, 6.0], [0.0, 3.0]])
    labels = [(v, rng.integers(0, 4, (2, 7)).astype(np.float32), segments) for v in videos]
    write_csd(folder / LABELS.name, LABELS.root_name, labels, "", None, compression)
    words = np.array([[b"one"], [b"sp"], [b"two"], [b"three"], [b"sp"], [b"four"]])
    entries = [(video, words, times["text"]) for video in videos]
    write_csd(folder / WORDS.name, WORDS.root_name, entries, "", None, compression)


def _entry(file: h5py.File) -> tuple[h5py.Group, str, np.ndarray]:
    """A group of a video, its first dataset's name and content."""
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
        write_mosei(self.folder / "good", np.random.default_rng(0), self.compression)

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
        settings = MoseiSettings(folds=FOLDS, alignment="word")
        return read_mosei(self.folder / "broken", settings)

    def compare(self, path: Path) -> str:
        fault = path.with_name("fault").read_text()
        return f"read with {fault}" if fault in _NEVER_READ else "read"
