"""Files at an address: whole or not at all, found by every process, named in every message.

The addresses are of fsspec's store in memory, which belongs to one process.
"""

from __future__ import annotations

import copy
import os
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations
from kedro.config import OmegaConfigLoader
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import AbstractDataset, DataCatalog, DatasetError, Version
from kedro.pipeline import Pipeline, node

from mmer.datasets.files import TextFile, VersionedFile
from mmer.datasets.finished import Finished
from mmer.datasets.places import Address, AddressError, Disk, place_of
from mmer.datasets.sample_tables import SampleTableFile
from mmer.errors import InputError
from mmer.hooks.saved import Saved
from mmer.metrics.seeds import ComparedSystems
from mmer.runners.at_worker import remove_version
from mmer.samples.table import SampleTable
from mmer.schema import Record

ROOT = Path(__file__).resolve().parents[2]
RESULTS = "memory://results of/mine"
TEXT = f"{RESULTS}/text.txt"
TABLE = f"{RESULTS}/train.arrow"

Tables = Callable[..., SampleTable]


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch) -> MemoryFileSystem:
    """An empty store, and no copies of what was in others."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    return fsspec.filesystem("memory")


def text(version: str | None = None, kind: type[TextFile] = TextFile) -> TextFile:
    return kind(filepath=TEXT, version=Version(None, version))


def test_versions_are_saved_and_loaded(store):
    for version in ("1", "2"):
        text(version).save(f"text {version}")
    assert text().load() == "text 2"
    assert TextFile(filepath=TEXT, version=Version("1", None)).load() == "text 1"
    assert text().place.versions() == ["2", "1"]
    assert [name.rpartition("mine")[2] for name in sorted(store.store)] == [
        "/text.txt/1/text.txt",
        "/text.txt/2/text.txt",
    ]
    assert not TextFile(filepath=f"{RESULTS}/other.txt").exists()


def test_processes_may_be_sent_a_dataset():
    text("1").save("text")
    for sent in (copy.copy(text()), pickle.loads(pickle.dumps(text()))):
        assert sent.load() == "text"


def test_a_copy_that_fails_leaves_what_was_there(store, monkeypatch):
    TextFile(filepath=TEXT).save("first")

    def half(self: MemoryFileSystem, file: str, path: str) -> None:
        self.pipe_file(path, b"ha")
        raise TimeoutError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", half)
        with pytest.raises(DatasetError, match=r"results of/mine/text.txt: expected .* gone"):
            TextFile(filepath=TEXT).save("second")
    assert TextFile(filepath=TEXT).load() == "first"
    assert len(store.store) == 1


@pytest.mark.parametrize("place", ["", "text.txt/1/"])
def test_what_a_killed_run_left_is_swept(store, place):
    left = f"/results of/mine/{place}.text.txt.of-a-killed-run.unfinished"
    store.pipe_file(left, b"half")
    dataset = text("2") if place else TextFile(filepath=TEXT)
    dataset.save("whole")
    assert store.exists(left)  # its writer may be alive
    store.store[left].modified = datetime(2020, 1, 1, tzinfo=UTC)
    dataset = text("3") if place else dataset
    dataset.save("whole")
    assert not store.exists(left)


def test_what_a_lost_worker_left_is_removed():
    text("1").save("of another run")
    text("2").save("of this run")
    remove_version(text("2"))
    assert text().place.versions() == ["1"]


class Note(Record):
    key: str
    content: tuple[str, ...] = ()


def test_finished_work_is_found_by_its_receipt():
    finished = Finished({"receipt": _receipts("3")})
    for version, key in (("1", "a"), ("2", "b"), ("3", "a")):
        _receipts(version).save(Note(key=key))
    assert finished.find("b") == (Note(key="b"),)
    assert finished.find("c") is None


def _receipts(version: str) -> VersionedFile:
    kind = "mmer.datasets.finished.Receipt"
    made = AbstractDataset.from_config(
        "receipt",
        {
            "type": "mmer.datasets.files.RecordFile",
            "record": kind,
            "filepath": f"{RESULTS}/trained.json",
            "versioned": True,
        },
        save_version=version,
    )
    assert isinstance(made, VersionedFile)
    made._record = Note
    return made


def test_a_store_that_is_away_is_not_taken_for_empty(monkeypatch):
    _receipts("1").save(Note(key="a"))

    def away(*_: object, **__: object) -> None:
        raise ConnectionError("no answer")

    monkeypatch.setattr(MemoryFileSystem, "get_file", away)
    with pytest.raises(AddressError, match="no answer"):
        Finished({"receipt": _receipts("2")}).find("a")


def test_a_file_that_is_wrong_is_named_by_its_address(store):
    store.pipe_file("/results of/mine/trained.json/1/trained.json", b'{"key": 1}')
    with pytest.raises(DatasetError, match=r"memory://results of/mine/trained.json/1/trained.json"):
        _receipts("2").load()


def test_a_table_is_fetched_once_for_each_state_of_it(toy_table: Tables, monkeypatch):
    fetched = _counted(monkeypatch)
    for count in (5, 7):
        SampleTableFile(filepath=TABLE).save(toy_table(count))
        for _ in range(2):
            assert len(SampleTableFile(filepath=TABLE).load()) == count
    assert len(fetched) == 2


def test_of_those_who_ask_for_a_table_at_once_one_fetches_it(toy_table: Tables, monkeypatch):
    SampleTableFile(filepath=TABLE).save(toy_table(5))
    fetched = _counted(monkeypatch)
    with ThreadPoolExecutor(4) as threads:
        tables = list(threads.map(lambda _: SampleTableFile(filepath=TABLE).load(), range(4)))
    assert {len(table) for table in tables} == {5}
    assert len(fetched) == 1


def test_a_copy_that_was_damaged_is_fetched_anew(toy_table: Tables):
    SampleTableFile(filepath=TABLE).save(toy_table(50))
    dataset = SampleTableFile(filepath=TABLE)
    _damage(dataset.load().path)
    assert len(dataset.load()) == 50


def test_a_table_that_is_damaged_there_does_not_exist(store, toy_table: Tables, tmp_path):
    made = shutil.copy(toy_table(50).path, tmp_path / "damaged.arrow")
    _damage(made)
    store.put_file(str(made), "/results of/mine/train.arrow")
    assert not SampleTableFile(filepath=TABLE).exists()


def test_copies_of_earlier_tables_go_after_a_day(toy_table: Tables):
    kept = []
    for count in (5, 6, 7):
        SampleTableFile(filepath=TABLE).save(toy_table(count))
        kept.append(SampleTableFile(filepath=TABLE).load().path)
        if count == 5:
            os.utime(kept[0], (0, 0))
    assert [path.exists() for path in kept] == [False, True, True]


def _counted(monkeypatch) -> list[str]:
    fetched: list[str] = []
    real = MemoryFileSystem.get_file

    def count(self: MemoryFileSystem, path: str, *rest: object, **more: object) -> None:
        fetched.append(path)
        real(self, path, *rest, **more)

    monkeypatch.setattr(MemoryFileSystem, "get_file", count)
    return fetched


def _damage(path: Path) -> None:
    whole = path.read_bytes()
    path.unlink()
    place = len(whole) // 2 // 4 * 4
    path.write_bytes(whole[:place] + bytes(64) + whole[place + 64 :])


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/project/a folder/x.json", "/project/a folder/x.json"),
        ("file:///a/b//x.json", "/a/b/x.json"),
        ("/project/~/results/x.json", "/home/me/results/x.json"),
        ("~/results/x.json", "~/results/x.json"),
    ],
)
def test_folders_are_folders(given, path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert place_of(given) == Disk(type(place_of(given).path)(path))


def test_a_slash_too_many_makes_no_other_address():
    one, other = (place_of(f"memory://a{slashes}b/x.json") for slashes in ("/", "//"))
    assert one == other
    assert isinstance(one, Address)
    assert one.name(one.path / "1" / "x.json") == "memory://a/b/x.json/1/x.json"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nosuch://place/x", "nosuch://place/x: expected an address .* found Protocol not known"),
        ("http://host/x", "http://host/x: expected an address that files can be written to"),
        ("ftp://me:secret@127.0.0.1:1/x", r"ftp://127.0.0.1:1/x: expected a store that answers"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_message(address, told):
    with pytest.raises(AddressError, match=told) as caught:
        TextFile(filepath=address)
    assert "secret" not in str(caught.value)


def test_a_package_that_is_missing_is_named(monkeypatch):
    unknown = {"class": "nosuch_package.FileSystem", "err": "Install nosuch_package"}
    monkeypatch.setitem(known_implementations, "toy", unknown)
    with pytest.raises(AddressError, match="Install nosuch_package"):
        TextFile(filepath="toy://place/x")


def one_node(catalog: DataCatalog) -> Saved:
    return Saved(Pipeline([node(lambda: "page", None, "toy.report", name="one")]), catalog)


def test_what_a_run_saves_at_an_address_is_told_and_given_to_mlflow(capsys):
    report = TextFile(filepath=TEXT, version=Version(None, "1"), metadata={"mlflow": "artifact"})
    saved = one_node(DataCatalog({"toy.report": report}))
    assert saved.now() == []
    report.save("page")
    assert saved.now() == ["toy.report"]
    saved.tell()
    assert "The report:            memory://results of/mine/text.txt/1/text.txt" in (
        capsys.readouterr().out
    )
    file = saved.file("toy.report")
    assert (file.name, file.read_text()) == ("text.txt", "page")
    saved.close()
    assert not file.exists()


def test_where_nothing_can_be_written_nothing_is_begun(store, monkeypatch):
    catalog = DataCatalog({"toy.report": text("1")})
    one_node(catalog)
    assert store.find("/") == []

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "put_file", refuse)
    with pytest.raises(InputError, match=r"memory://results of.*Access Denied"):
        one_node(catalog)


@pytest.mark.parametrize("given", [None, "memory://bucket/folder", "/mnt/share/"])
def test_one_parameter_moves_all_results(given):
    loader = OmegaConfigLoader(
        str(ROOT / "conf"),
        base_env="base",
        default_run_env="test",
        config_patterns={"catalog": ["catalog.yml"]},
        runtime_params={"results": given} if given else {},
    )
    entries = {name: entry for name, entry in loader["catalog"].items() if "filepath" in entry}
    results = {
        name: entry["filepath"]
        for name, entry in entries.items()
        if entry["type"].startswith("mmer.datasets.files.") or "SampleTable" in entry["type"]
    }
    assert len(results) > 20
    assert all(path.startswith(given or "data/") for path in results.values())
    others = [str(entries[name]["filepath"]) for name in entries.keys() - results.keys()]
    assert others
    assert not any("mnt" in path or "memory" in path for path in others)


@pytest.mark.slow
def test_a_comparison_at_an_address_is_that_in_a_folder_and_goes_on(tmp_path, monkeypatch, store):
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for part in ("src", "conf/local"):
        (tmp_path / part).mkdir(parents=True)
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, tmp_path / name)
    ignored = shutil.ignore_patterns("local")
    shutil.copytree(ROOT / "conf", tmp_path / "conf", ignore=ignored, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    def run(params: dict[str, str]) -> None:
        bootstrap_project(tmp_path)
        with KedroSession.create(tmp_path, env="test", runtime_params=params) as session:
            session.run(pipeline_names=["compare_m3ed"])

    made = "08_reporting/test/m3ed/compared_systems.json/*/*"
    run({})
    (in_folder,) = tmp_path.glob(f"data/{made}")
    assert ComparedSystems.read(in_folder).systems
    expected = in_folder.read_bytes()
    shutil.rmtree(tmp_path / "data")
    for times in (1, 2):
        run({"results": "memory://results"})
        assert not list(tmp_path.glob("data/03_*")) + list(tmp_path.glob("data/08_*"))
        found = store.glob(f"/results/{made}")
        assert len(found) == times
        assert {store.cat_file(path) for path in found} == {expected}
    trained = store.glob("/results/06_models/test/m3ed/pooled_seed_1/trained.json/*/*")
    assert len({store.cat_file(path) for path in trained}) == 1, "taken and not trained again"
