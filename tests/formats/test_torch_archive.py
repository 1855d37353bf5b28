"""torch.save's two layouts: tensors and plain data come as numpy arrays, nothing is run."""

from __future__ import annotations

import argparse
import codecs
import pickle
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import hostile
import mutations
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer.errors import InputError, UntrustedDataError
from mmer.formats.torch_archive import read_torch

LAYOUTS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def _saved(path: Path, value: object, legacy: bool = False) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


class Bytes:
    """Pickles as bytes, as those of arrays do: as a call that makes them from text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self) -> tuple:
        return codecs.encode, (self.text, "latin1")


@LAYOUTS
def test_contents_come_as_numpy_and_plain_data(tmp_path, legacy) -> None:
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    tensors = {
        "whole": base,
        "transposed": base.transpose(0, 2),
        "part": base[1, :, ::2],
        "double": torch.tensor([1.5, -2.0], dtype=torch.float64),
        "half": torch.ones(3, dtype=torch.float16),
        "integers": torch.tensor([[1, -2]]),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 5),
    }
    content = {
        "tensors": tensors,
        "booleans": torch.tensor([True, False]),
        "rows": list(base[0]),
        "array": np.arange(3.0),
        "settings": argparse.Namespace(max_text_seq_len=60, source=None),
    }
    found = read_torch(_saved(tmp_path / "file.pt", content, legacy))
    for name, tensor in tensors.items():
        assert found["tensors"][name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(found["tensors"][name], tensor.numpy())
    np.testing.assert_array_equal(found["booleans"], [1, 0])
    np.testing.assert_array_equal(np.stack(found["rows"]), base[0].numpy())
    np.testing.assert_array_equal(found["array"], [0, 1, 2])
    assert found["settings"] == {"max_text_seq_len": 60, "source": None}


@LAYOUTS
def test_many_parts_of_one_large_tensor(tmp_path, legacy) -> None:
    whole = torch.arange(3_000_000.0).reshape(1000, 3000)
    found = read_torch(_saved(tmp_path / "file.pt", list(whole), legacy))
    np.testing.assert_array_equal(np.stack(found), whole.numpy())


def _allocated(path: Path) -> int:
    tracemalloc.start()
    _ = read_torch(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@LAYOUTS
def test_tensors_are_views_of_the_file(tmp_path, legacy) -> None:
    path = _saved(tmp_path / "file.pt", [torch.ones(100, 1000) for _ in range(10)], legacy)
    assert _allocated(path) < path.stat().st_size / 10


@LAYOUTS
@pytest.mark.parametrize("count", [1, 80])
def test_arrays_are_in_memory_once(tmp_path, legacy, count) -> None:
    """`torch.save` writes their bytes as text, one large array's too."""
    arrays = list(np.random.default_rng(0).normal(size=(count, 2_000_000 // count)))
    path = _saved(tmp_path / "file.pt", arrays, legacy)
    np.testing.assert_array_equal(read_torch(path), arrays)
    assert _allocated(path) < 1.3 * sum(array.nbytes for array in arrays)


@LAYOUTS
def test_text_that_became_bytes_is_text_where_it_is_repeated(tmp_path, legacy) -> None:
    text = "é" * 3000
    content = [Bytes(text), text, (text,)]
    assert read_torch(_saved(tmp_path / "file.pt", content, legacy)) == [
        text.encode("latin-1"),
        text,
        (text,),
    ]


@LAYOUTS
def test_one_large_tensor_in_too_many_places(tmp_path, legacy) -> None:
    path = _saved(tmp_path / "file.pt", [torch.zeros(1_000_000)] * 100, legacy)
    with pytest.raises(InputError, match="many times larger than the file"):
        read_torch(path)


@LAYOUTS
@pytest.mark.parametrize("number", range(len(mutations.intruders(Path("canary")))))
def test_no_code_is_run(tmp_path, legacy, number) -> None:
    canary = tmp_path / "canary"
    path = _saved(tmp_path / "file.pt", {"x": mutations.intruders(canary)[number]}, legacy)
    with pytest.raises(UntrustedDataError):
        read_torch(path)
    assert not canary.exists()


@LAYOUTS
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (torch.device("cpu"), "torch.device"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        (torch.zeros(1, dtype=torch.bfloat16), "torch.BFloat16Storage"),
    ],
)
def test_other_types_are_refused_by_name(tmp_path, legacy, value, name) -> None:
    with pytest.raises(UntrustedDataError, match=rf"found {name}\."):
        read_torch(_saved(tmp_path / "file.pt", [value], legacy))


@LAYOUTS
def test_an_expanded_tensor_is_refused(tmp_path, legacy) -> None:
    path = _saved(tmp_path / "file.pt", torch.zeros(1).expand(1000, 1000, 1000), legacy)
    with pytest.raises(InputError, match="a tensor beyond its storage"):
        read_torch(path)


@LAYOUTS
@settings(max_examples=60, deadline=None)
@given(random=st.randoms(use_true_random=False))
def test_broken_files_give_our_own_error_or_a_value(tmp_path_factory, legacy, random) -> None:
    path = tmp_path_factory.mktemp("broken") / "file.pt"
    content = bytearray(_saved(path, {"x": torch.ones(3), "y": [1]}, legacy).read_bytes())
    for _ in range(random.randint(1, 3)):
        content[random.randrange(len(content))] = random.randrange(256)
    path.write_bytes(content[: random.randint(1, 2 * len(content))])
    with suppress(InputError):
        read_torch(path)


def _rewritten(path: Path, change, compression=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in change(entries).items():
            archive.writestr(name, content)
    return path


def test_an_entry_missing(tmp_path) -> None:
    path = _saved(tmp_path / "file.pt", torch.ones(3))
    _rewritten(path, lambda entries: {k: v for k, v in entries.items() if "data/0" not in k})
    with pytest.raises(InputError, match=r"data/0\]: expected an entry of this name"):
        read_torch(path)


def test_a_storage_cut_off(tmp_path) -> None:
    path = _saved(tmp_path / "file.pt", torch.ones(3))
    _rewritten(path, lambda entries: {k: v[:8] if "data/0" in k else v for k, v in entries.items()})
    with pytest.raises(InputError, match=r"2 numbers \(float32\) for 3"):
        read_torch(path)


def test_a_compressed_archive(tmp_path) -> None:
    path = _saved(tmp_path / "file.pt", torch.zeros(1000))
    _rewritten(path, dict, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="an uncompressed entry"):
        read_torch(path)


def test_bytes_changed_inside_a_storage_are_noticed(tmp_path) -> None:
    path = _saved(tmp_path / "file.pt", torch.full((100,), 3.0))
    content = path.read_bytes()
    place = content.index(np.float32(3).tobytes() * 10)
    path.write_bytes(content[:place] + b"\1" + content[place + 1 :])
    with pytest.raises(InputError, match="CRC"):
        read_torch(path)


def test_big_endian_files_are_refused(tmp_path) -> None:
    path = _saved(tmp_path / "file.pt", torch.ones(3))
    _rewritten(
        path, lambda entries: {k: b"big" if "byteorder" in k else v for k, v in entries.items()}
    )
    with pytest.raises(InputError, match="byteorder"):
        read_torch(path)


def test_keys_that_grow_when_printed(tmp_path) -> None:
    """They are in a list behind the older layout's objects."""
    path = _saved(tmp_path / "file.pt", {}, legacy=True)
    content = path.read_bytes()
    assert content.endswith(pickle.dumps([], 2))
    doubled = hostile.that_ask_for_too_much()["doubled tuples"]
    path.write_bytes(content[:-1] + pickle.MARK + doubled + pickle.APPENDS + pickle.STOP)
    with pytest.raises(InputError, match="not text"):
        read_torch(path)


def test_a_plain_pickle_is_no_file_of_torch(tmp_path) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(b"\x80\x02}." * 3)
    with pytest.raises(InputError, match="a pickle of something else"):
        read_torch(path)
