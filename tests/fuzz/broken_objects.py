"""Broken files of the formats that hold objects: pickles and files of torch.save."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import hostile
import look_alikes
import mutations
import numpy as np
import oracle

from mmer.corpora import CORPORA
from mmer.corpora.corpus import Ingestion
from mmer.corpora.mosei.csd import WORDS
from mmer.formats.restricted_pickle import read_pickles
from mmer.formats.torch_archive import read_torch
from mmer.schema import Settings

_PLACE = "put it here"


@dataclass(frozen=True)
class ObjectFormat:
    """A format whose files hold objects.

    Attributes:
        path: Where a broken file takes a good one's place, among the others that it needs.
        content: The objects of the good file.
        corpus: Whose reader opens its folder.
        reader: Which.
        options: The reader's.
        write: Writes objects to a path.
        contents: The objects of a file as the readers get them.
        expected: The objects of a file as the library has them whose format it is.
    """

    path: Path
    content: object
    corpus: str
    reader: str
    options: Settings
    write: Callable[[Path, object], Path]
    contents: Callable[[Path], object]
    expected: Callable[[Path], object]

    def make(self, rng: np.random.Generator, number: int, path: Path) -> bool:
        """Write the broken file of this number; the first ones go through all hostile contents.

        Returns:
            Whether the format's own library may be asked to read the file too.
        """
        canary = path.with_name("canary")
        written = {**hostile.that_run_code(canary), **hostile.that_ask_for_too_much()}
        intruders, costly = mutations.intruders(canary), self.costly
        if number < len(written):
            self._place_bytes(path, rng, list(written.values())[number])
        elif number < len(written) + len(intruders):
            intruder = intruders[number - len(written)]
            self.write(path, mutations.break_objects(rng, self.content, intruder))
        elif number < len(written) + len(intruders) + len(costly):
            self.write(path, costly[number - len(written) - len(intruders)])
        elif rng.random() < 0.4:
            self.write(path, mutations.break_objects(rng, self.content))
        else:
            self.write(path, self.content)
            _change(path, partial(mutations.break_bytes, rng), rng.random() < 0.5)
        return number >= len(written)

    @cached_property
    def costly(self) -> list[object]:
        return mutations.costly(self.content)

    @property
    def settings(self) -> Ingestion:
        chosen = {"reader": self.reader, self.reader: self.options}
        return CORPORA[self.corpus].ingestion().model_copy(update=chosen)

    def put(self, path: Path | None) -> Path:
        """The corpus with this file in its place, or without any broken one."""
        if path:
            shutil.copy(path, self.path)
        else:
            self.write(self.path, self.content)
        return self.path.parent

    def labels_are_known(self, path: Path) -> bool:
        """Whether the labels of the texts cannot have changed: they are in another file."""
        return self.reader == "noalign_pkl"

    def name_of(self, row: dict) -> str | None:
        return None if row["text"] is None else str(row["text"])

    def compare(self, path: Path) -> str:
        """What the library makes of a file that was read."""
        try:
            expected = self.expected(path)
        except Exception:
            return "read by us alone"
        if oracle.same(self.contents(path), expected):
            return "read"
        return "other contents than the format's own library reads"

    def _place_bytes(self, path: Path, rng: np.random.Generator, content: bytes) -> None:
        """Put hand-written instructions in the place of some object, or of the whole file."""
        if rng.random() < 0.3:
            path.write_bytes(b"\x80\x04" + content + b".")
        else:
            self.write(path, mutations.break_objects(rng, self.content, _PLACE))
            _change(path, partial(_replace, content=content), True)


def _replace(pickled: bytes, content: bytes) -> bytes:
    for header in (b"X\x0b\x00\x00\x00", b"\x8c\x0b"):
        pickled = pickled.replace(header + _PLACE.encode(), content)
    return pickled


def _change(path: Path, change: Callable[[bytes], bytes], inside: bool) -> None:
    """Change a file's bytes, or those of the pickle inside an archive and its check sum."""
    if not inside or not zipfile.is_zipfile(path):
        path.write_bytes(change(path.read_bytes()))
        return
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)


OBJECT_FILES = {
    "m3ed": ("m3ed", "pkl", "A_audio-V_visual-L_text.pkl"),
    "noalign": ("mosei", "noalign_pkl", "mosei_senti_data_noalign.pkl"),
    "mmsa_aligned": ("mosei", "mmsa_aligned", "aligned_50.pkl"),
    "mmsa_unaligned": ("mosei", "mmsa_unaligned", "unaligned_50.pkl"),
    "tensors": ("mosei", "tensors_pkl", "tensors.pkl"),
    "tailor": ("mosei", "tailor_pt", "train_valid_test.pt"),
    "tailor_legacy": ("mosei", "tailor_pt", "train_valid_test.pt"),
}


def object_format(name: str, folder: Path) -> ObjectFormat:
    """The format of this name; its good files are written to `folder`."""
    corpus, reader, file = OBJECT_FILES[name]
    content = look_alikes.FOLDERS[corpus, reader](folder, np.random.default_rng(0))
    options = look_alikes.options(corpus, reader)
    if name == "mmsa_unaligned":  # without words, more than one segment can be a clip's
        WORDS.path(folder).unlink()
        options = options.model_copy(update={"most_unjoined": 0.9})
    if file.endswith(".pkl"):
        how = (_write_pickle, partial(read_pickles, most=10), oracle.read_pickles)
    else:
        write = partial(look_alikes.write_torch, legacy=name == "tailor_legacy")
        how = (write, read_torch, oracle.read_torch)
    return ObjectFormat(folder / file, content, corpus, reader, options, *how)


def _write_pickle(path: Path, content: object) -> Path:
    """As a pickle of the protocol that the file's number asks for."""
    number = int(path.stem) if path.stem.isdecimal() else 0
    return look_alikes.write_pickle(path, content, 2 + number % 4)
