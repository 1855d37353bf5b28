"""A face that was never tracked is absent, whichever file tells of it."""

from __future__ import annotations

from pathlib import Path

import look_alikes
import numpy as np
import pytest

from mmer.corpora.corpus import CorpusSource
from mmer.corpora.mosei import CORPUS
from mmer.corpora.mosei.csd import FILES
from mmer.formats.csd import write_csd
from mmer.samples.table import TableInfo, record_batches

SPLIT = "train"
READERS = [reader for corpus, reader in look_alikes.FOLDERS if corpus == "mosei"]


def _in_csd(folder: Path) -> None:
    file = FILES["visual"]
    with file.open(folder) as opened:
        entries = [(video, *opened.read(video)) for video in opened.ids]
    first = look_alikes.VIDEOS[SPLIT][0]
    changed = [(v, rows * (v != first), intervals) for v, rows, intervals in entries]
    write_csd(file.path(folder), file.root_name, changed, "")


def _in_tensors(folder: Path, content: list[dict]) -> None:
    content[0]["FACET 4.2"][0] = 0
    look_alikes.write_pickle(folder / "tensors.pkl", content)


def _in_tailor(folder: Path, content: dict) -> None:
    content[SPLIT]["src-visual"][0][:] = 0
    look_alikes.write_torch(folder / "train_valid_test.pt", content)


def _in_pickle(folder: Path, content: dict) -> None:
    (path,) = folder.glob("*.pkl")
    content[SPLIT]["vision"][0] = 0
    look_alikes.write_pickle(path, content)


def _source(folder: Path, reader: str) -> CorpusSource:
    """A few samples, of which the first for training has nothing but zeros for a face."""
    content = look_alikes.FOLDERS["mosei", reader](folder, np.random.default_rng(1))
    if reader == "csd":
        _in_csd(folder)
    else:
        change = {"tensors_pkl": _in_tensors, "tailor_pt": _in_tailor}.get(reader, _in_pickle)
        change(folder, content)
    return CORPUS.readers[reader](folder, look_alikes.options("mosei", reader))


def _rows(source: CorpusSource, *, zeros_are_absent: bool) -> list[dict]:
    info = TableInfo(
        corpus="mosei",
        split=SPLIT,
        labels=source.labels,
        features=source.features,
        alignment=source.alignment,
        synthetic=False,
        fingerprint="",
        zeros_are_absent=zeros_are_absent,
    )
    samples = look_alikes.samples(source, SPLIT)
    return [row for batch in record_batches(info, samples) for row in batch.to_pylist()]


@pytest.mark.parametrize("reader", READERS)
def test_it_is_null_in_the_table_of_every_reader(tmp_path, reader) -> None:
    source = _source(tmp_path, reader)
    visual = list(source.features).index("visual")
    absent, present = (_rows(source, zeros_are_absent=choice) for choice in (True, False))
    assert absent[0]["visual"] is None
    assert present[0]["visual"]
    assert not np.any(present[0]["visual"])
    for rows in (absent, present):
        assert rows[0]["text"]
        assert rows[0]["audio"]
        assert rows[0]["all_zero"][visual]
        assert not any(row["all_zero"][visual] for row in rows[2:])
