"""Broken files of the formats that hold objects: pickles and files of torch.save."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import hostile
import look_alikes
import mutations
import numpy as np
import oracle

from mmer.formats.restricted_pickle import read_pickles
from mmer.formats.torch_archive import read_torch
from mmer.corpora.m3ed import M3edSettings, read_m3ed
from mmer.corpora.mmsa import MmsaSettings, read_mmsa
from mmer.corpora.noalign import read_noalign
from mmer.corpora.padded import PaddedSettings
from mmer.corpora.source import CorpusSource
from mmer.corpora.tailor import read_tailor

_PLACE = "put it here"
_PADDED = PaddedSettings(widths=look_alikes.WIDTHS)
_MMSA = MmsaSettings(widths=look_alikes.WIDTHS)
_MMSA_WITHOUT_WORDS = MmsaSettings(widths=look_alikes.WIDTHS, most_unjoined=0.9)


class Corpora:
    """The good files, and the content that each is made from."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        words, videos = look_alikes.word_vectors(rng), look_alikes.labelled_videos(rng)
        self.m3ed = look_alikes.m3ed_content(rng)
        self.tailor = look_alikes.tailor_content(rng, words)
        self.noalign = look_alikes.noalign_content(rng, words)
        self.mmsa_aligned = look_alikes.mmsa_content(rng, videos, aligned=True)
        self.mmsa_unaligned = look_alikes.mmsa_content(rng, videos, aligned=False)
        self.emotions = look_alikes.write_torch(folder / "train_valid_test.pt", self.tailor)
        self.labels, self.words = look_alikes.write_label_files(folder, videos)


@dataclass(frozen=True)
class ObjectFormat:
    """A format whose files hold objects.

    Attributes:
        content: The objects of a good file.
        write: Writes objects to a path.
        read: Opens a file as a corpus.
        contents: The objects of a file as the readers get them.
        expected: The objects of a file as the library has them whose format it is.
    """

    content: object
    write: Callable[[Path, object], Path]
    read: Callable[[Path], CorpusSource]
    contents: Callable[[Path], object]
    expected: Callable[[Path], object]

    def make(self, rng: np.random.Generator, number: int, path: Path) -> bool:
        """Write the broken file of this number; the first ones go through all hostile contents.

        Returns:
            Whether the format's own library may be asked to read the file too.
        """
        canary = path.with_name("canary")
        written = {**hostile.that_run_code(canary), **hostile.that_ask_for_too_much()}
        intruders = mutations.intruders(canary)
        if number < len(written):
            self._place_bytes(path, rng, list(written.values())[number])
        elif number < len(written) + len(intruders):
            intruder = intruders[number - len(written)]
            self.write(path, mutations.break_objects(rng, self.content, intruder))
        elif rng.random() < 0.4:
            self.write(path, mutations.break_objects(rng, self.content))
        else:
            self.write(path, self.content)
            _change(path, partial(mutations.break_bytes, rng), rng.random() < 0.5)
        return number >= len(written)

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


def object_formats(corpora: Corpora) -> dict[str, ObjectFormat]:
    pickled = {
        "m3ed": (corpora.m3ed, lambda p: read_m3ed(p, M3edSettings(), corpus="m3ed")),
        "noalign": (
            corpora.noalign,
            lambda p: read_noalign(p, corpora.emotions, _PADDED, corpus="mosei"),
        ),
        "mmsa_aligned": (
            corpora.mmsa_aligned,
            lambda p: read_mmsa(p, corpora.labels, _MMSA, corpus="mosei", words=corpora.words),
        ),
        "mmsa_unaligned": (
            corpora.mmsa_unaligned,
            lambda p: read_mmsa(p, corpora.labels, _MMSA_WITHOUT_WORDS, corpus="mosei"),
        ),
    }
    found = {
        name: ObjectFormat(
            content, _write_pickle, read, partial(read_pickles, most=10), oracle.read_pickles
        )
        for name, (content, read) in pickled.items()
    }
    for name, legacy in (("tailor", False), ("tailor_legacy", True)):
        found[name] = ObjectFormat(
            corpora.tailor,
            partial(look_alikes.write_torch, legacy=legacy),
            lambda p: read_tailor(p, _PADDED, corpus="mosei"),
            read_torch,
            oracle.read_torch,
        )
    return found


def _write_pickle(path: Path, content: object) -> Path:
    """As a pickle of the protocol that the file's number asks for."""
    return look_alikes.write_pickle(path, content, 2 + int(path.stem) % 4)
