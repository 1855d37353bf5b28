"""Which reader opens which official files: one name each, its settings and the function.

Where the files of a corpus are several, the path is their folder and they keep their own names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from mmer.corpora.m3ed import M3edSettings, read_m3ed
from mmer.corpora.mmsa import MmsaSettings, read_mmsa
from mmer.corpora.mosei import LABELS, WORDS, MoseiSettings, read_mosei
from mmer.corpora.noalign import read_noalign
from mmer.corpora.padded import PaddedSettings
from mmer.corpora.source import CorpusSource
from mmer.corpora.tailor import read_tailor
from mmer.errors import InputError

_TAILOR = "train_valid_test.pt"
_NOALIGN = "mosei_senti_data_noalign.pkl"


def _tailor(path: Path, settings: PaddedSettings, *, corpus: str, synthetic: bool) -> CorpusSource:
    return read_tailor(_inside(path, _TAILOR), settings, corpus=corpus, synthetic=synthetic)


def _noalign(path: Path, settings: PaddedSettings, *, corpus: str, synthetic: bool) -> CorpusSource:
    return read_noalign(
        path / _NOALIGN, path / _TAILOR, settings, corpus=corpus, synthetic=synthetic
    )


def _mmsa(
    name: str, path: Path, settings: MmsaSettings, *, corpus: str, synthetic: bool
) -> CorpusSource:
    words = path / WORDS.name
    return read_mmsa(
        path / name,
        path / LABELS.name,
        settings,
        corpus=corpus,
        words=words if words.is_file() else None,
        synthetic=synthetic,
    )


def _m3ed(path: Path, settings: M3edSettings, *, corpus: str, synthetic: bool) -> CorpusSource:
    if path.is_dir():
        found = sorted(path.glob("*.pkl"))
        if len(found) != 1:
            raise InputError(path, "", "one .pkl file, or its own path", [f.name for f in found])
        path = found[0]
    return read_m3ed(path, settings, corpus=corpus, synthetic=synthetic)


def _inside(path: Path, name: str) -> Path:
    return path / name if path.is_dir() else path


READERS: dict[str, tuple[type, Callable[..., CorpusSource]]] = {
    "mosei_csd": (MoseiSettings, read_mosei),
    "tailor_pt": (PaddedSettings, _tailor),
    "noalign_pkl": (PaddedSettings, _noalign),
    "mmsa_aligned": (MmsaSettings, partial(_mmsa, "aligned_50.pkl")),
    "mmsa_unaligned": (MmsaSettings, partial(_mmsa, "unaligned_50.pkl")),
    "m3ed_pkl": (M3edSettings, _m3ed),
}
