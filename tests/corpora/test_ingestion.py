"""The one road from files to sample tables, for every corpus and every reader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import look_alikes
import numpy as np
import pytest

from mmer.corpora import CORPORA
from mmer.corpora.corpus import (
    Corpus,
    CorpusSource,
    Ingestion,
    Manifest,
    RawCorpus,
    ValidationSplit,
)
from mmer.corpora.ingestion import aligned_table, check_disjoint, open_corpus
from mmer.errors import InputError
from mmer.samples.table import SPLITS, Features, Sample, SampleTable, Split, write_table
from mmer.schema import Settings

TINY = {
    "mosei": {"train_videos": 4, "valid_videos": 2, "test_videos": 2, "segments_per_video": 2},
    "m3ed": {"train_dialogues": 4, "valid_dialogues": 2, "test_dialogues": 2, "utterances": 3},
}
READERS = [(name, reader) for name, corpus in CORPORA.items() for reader in corpus.readers]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[tuple[str, str], Path]:
    """(Corpus, reader) -> a folder of files in that reader's layout."""
    looks, rng = tmp_path_factory.mktemp("look_alikes"), np.random.default_rng(0)
    words, videos = look_alikes.word_vectors(rng), look_alikes.labelled_videos(rng)
    look_alikes.write_torch(looks / "train_valid_test.pt", look_alikes.tailor_content(rng, words))
    for name, content in {
        "mosei_senti_data_noalign.pkl": look_alikes.noalign_content(rng, words),
        "aligned_50.pkl": look_alikes.mmsa_content(rng, videos, aligned=True),
        "unaligned_50.pkl": look_alikes.mmsa_content(rng, videos, aligned=False),
    }.items():
        look_alikes.write_pickle(looks / name, content)
    look_alikes.write_label_files(looks, videos)
    written = {}
    for name, corpus in {"mosei": CORPORA["mosei"], "m3ed": CORPORA["m3ed"]}.items():
        written[name] = tmp_path_factory.mktemp(name)
        corpus.write_synthetic(written[name], corpus.synthetic(**TINY[name]))
    own = {"csd": written["mosei"], "pkl": written["m3ed"]}
    return {(name, reader): own.get(reader, looks) for name, reader in READERS}


def _parameters(corpus: Corpus, reader: str) -> dict:
    """Options of every reader, as parameter files hold them, and one of the readers chosen."""
    settings = corpus.ingestion().model_dump(mode="json")
    for other in corpus.readers:
        if "widths" in settings[other]:
            settings[other]["widths"] = look_alikes.WIDTHS
    if "csd" in settings:
        settings["csd"]["folds"] = "folds.json"
    return json.loads(json.dumps({**settings, "reader": reader}))


def _manifest(name: str, reader: str, path: Path, **raw: object) -> Manifest:
    corpus = CORPORA[name]
    settings = corpus.ingestion.model_validate(_parameters(corpus, reader))
    return open_corpus(name, RawCorpus(path=path, **raw), settings)


@pytest.mark.parametrize(("name", "reader"), READERS)
def test_every_reader_can_be_chosen_with_the_options_of_all_at_hand(
    name, reader, files, tmp_path
) -> None:
    manifest = _manifest(name, reader, files[name, reader], synthetic=True)
    assert Manifest.from_json(manifest.to_json(), "manifest") == manifest
    for split in SPLITS:
        table = aligned_table(manifest, split, tmp_path)
        assert (table.info.corpus, table.info.split) == (name, split)
        assert table.info.synthetic
        assert table.info.fingerprint == manifest.fingerprint
        groups = table.arrow()["group_id"].to_pylist()
        assert groups
        assert set(groups) <= set(manifest.splits[split])
        assert table.info.groups_known == (reader != "tailor_pt")


@pytest.mark.parametrize(("name", "reader"), READERS)
def test_the_options_of_other_readers_do_not_count(name, reader, files) -> None:
    corpus = CORPORA[name]
    parameters = _parameters(corpus, reader)
    alone = {"reader": reader, reader: parameters[reader]}
    prints = {
        open_corpus(
            name, RawCorpus(path=files[name, reader]), corpus.ingestion.model_validate(given)
        ).fingerprint
        for given in (parameters, alone)
    }
    assert len(prints) == 1


@pytest.mark.parametrize("name", CORPORA)
def test_readers_and_their_options_are_named_alike(name) -> None:
    corpus = CORPORA[name]
    for reader in corpus.readers:
        assert isinstance(corpus.ingestion(reader=reader).options, Settings)
    assert corpus.ingestion().reader in corpus.readers


def test_a_table_is_made_in_another_process_from_the_manifest_alone(files, tmp_path) -> None:
    manifest = _manifest("m3ed", "pkl", files["m3ed", "pkl"])
    program = (
        "import sys; from pathlib import Path; from mmer.corpora.corpus import Manifest\n"
        "from mmer.corpora.ingestion import aligned_table\n"
        "manifest = Manifest.from_json(sys.argv[1], 'manifest')\n"
        "aligned_table(manifest, 'test', Path(sys.argv[2]))"
    )
    subprocess.run([sys.executable, "-c", program, manifest.to_json(), str(tmp_path)], check=True)
    made = SampleTable(tmp_path / manifest.fingerprint / "test.arrow")
    assert made.arrow().equals(aligned_table(manifest, "test", tmp_path / "here").arrow())


class _Options(Settings):
    steps: int = 3


class _Ingestion(Ingestion):
    reader: str = "text"
    text: _Options = _Options()


def _read_text(path: Path, options: _Options) -> CorpusSource:
    """A line per group, `split group`: two samples of each."""
    lines = [line.split() for file in sorted(path.rglob("*.txt")) for line in _lines(file)]
    groups = {
        split: tuple(group for s, group in lines if s == split)
        for split in SPLITS
        if any(s == split for s, _ in lines)
    }

    def read(split: Split) -> Iterator[Sample]:
        for group in groups[split]:
            for i in range(2):
                rows = np.full((options.steps, 2), i, np.float32)
                yield Sample(f"{group}.{i}", group, {"gait": rows}, np.array([i], np.uint8))
                if (path / "touched").is_file():
                    (path / "more" / "a.txt").write_text("train x\n")

    return CorpusSource(
        labels=("even",),
        features={"gait": Features(name="steps", width=2)},
        alignment="none",
        files=tuple(sorted(path.rglob("*.txt"))),
        groups=groups,
        read=read,
        notes=("the files are short",),
    )


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Files of a corpus without a validation split: two of one name, in two folders."""
    corpus = replace(
        CORPORA["m3ed"], title="Toy", ingestion=_Ingestion, readers={"text": _read_text}, code=()
    )
    monkeypatch.setitem(CORPORA, "toy", corpus)
    for place, lines in {
        "some": [f"train g{i}" for i in range(12)],
        "more": [f"train h{i}" for i in range(8)] + ["test t0", "test t1"],
    }.items():
        (tmp_path / "raw" / place).mkdir(parents=True)
        (tmp_path / "raw" / place / "a.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "raw"


def _open(folder: Path, *, synthetic: bool = False, **settings: object) -> Manifest:
    return open_corpus("toy", RawCorpus(path=folder, synthetic=synthetic), _Ingestion(**settings))


def test_files_of_one_name_in_two_folders_are_two(folder) -> None:
    assert [file.name for file in _open(folder).files] == ["more/a.txt", "some/a.txt"]


def test_a_corpus_of_one_file_is_named_without_its_folder(files) -> None:
    [path] = files["m3ed", "pkl"].glob("*.pkl")
    of_file, of_folder = (_manifest("m3ed", "pkl", p) for p in (path, path.parent))
    assert [file.name for file in of_file.files] == [path.name]
    assert of_file.fingerprint == of_folder.fingerprint


def _validation(folder: Path, **settings: object) -> tuple[str, ...]:
    return _open(folder, validation=ValidationSplit(**settings)).splits["valid"]


def test_validation_is_drawn_by_group_and_seed(folder, tmp_path) -> None:
    manifest = _open(folder, validation=ValidationSplit(share=0.3, seed=5))
    drawn, rest = manifest.splits["valid"], manifest.splits["train"]
    assert len(drawn) == 6
    assert not set(drawn) & set(rest)
    assert len(set(drawn) | set(rest)) == 20
    assert drawn == _validation(folder, share=0.3, seed=5)
    assert drawn != _validation(folder, share=0.3, seed=6)
    assert manifest.splits["test"] == ("t0", "t1")
    for split in SPLITS:
        rows = aligned_table(manifest, split, tmp_path).arrow()["group_id"].to_pylist()
        assert rows == [group for group in manifest.splits[split] for _ in range(2)]


def test_validation_and_training_have_a_group_each_at_least(folder) -> None:
    assert len(_validation(folder, share=0.001)) == 1
    assert len(_validation(folder, share=0.999)) == 19
    (folder / "some" / "a.txt").unlink()
    (folder / "more" / "a.txt").write_text("train only\ntest t\n")
    with pytest.raises(InputError, match="at least 2 groups"):
        _open(folder)


def test_a_validation_split_of_the_files_own_is_kept(folder) -> None:
    with (folder / "more" / "a.txt").open("a") as file:
        file.write("valid v0\n")
    assert _validation(folder) == ("v0",)
    prints = {_open(folder, validation=ValidationSplit(seed=s)).fingerprint for s in (1, 2)}
    assert len(prints) == 1


def test_the_fingerprint_follows_what_decides_the_samples(folder) -> None:
    prints = [
        _open(folder).fingerprint,
        _open(folder, synthetic=True).fingerprint,
        _open(folder, text=_Options(steps=4)).fingerprint,
        _open(folder, validation=ValidationSplit(seed=2)).fingerprint,
    ]
    CORPORA["other"] = CORPORA["toy"]
    try:
        raw = RawCorpus(path=folder)
        prints.append(open_corpus("other", raw, _Ingestion()).fingerprint)
    finally:
        del CORPORA["other"]
    (folder / "more" / "a.txt").rename(folder / "more" / "b.txt")
    prints.append(_open(folder).fingerprint)
    assert len(set(prints)) == len(prints)
    assert _open(folder).fingerprint == prints[-1]


def test_splits_that_share_a_group_are_refused(folder) -> None:
    with (folder / "more" / "a.txt").open("a") as file:
        file.write("test g3\n")
    with pytest.raises(InputError, match=r"splits train and test.*1 shared, such as g3"):
        _open(folder)
    check_disjoint("tables", {"train": ["a"], "valid": ["b"], "test": ["c"]})


def test_a_table_is_made_once(folder, tmp_path, caplog) -> None:
    manifest = _open(folder)
    caplog.clear()
    with caplog.at_level("INFO"):
        made = aligned_table(manifest, "test", tmp_path)
        before = made.path.stat().st_mtime_ns
        again = aligned_table(manifest, "test", tmp_path)
    assert again.path.stat().st_mtime_ns == before
    assert caplog.messages == ["toy test: 4 samples, aligned", "toy test: up to date: reused"]


def test_what_is_to_be_known_of_the_files_is_said_when_they_are_opened(
    folder, tmp_path, caplog
) -> None:
    with caplog.at_level("INFO"):
        manifest = _open(folder)
        assert caplog.messages == [
            "toy: the files are short",
            "toy: validation takes 2 training groups",
        ]
        caplog.clear()
        aligned_table(manifest, "train", tmp_path)
    assert caplog.messages == ["toy train: 36 samples, aligned"]


@pytest.mark.parametrize("harm", ["cut off", "of another fingerprint", "no table"])
def test_a_table_that_is_not_right_is_made_again(folder, tmp_path, harm) -> None:
    manifest = _open(folder)
    made = aligned_table(manifest, "test", tmp_path)
    expected = made.arrow().to_pylist()
    if harm == "cut off":
        made.path.write_bytes(made.path.read_bytes()[:-100])
    elif harm == "no table":
        made.path.write_text("nothing")
    else:
        info = made.info.model_copy(update={"fingerprint": "other"})
        sample = Sample("x", "x", {"gait": np.ones((1, 2), np.float32)}, np.array([1], np.uint8))
        write_table(made.path, info, [sample])
    assert aligned_table(manifest, "test", tmp_path).arrow().to_pylist() == expected


def test_a_file_that_changed_since_it_was_opened_stops_the_alignment(folder, tmp_path) -> None:
    manifest, path = _open(folder), folder / "some" / "a.txt"
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    with pytest.raises(InputError, match=r"some/a\.txt: expected the file as it was"):
        aligned_table(manifest, "train", tmp_path)
    path.unlink()
    with pytest.raises(InputError, match="found nothing"):
        aligned_table(manifest, "train", tmp_path)


def test_a_file_that_changes_while_it_is_read_leaves_no_table(folder, tmp_path) -> None:
    manifest = _open(folder)
    (folder / "touched").touch()
    with pytest.raises(InputError, match=r"more/a\.txt: expected the file as it was"):
        aligned_table(manifest, "train", tmp_path / "tables")
    assert not [path for path in (tmp_path / "tables").rglob("*") if path.is_file()]


def test_the_best_score_of_synthetic_files_reaches_the_tables(folder, tmp_path) -> None:
    raw = RawCorpus(path=folder, synthetic=True, bayes_optimal={"micro_f1": 0.8})
    manifest = open_corpus("toy", raw, _Ingestion())
    assert aligned_table(manifest, "test", tmp_path).info.bayes_optimal == {"micro_f1": 0.8}
