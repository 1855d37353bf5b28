"""Files of probes: same seed same bytes, and the tables hold what was drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmer.corpora import CORPORA
from mmer.corpora.corpus import Manifest, RawCorpus
from mmer.corpora.ingestion import aligned_table, open_corpus
from mmer.corpora.probes.files import directions, draw_split, write_probe
from mmer.corpora.probes.probe import LABELS, MODALITIES, Probe
from mmer.corpora.probes.reader import FILE
from mmer.samples.batches import pack
from mmer.samples.table import SPLITS

TINY = {"train_samples": 30, "valid_samples": 10, "test_samples": 300}


@pytest.fixture(autouse=True)
def _no_score(monkeypatch) -> None:
    """The score is another test's matter."""
    monkeypatch.setattr(Probe, "bayes_optimal", lambda self: {"micro_f1": 0.5, "macro_f1": 0.5})


def written(folder: Path, name: str, **settings: object) -> Probe:
    folder.mkdir()
    one = CORPORA[name].synthetic(**TINY, **settings)
    assert CORPORA[name].write_synthetic(folder, one)["micro_f1"] == 0.5
    return one


def opened(folder: Path, name: str) -> Manifest:
    return open_corpus(name, RawCorpus(path=folder, synthetic=True), CORPORA[name].ingestion())


@pytest.mark.parametrize("name", ["probe_moment", "probe_absent_in_blocks", "probe_dependent"])
def test_tables_hold_what_was_drawn(name, tmp_path) -> None:
    one = written(tmp_path / "raw", name)
    manifest = opened(tmp_path / "raw", name)
    for split in SPLITS:
        table = aligned_table(manifest, split, tmp_path / "tables")
        assert table.info.labels == LABELS
        assert table.info.modalities == MODALITIES
        assert table.info.alignment == "word"
        groups, labels, shown = draw_split(one, split)
        samples = pack(table)
        np.testing.assert_array_equal(samples.truth, labels)
        assert samples.group_ids == tuple(f"{split}_group_{group}" for group in groups)
        for number, modality in enumerate(MODALITIES):
            there = shown.there[:, number]
            np.testing.assert_array_equal(samples.host_lengths[modality], there.sum(axis=1))
            back = samples.values[modality].numpy() @ directions(one)[number].T
            np.testing.assert_allclose(back, shown.values[:, number][there], atol=1e-5)


def test_no_feature_by_itself_is_evidence() -> None:
    turned = directions(CORPORA["probe_mean"].synthetic())
    for matrix in turned:
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-12)
        assert np.abs(matrix).max() < 0.97
    assert not np.allclose(turned[0], turned[1])


def test_a_seed_gives_the_same_bytes(tmp_path) -> None:
    found = []
    for number, seed in enumerate((1, 1, 2)):
        written(tmp_path / str(number), "probe_order", seed=seed)
        found.append((tmp_path / str(number) / FILE).read_bytes())
    assert found[0] == found[1] != found[2]


def test_splits_are_as_large_as_is_said_and_differ(tmp_path) -> None:
    one = CORPORA["probe_mean"].synthetic(**TINY)
    drawn = {split: draw_split(one, split) for split in SPLITS}
    assert [len(labels) for _, labels, _ in drawn.values()] == [30, 10, 300]
    assert [len(np.unique(groups)) for groups, _, _ in drawn.values()] == [8, 3, 75]
    assert not np.allclose(drawn["train"][2].values[:10], drawn["valid"][2].values)


def test_every_probe_is_written_and_opened(tmp_path) -> None:
    for name, corpus in CORPORA.items():
        if corpus.family == "probes":
            one = corpus.synthetic(**TINY)
            (tmp_path / name).mkdir()
            write_probe(tmp_path / name, one)
            assert set(opened(tmp_path / name, name).splits) == set(SPLITS)
