"""The one road from files to sample tables, for every corpus and every reader."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import look_alikes
import numpy as np
import pyarrow as pa
import pytest

import mmer
from mmer.corpora import CORPORA
from mmer.corpora.corpus import (
    Corpus,
    Manifest,
    RawCorpus,
    ValidationSplit,
)
from mmer.corpora.ingestion import aligned_table, open_corpus
from mmer.corpora.splits import check_disjoint
from mmer.errors import InputError
from mmer.samples.table import SPLITS, Sample, SampleTable, write_table
from mmer.schema import Settings

OpenToy = Callable[..., Manifest]
READERS = [(name, reader) for name, reader in look_alikes.FOLDERS]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[tuple[str, str], Path]:
    """(Corpus, reader) -> a folder of files in that reader's layout."""
    folders = {key: tmp_path_factory.mktemp("-".join(key)) for key in READERS}
    for key, folder in folders.items():
        look_alikes.FOLDERS[key](folder, np.random.default_rng(0))
    return folders


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
    given = _parameters(CORPORA[name], reader)
    alone = CORPORA[name].ingestion.model_validate({"reader": reader, reader: given[reader]})
    raw = RawCorpus(path=files[name, reader], synthetic=True)
    assert open_corpus(name, raw, alone).fingerprint == manifest.fingerprint
    table = aligned_table(manifest, "valid", tmp_path)
    assert (table.info.corpus, table.info.split) == (name, "valid")
    assert table.info.synthetic
    assert table.info.fingerprint == manifest.fingerprint
    assert table.info.reading["reader"] == reader
    groups = table.arrow()["group_id"].to_pylist()
    assert groups
    assert set(groups) <= set(manifest.splits["valid"])
    assert table.info.groups_known == (reader != "tailor_pt")


def test_every_reader_has_files_here() -> None:
    assert set(READERS) == set(look_alikes.readers())


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


def test_files_of_one_name_in_two_folders_are_two(open_toy, folder) -> None:
    assert [file.name for file in open_toy(folder).files] == ["more/a.txt", "some/a.txt"]


def test_a_corpus_of_one_file_is_named_without_its_folder(files) -> None:
    [path] = files["m3ed", "pkl"].glob("*.pkl")
    of_file, of_folder = (_manifest("m3ed", "pkl", p) for p in (path, path.parent))
    assert [file.name for file in of_file.files] == [path.name]
    assert of_file.fingerprint == of_folder.fingerprint


def _validation(open_toy: OpenToy, folder: Path, **settings: object) -> tuple[str, ...]:
    return open_toy(folder, validation=ValidationSplit(**settings)).splits["valid"]


def test_validation_is_drawn_by_group_and_seed(open_toy, folder, tmp_path) -> None:
    manifest = open_toy(folder, validation=ValidationSplit(share=0.3, seed=5))
    drawn, rest = manifest.splits["valid"], manifest.splits["train"]
    assert len(drawn) == 6
    assert not set(drawn) & set(rest)
    assert len(set(drawn) | set(rest)) == 20
    assert drawn == _validation(open_toy, folder, share=0.3, seed=5)
    assert drawn != _validation(open_toy, folder, share=0.3, seed=6)
    assert manifest.splits["test"] == ("t0", "t1")
    for split in SPLITS:
        rows = aligned_table(manifest, split, tmp_path).arrow()["group_id"].to_pylist()
        assert rows == [group for group in manifest.splits[split] for _ in range(2)]


def test_validation_and_training_have_a_group_each_at_least(open_toy, folder) -> None:
    assert len(_validation(open_toy, folder, share=0.001)) == 1
    assert len(_validation(open_toy, folder, share=0.999)) == 19
    (folder / "some" / "a.txt").unlink()
    (folder / "more" / "a.txt").write_text("train only\ntest t\n")
    with pytest.raises(InputError, match="at least 2 groups"):
        open_toy(folder)


def test_a_validation_split_of_the_files_own_is_kept(open_toy, folder) -> None:
    with (folder / "more" / "a.txt").open("a") as file:
        file.write("valid v0\n")
    assert _validation(open_toy, folder) == ("v0",)
    prints = {open_toy(folder, validation=ValidationSplit(seed=s)).fingerprint for s in (1, 2)}
    assert len(prints) == 1


def test_the_fingerprint_follows_what_decides_the_samples(open_toy, folder) -> None:
    prints = [
        open_toy(folder).fingerprint,
        open_toy(folder, synthetic=True).fingerprint,
        open_toy(folder, text={"steps": 4}).fingerprint,
        open_toy(folder, validation=ValidationSplit(seed=2)).fingerprint,
    ]
    CORPORA["other"] = CORPORA["toy"]
    try:
        raw = RawCorpus(path=folder)
        prints.append(open_corpus("other", raw, CORPORA["toy"].ingestion()).fingerprint)
    finally:
        del CORPORA["other"]
    (folder / "more" / "a.txt").rename(folder / "more" / "b.txt")
    prints.append(open_toy(folder).fingerprint)
    assert len(set(prints)) == len(prints)
    assert open_toy(folder).fingerprint == prints[-1]


def test_splits_that_share_a_group_are_refused(open_toy, folder) -> None:
    with (folder / "more" / "a.txt").open("a") as file:
        file.write("test g3\n")
    with pytest.raises(InputError, match=r"splits train and test.*1 shared, such as g3"):
        open_toy(folder)
    check_disjoint("tables", {"train": ["a"], "valid": ["b"], "test": ["c"]})


def test_a_table_is_made_once(open_toy, folder, tmp_path, caplog) -> None:
    manifest = open_toy(folder)
    caplog.clear()
    with caplog.at_level("INFO"):
        made = aligned_table(manifest, "test", tmp_path)
        before = made.path.stat().st_mtime_ns
        again = aligned_table(manifest, "test", tmp_path)
    assert again.path.stat().st_mtime_ns == before
    assert caplog.messages == [
        "toy test: 4 samples, aligned",
        "toy test: 4 samples, up to date: reused",
    ]


def test_what_is_to_be_known_of_the_files_is_said_when_they_are_opened(
    open_toy, folder, tmp_path, caplog
) -> None:
    with caplog.at_level("INFO"):
        manifest = open_toy(folder)
        assert caplog.messages == [
            "toy: the files are short",
            "toy: validation takes 2 training groups",
        ]
        caplog.clear()
        aligned_table(manifest, "train", tmp_path)
    assert caplog.messages == ["toy train: 36 samples, aligned"]


def _overwrite(path: Path) -> None:
    content = path.read_bytes()
    place = content.index(np.ones(6, np.float32).tobytes())
    huge = np.full(6, 1e30, np.float32).tobytes()
    path.write_bytes(content[:place] + huge + content[place + len(huge) :])


def _write_other_rows(path: Path, update: dict[str, object]) -> None:
    info = SampleTable(path).info.model_copy(update=update)
    sample = Sample("x", "x", {"gait": np.ones((1, 2), np.float32)}, np.array([1], np.uint8))
    write_table(path, info, [sample])


def _rename_metadata(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"groups_known"', b'"groups_famed"'))


def _write_without_a_column(path: Path) -> None:
    rows = SampleTable(path).arrow().drop_columns(["all_zero"])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)


HARMS = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "no table": lambda path: path.write_text("nothing"),
    "of another fingerprint": lambda path: _write_other_rows(path, {"fingerprint": "other"}),
    "of another split": lambda path: _write_other_rows(path, {"split": "train"}),
    "overwritten": _overwrite,
    "with another field in its metadata": _rename_metadata,
    "with another schema": _write_without_a_column,
}


@pytest.fixture(scope="module")
def made_toy(open_toy: OpenToy, write_toy, tmp_path_factory) -> tuple[Manifest, Path]:
    """A manifest, and the folder in which the test split has been made from it."""
    place = tmp_path_factory.mktemp("made")
    manifest = open_toy(write_toy(place / "raw"))
    aligned_table(manifest, "test", place)
    return manifest, place


@pytest.mark.parametrize("harm", HARMS.values(), ids=list(HARMS))
def test_a_table_that_is_not_right_is_made_again(made_toy, harm) -> None:
    manifest, place = made_toy
    path = place / manifest.fingerprint / "test.arrow"
    expected = path.read_bytes()
    harm(path)
    assert path.read_bytes() != expected
    assert aligned_table(manifest, "test", place).path.read_bytes() == expected


def test_shards_that_a_killed_run_left_are_used_if_they_are_whole(
    open_toy, folder, tmp_path, monkeypatch
) -> None:
    manifest = open_toy(folder)
    expected = aligned_table(manifest, "train", tmp_path / "undisturbed").path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("mmer.corpora.ingestion.shutil.rmtree", lambda *_, **__: None)
        made = aligned_table(manifest, "train", tmp_path)
    made.path.unlink()
    shards = sorted((made.path.parent / "train.shards").glob("*.arrow"))
    assert len(shards) == 3
    kept = shards[0].stat().st_ino
    os.link(shards[0], tmp_path / "the first")
    _overwrite(shards[1])
    shards[2].write_bytes(shards[2].read_bytes()[:200])
    assert aligned_table(manifest, "train", tmp_path).path.read_bytes() == expected
    assert (tmp_path / "the first").stat().st_ino == kept
    assert not (made.path.parent / "train.shards").exists()


def test_two_runs_at_once_make_the_table_once(open_toy, folder, tmp_path) -> None:
    manifest = open_toy(folder, text={"seconds": 0.05})
    program = (
        "import logging, sys; from pathlib import Path; import text_corpus\n"
        "from mmer.corpora import CORPORA; CORPORA['toy'] = text_corpus.CORPUS\n"
        "from mmer.corpora.corpus import Manifest\n"
        "from mmer.corpora.ingestion import aligned_table\n"
        "logging.basicConfig(level=logging.INFO, format='%(message)s')\n"
        "manifest = Manifest.from_json(sys.argv[1], 'manifest')\n"
        "aligned_table(manifest, 'train', Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", program, manifest.to_json(), str(tmp_path)]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    runs = [
        subprocess.Popen(command, env=here, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = sorted(run.communicate()[1] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert told[0] == "toy train: 36 samples, aligned\n"
    assert told[1].endswith("toy train: 36 samples, up to date: reused\n")


def test_code_that_makes_no_sample_leaves_the_fingerprint_as_it_is(folder, tmp_path) -> None:
    shutil.copytree(Path(mmer.__file__).parent, tmp_path / "mmer")

    def fingerprint(module: str, line: str) -> str:
        with (tmp_path / "mmer" / module).open("a") as file:
            file.write(line + "\n")
        program = (
            "from mmer.provenance import fingerprint; from mmer.corpora import CORPORA\n"
            "from mmer.corpora.tasks import make_shards\n"
            "reader = CORPORA['m3ed'].readers['pkl']\n"
            "print(fingerprint((), {}, (reader, make_shards)))"
        )
        here = {**os.environ, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", program]
        return subprocess.run(
            command, env=here, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    first = fingerprint("corpora/m3ed/reader.py", "# a comment")
    for elsewhere in ("corpora/data_report.py", "corpora/mosei/csd.py", "corpora/workers.py"):
        (tmp_path / "mmer" / elsewhere).open("a").write("CHANGED = True\n")
    assert fingerprint("corpora/m3ed/reader.py", "# another") == first
    prints = {
        fingerprint(module, "CHANGED = True")
        for module in ("corpora/m3ed/reader.py", "samples/table.py", "corpora/splits.py")
    }
    assert len(prints | {first}) == 4


def test_a_file_with_other_content_stops_the_alignment_whatever_its_times_say(
    open_toy, folder, tmp_path
) -> None:
    manifest, path = open_toy(folder), folder / "some" / "a.txt"
    stat, content = path.stat(), path.read_text()
    path.write_text(content.replace("g3", "g9"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(InputError, match=r"some/a\.txt: expected the file as it was"):
        aligned_table(manifest, "train", tmp_path)
    path.unlink()
    with pytest.raises(InputError, match="found nothing"):
        aligned_table(manifest, "train", tmp_path)


def test_a_file_with_other_times_and_the_same_content_is_the_same(
    open_toy, folder, tmp_path
) -> None:
    manifest, path = open_toy(folder), folder / "some" / "a.txt"
    content = path.read_text()
    path.unlink()
    path.write_text(content)
    assert len(aligned_table(manifest, "test", tmp_path)) == 4


def test_a_file_that_changes_while_it_is_read_leaves_no_table(open_toy, folder, tmp_path) -> None:
    manifest = open_toy(folder)
    (folder / "rewrite").touch()
    with pytest.raises(InputError, match="files that stay as they are while they are read"):
        aligned_table(manifest, "train", tmp_path / "tables")
    assert not list((tmp_path / "tables").rglob("*.arrow"))


def test_a_file_that_another_one_stood_in_for_while_it_was_read_leaves_no_table(
    open_toy, folder, tmp_path
) -> None:
    manifest = open_toy(folder)
    (folder / "swap and swap back").touch()
    with pytest.raises(InputError, match="files that stay as they are while they are read"):
        aligned_table(manifest, "train", tmp_path / "tables")
    manifest.check_files()  # in the end all have the content that they had
    assert not list((tmp_path / "tables").rglob("*.arrow"))


def test_limits_follow_the_corpus_and_not_what_else_lies_in_its_folder(tmp_path) -> None:
    (tmp_path / "a.csd").write_bytes(b"x" * 10_000)
    with (tmp_path / "holes.csd").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "video.mp4").write_bytes(b"x" * 100_000)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.csd").write_bytes(b"x" * 100_000)
    assert RawCorpus(path=tmp_path).size < 20_000
    assert RawCorpus(path=tmp_path).size_with(["other"]) >= 100_000


def test_a_mapped_file_that_is_cut_while_it_is_read_is_an_error_and_no_crash(
    open_toy, folder, tmp_path
) -> None:
    manifest = open_toy(folder)
    (folder / "cut what is mapped").touch()
    with pytest.raises(InputError, match=r"raw: expected a file that stays as it is"):
        aligned_table(manifest, "train", tmp_path)


def test_the_best_score_of_synthetic_files_reaches_the_tables(folder, tmp_path) -> None:
    raw = RawCorpus(path=folder, synthetic=True, bayes_optimal={"micro_f1": 0.8})
    manifest = open_corpus("toy", raw, CORPORA["toy"].ingestion())
    assert aligned_table(manifest, "test", tmp_path).info.bayes_optimal == {"micro_f1": 0.8}
