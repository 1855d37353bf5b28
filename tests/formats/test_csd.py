"""Computational sequences: what is written is read back, and what is broken is refused by name."""

from __future__ import annotations

import json
import random
import re
import struct
import subprocess
import sys
import zlib
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pytest

from mmer.confined import Limits, confined
from mmer.errors import InputError
from mmer.formats.csd import ComputationalSequence, write_csd
from mmer.schema import Record

FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3)
INTERVALS = np.array([[0, 1], [1, 2], [2, 2], [2.5, 1]], float)
WORDS = np.array([[b"hello"], [b"sp"], [b"w\xc3\xb6rld"]])


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "COVAREP.csd"
    write_csd(path, "COVAREP", [("286943", FEATURES, INTERVALS), ("2869", FEATURES, INTERVALS)], "")
    return path


def _read(path: Path, video: str = "2869", width: int | None = 3):
    with ComputationalSequence(path, width) as file:
        return file.read(video)


def _refused(path: Path, width: int | None = 3) -> str:
    with pytest.raises(InputError) as caught:
        _read(path, width=width)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4"])
def test_what_is_written_is_read_back(tmp_path, compression, dtype):
    path = tmp_path / "new" / "a.csd"
    entries = [("one", FEATURES.astype(dtype), INTERVALS), ("none", FEATURES[:0], INTERVALS[:0])]
    write_csd(path, "FACET 4.2", entries, "faces", ["a", "b", "c"], compression)
    with ComputationalSequence(path, 3) as file:
        assert file.root_name == "FACET 4.2"
        assert sorted(file.ids) == ["none", "one"]
        assert "one" in file
        assert "on" not in file
        np.testing.assert_array_equal(file.read("one").features, FEATURES)
        np.testing.assert_array_equal(file.read("one").intervals, INTERVALS)
        assert file.read("none").features.shape == (0, 3)
    assert [file.name for file in path.parent.iterdir()] == ["a.csd"]


def test_words_are_bytes(tmp_path):
    write_csd(tmp_path / "w.csd", "words", [("2869", WORDS, INTERVALS[:3])], "")
    np.testing.assert_array_equal(_read(tmp_path / "w.csd", width=None).features, WORDS)
    assert "numbers (float) of shape (n, 3)" in _refused(tmp_path / "w.csd")


def test_metadata_are_read_back(tmp_path):
    path = tmp_path / "a.csd"
    write_csd(path, "FACET 4.2", [("one", FEATURES, INTERVALS)], "", ["a", "b", "c"])
    with ComputationalSequence(path, 3) as file:
        assert file.metadata("dimension names") == ["a", "b", "c"]
        assert file.metadata("root name") == "FACET 4.2"
        assert file.metadata("uuid") is None


def test_all_metadata_keys_of_the_sdk_are_written(path):
    with h5py.File(path) as file:
        assert len(file["COVAREP/metadata"]) == 11
        assert "featureset bib citation" in file["COVAREP/metadata"]


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("bare words", "bare words"),
        ('["a", "b"]', ["a", "b"]),
        ("", ""),
        ("[" * 100_000, "[" * 100_000),
        ("ü" * 3000, "ü" * 3000),
        ("['happiness', 'sadness']", "['happiness', 'sadness']"),
        ("[1, 2]", "[1, 2]"),
    ],
    ids=["bare", "json", "empty", "nested too deep", "long", "printed", "numbers"],
)
def test_metadata_are_json_or_bare(path, text, parsed):
    with h5py.File(path, "r+") as file:
        file["COVAREP/metadata/dimension names"][0] = text
    with ComputationalSequence(path, 3) as file:
        assert file.metadata("dimension names") == parsed


NAMES = ["sentiment", "happy", "schön"]
FIXED = np.array([name.encode() for name in NAMES], h5py.string_dtype(length=12))
VARIABLE = h5py.string_dtype()


@pytest.mark.parametrize(
    ("values", "dtype", "options", "stated"),
    [
        (NAMES, VARIABLE, {}, NAMES),
        (NAMES, VARIABLE, {"chunks": (2,), "maxshape": (None,), "compression": "gzip"}, NAMES),
        (FIXED, None, {}, NAMES),
        (FIXED[:, None], None, {"chunks": (1, 1)}, NAMES),
        (FIXED.astype("S12"), None, {}, NAMES),
        (json.dumps(NAMES), VARIABLE, {}, NAMES),
        (json.dumps(NAMES), h5py.string_dtype("ascii", 60), {}, NAMES),
        ([json.dumps(NAMES)], h5py.string_dtype(length=60), {"maxshape": (None,)}, NAMES),
        ([json.dumps(NAMES)], VARIABLE, {"chunks": (1,)}, NAMES),
        ("sentiment, happy", h5py.string_dtype("ascii", 20), {}, "sentiment, happy"),
        ([], VARIABLE, {}, None),
        (h5py.Empty(VARIABLE), None, {}, None),
    ],
)
def test_strings_in_every_storage_that_hdf5_has(tmp_path, values, dtype, options, stated):
    path = tmp_path / "labels.csd"
    with h5py.File(path, "w", userblock_size=512) as file:
        video = file.create_group("All Labels/data/2869")
        video["features"], video["intervals"] = FEATURES, INTERVALS
        metadata = file.create_group("All Labels/metadata")
        metadata.create_dataset("dimension names", data=values, dtype=dtype, **options)
    with ComputationalSequence(path, 3) as file:
        assert file.metadata("dimension names") == stated
        np.testing.assert_array_equal(file.read("2869").features, FEATURES)
        np.testing.assert_array_equal(file.read("2869").intervals, INTERVALS)


def _number(metadata: h5py.Group) -> None:
    metadata["dimension names"] = 1.5


def _references(metadata: h5py.Group) -> None:
    metadata.create_dataset("dimension names", data=[metadata.ref], dtype=h5py.ref_dtype)


def _large_chunk(metadata: h5py.Group) -> None:
    chunk = {"chunks": (1 << 26,), "maxshape": (None,), "compression": "gzip"}
    dataset = metadata.create_dataset("dimension names", (4,), "S12", **chunk)
    dataset.id.write_direct_chunk((0,), b"\x78\x9c" + b"\0" * 1000)


def _no_text(metadata: h5py.Group) -> None:
    metadata.create_dataset("dimension names", data=b"\xff\xfe")


def _terabytes(metadata: h5py.Group) -> None:
    metadata.create_dataset("dimension names", (1 << 40,), VARIABLE, chunks=(64,))


def _megabytes(metadata: h5py.Group) -> None:
    metadata.create_dataset("dimension names", data="x" * (2 << 20))


def _outside(metadata: h5py.Group) -> None:
    metadata["dimension names"] = h5py.ExternalLink("secret.csd", "/COVAREP/metadata/creator")


def _stored_outside(metadata: h5py.Group) -> None:
    metadata.create_dataset("dimension names", (1,), "S8", external=[("secret.csd", 0, 8)])


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (_number, "expected text, found float64"),
        (_references, "expected text, found object"),
        (_large_chunk, "cut off"),
        (_no_text, "decode"),
        (_terabytes, "at most 10000 short texts"),
        (_megabytes, "at most 1048576 characters"),
        (_outside, "data inside the file"),
        (_stored_outside, "data inside the file"),
        (lambda metadata: metadata.create_group("dimension names"), "damaged"),
    ],
)
def test_metadata_that_are_no_text_of_the_file(path, put, message):
    (path.parent / "secret.csd").write_bytes(path.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["COVAREP/metadata/dimension names"]
        put(file["COVAREP/metadata"])
    with (
        ComputationalSequence(path, 3) as file,
        pytest.raises(InputError, match=rf"metadata/dimension names\]: .*{message}"),
    ):
        file.metadata("dimension names")


def test_an_error_while_writing_leaves_what_was_there(path):
    before = path.read_bytes()

    def entries():
        yield "x", FEATURES, INTERVALS
        raise RuntimeError("the disk is on fire")

    with pytest.raises(RuntimeError, match="fire"):
        write_csd(path, "COVAREP", entries(), "")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_file_or_folder(tmp_path):
    assert "no such file" in _refused(tmp_path / "no.csd")
    assert "no such file" in _refused(tmp_path)


def test_another_width(path):
    assert "shape (n, 74), found float32 of shape (4, 3)" in _refused(path, 74)


def test_a_missing_entry(path):
    with ComputationalSequence(path, 3) as file, pytest.raises(InputError, match="28694"):
        file.read("28694")


def _damage(path: Path, **datasets: np.ndarray) -> None:
    """Put other datasets in the place of an entry's own."""
    with h5py.File(path, "r+") as file:
        group = file["COVAREP/data/2869"]
        for name, values in datasets.items():
            del group[name]
            group[name] = values


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"intervals": INTERVALS[:3]}, "one row for each of the features"),
        ({"intervals": INTERVALS[:, :1]}, "shape (n, 2)"),
        ({"intervals": INTERVALS.astype(int)}, "numbers (float)"),
        ({"intervals": np.full((4, 2), np.nan)}, "row 0: [nan nan]"),
        ({"intervals": INTERVALS - 9}, "seconds from the video's start"),
        ({"intervals": INTERVALS + np.inf}, "seconds from the video's start"),
        ({"features": FEATURES[0]}, "shape (n, 3)"),
        ({"features": FEATURES[None]}, "shape (n, 3)"),
        ({"features": FEATURES.astype(np.int64)}, "numbers (float) of shape"),
        ({"features": np.full((4, 3), b"word")}, "numbers (float) of shape"),
        ({"features": np.array([["a"] * 3] * 4, h5py.string_dtype())}, "numbers (float) of shape"),
    ],
)
def test_broken_entries(path, datasets, message):
    _damage(path, **datasets)
    assert message in _refused(path)
    assert len(_read(path, "286943").features) == 4


@pytest.mark.parametrize("gone", ["data", "data/2869", "data/2869/features", "data/2869/intervals"])
def test_what_is_not_there_is_named(path, gone):
    with h5py.File(path, "r+") as file:
        del file[f"COVAREP/{gone}"]
    assert gone.rsplit("/", 1)[-1] in _refused(path)


def test_no_root_two_roots_no_entries(tmp_path):
    for roots in ([], ["a", "b"]):
        with h5py.File(tmp_path / "r.csd", "w") as file:
            for root in roots:
                file.create_group(root)
        assert f"{len(roots)} groups" in _refused(tmp_path / "r.csd")
    write_csd(tmp_path / "e.csd", "COVAREP", [], "")
    with (
        ComputationalSequence(tmp_path / "e.csd", 3) as file,
        pytest.raises(InputError, match="at least one entry"),
    ):
        _ = file.ids


def test_names_that_are_not_text(path):
    path.write_bytes(path.read_bytes().replace(b"2869\0", b"28\xff9\0"))
    with ComputationalSequence(path, 3) as file, pytest.raises(InputError, match="are text"):
        _ = file.ids


def test_a_dataset_where_a_group_belongs(path):
    with h5py.File(path, "r+") as file:
        del file["COVAREP/data/2869"]
        file["COVAREP/data/2869"] = FEATURES
    assert "damaged" in _refused(path)


def _link_outside(file: h5py.File, kind: str) -> None:
    group = file["COVAREP/data/2869"]
    del group["features"]
    if kind == "soft link":
        group["features"] = h5py.SoftLink("/COVAREP/data/286943/features")
    elif kind == "external link":
        group["features"] = h5py.ExternalLink("secret.csd", "/COVAREP/data/2869/features")
    elif kind == "external storage":
        group.create_dataset("features", (4, 3), "f4", external=[("secret.csd", 0, 48)])
    else:
        layout = h5py.VirtualLayout((4, 3), "f4")
        layout[:] = h5py.VirtualSource("secret.csd", "COVAREP/data/2869/features", (4, 3))
        group.create_virtual_dataset("features", layout)


@pytest.mark.parametrize(
    "kind", ["soft link", "external link", "external storage", "virtual dataset"]
)
def test_nothing_leads_out_of_the_file(path, kind):
    (path.parent / "secret.csd").write_bytes(path.read_bytes())
    with h5py.File(path, "r+") as file:
        _link_outside(file, kind)
    assert "data inside the file" in _refused(path)


def test_filters_that_need_a_plug_in_are_refused(path):
    with h5py.File(path, "r+") as file:
        group = file["COVAREP/data/2869"]
        del group["features"]
        group.create_dataset("features", data=FEATURES, compression="lzf")
    assert "gzip or no compression" in _refused(path)


def test_a_shape_beyond_what_is_stored_allocates_nothing(path):
    with h5py.File(path, "r+") as file:
        group = file["COVAREP/data/2869"]
        del group["features"]
        group.create_dataset("features", (10**6, 3), "f4", chunks=(1000, 3), compression="gzip")
    assert "cut off" in _refused(path)


@pytest.mark.parametrize("rows", [4, 1 << 19])
def test_a_chunk_beyond_what_is_stored_is_not_unpacked(path, rows):
    """Chunks are unpacked whole, whatever part of them is asked for."""
    with h5py.File(path, "r+") as file:
        group = file["COVAREP/data/2869"]
        del group["features"]
        shape, chunks = (rows, 3), (1 << 26, 3)
        group.create_dataset(
            "features", shape, "f4", maxshape=(None, 3), chunks=chunks, compression="gzip"
        )
        group["features"].id.write_direct_chunk((0, 0), b"\x78\x9c" + b"\0" * 1000)
    assert "cut off" in _refused(path)


def test_compression_of_what_is_compressed_is_refused(path):
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((4, 3))
    for _ in range(2):
        plan.set_deflate(9)
    with h5py.File(path, "r+") as file:
        group = file["COVAREP/data/2869"]
        del group["features"]
        space = h5py.h5s.create_simple((4, 3))
        dataset = h5py.h5d.create(group.id, b"features", h5py.h5t.IEEE_F32LE, space, plan)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, FEATURES)
    assert "gzip or no compression" in _refused(path)


def test_a_file_cut_off_anywhere(path):
    content = path.read_bytes()
    cut = path.with_name("cut.csd")
    for length in [0, 1, 100, len(content) // 2, len(content) - 1]:
        cut.write_bytes(content[:length])
        assert "damaged or cut off" in _refused(cut)


_FUZZ = """
import sys
from pathlib import Path
from mmer.formats.csd import ComputationalSequence
from mmer.errors import InputError
for path in map(Path, sys.argv[1:]):
    try:
        with ComputationalSequence(path, 3) as file:
            for video in file.ids:
                features, intervals = file.read(video)
                assert features.shape == (len(intervals), 3)
    except InputError:
        print("refused")
    else:
        print("read")
"""


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_files_with_bytes_changed_are_read_or_refused(tmp_path, compression):
    """In a process of their own, which must neither crash nor hang."""
    entries = [(f"video{i}", FEATURES, INTERVALS) for i in range(12)]
    write_csd(tmp_path / "whole.csd", "COVAREP", entries, "", compression=compression)
    content = (tmp_path / "whole.csd").read_bytes()
    mutants = []
    for seed in range(300):
        rng, mutant = random.Random(seed), bytearray(content)
        for _ in range(rng.choice([1, 2, 5, 30, 200])):
            mutant[rng.randrange(len(mutant))] = rng.choice([0, 255, rng.randrange(256)])
        mutants.append(tmp_path / f"{seed}.csd")
        mutants[-1].write_bytes(mutant)
    command = [sys.executable, "-c", _FUZZ, *map(str, mutants)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = done.stdout.split()
    assert len(outcomes) == len(mutants)
    assert set(outcomes) == {"read", "refused"}


def _heap_objects(content: bytes) -> dict[int, int]:
    """Index of each object of the global heap, 0 being the free space -> where it begins."""
    heap = content.index(b"GCOL")
    found, at = {}, heap + 16
    while 0 not in found:
        index, size = struct.unpack_from("<H6xQ", content, at)
        found[index] = at
        at += 16 + -(-size // 8) * 8
    return found


class File(Record):
    path: Path


class Names(Record):
    names: tuple[str, ...]


def dimension_names(file: File) -> Names:
    """What `confined` runs below."""
    with ComputationalSequence(file.path, 3) as sequence:
        return Names(names=sequence.metadata("dimension names"))


@pytest.mark.parametrize(
    ("index", "message"), [(0, "within 2 s of processor time"), (2, "damaged")]
)
def test_a_damaged_heap_on_which_libhdf5_hangs_or_fails_is_refused(
    path, index, message, monkeypatch
):
    """With the free space's size 0, libhdf5 never returns from reading any of the texts."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    this = import_module("test_csd")
    content = bytearray(path.read_bytes())
    struct.pack_into("<Q", content, _heap_objects(content)[index] + 8, 0)
    path.write_bytes(content)
    limits = Limits(memory=200_000_000, seconds=2, file_size=0)
    with pytest.raises(InputError, match=message):
        confined(this.dimension_names, this.File(path=path), limits, path)
    np.testing.assert_array_equal(_read(path).features, FEATURES)


def test_a_dataset_that_asks_for_hundreds_of_megabytes_is_refused(path):
    """Zeros, of which gzip makes a thousandth: the file has a third of a megabyte."""
    rows, chunk, width = 900_000, 100_000, 80
    packed = zlib.compress(bytes(4 * chunk * width), 9)
    with h5py.File(path, "r+") as file:
        group = file["COVAREP/data/2869"]
        del group["features"]
        features = group.create_dataset(
            "features", (rows, width), "f4", chunks=(chunk, width), compression="gzip"
        )
        for begin in range(0, rows, chunk):
            features.id.write_direct_chunk((begin, 0), packed)
    assert path.stat().st_size < 400_000
    assert "cut off" in _refused(path, width)


@pytest.mark.parametrize(
    ("features", "intervals"),
    [
        (np.zeros((1_000_001, 3), "f4"), np.zeros((1_000_001, 2))),
        (FEATURES, INTERVALS + np.array([0, 86_400])),
    ],
)
def test_no_video_has_a_million_rows_or_lasts_a_day(tmp_path, features, intervals):
    write_csd(tmp_path / "long.csd", "COVAREP", [("2869", features, intervals)], "")
    assert re.search("at most 1000000 rows|seconds from", _refused(tmp_path / "long.csd"))


def test_an_all_zero_track_of_half_an_hour_is_read(tmp_path):
    """What gzip makes a thousand times smaller may be lawful: a face that was never found."""
    rows = 30 * 1800
    starts = np.arange(rows)[:, None] / 30
    entry = ("2869", np.zeros((rows, 35), "f4"), np.hstack([starts, starts + 1 / 30]))
    write_csd(tmp_path / "long.csd", "FACET 4.2", [entry], "")
    assert not _read(tmp_path / "long.csd", width=35).features.any()
