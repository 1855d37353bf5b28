from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from mmer.errors import InputError
from mmer.samples.table import Features
from mmer.systems import SYSTEMS
from mmer.systems.contract import FittedSystem, SystemInfo
from mmer.systems.storage import load_fitted, save_fitted

NAME = next(iter(SYSTEMS))


def fitted(**changes: object) -> FittedSystem:
    told = {
        "system": NAME,
        "title": "Toy",
        "settings": SYSTEMS[NAME].settings().model_dump(mode="json"),
        "labels": ("joy", "fear"),
        "features": {"face": Features(name="test", width=3)},
        "corpus": "toy",
        "synthetic": True,
        "fingerprint": "made-for-tests",
        **changes,
    }
    arrays = {
        "weight": torch.arange(6.0).view(2, 3),
        "count": torch.tensor(5),
        "nothing": torch.zeros(0, 4),
        "half": torch.ones(3, dtype=torch.bfloat16),
    }
    return FittedSystem(SystemInfo(**told), arrays)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    save_fitted(fitted(), path)
    return path.read_bytes()


def load_bytes(folder: Path, content: bytes) -> FittedSystem:
    path = folder / "somewhere.safetensors"
    path.write_bytes(content)
    return load_fitted(path)


def test_round_trip(tmp_path: Path) -> None:
    saved, path = fitted(), tmp_path / "folder" / "model.safetensors"
    save_fitted(saved, path)
    loaded = load_fitted(path)
    assert loaded.info == saved.info
    assert loaded.digest == saved.digest
    assert loaded.arrays.keys() == saved.arrays.keys()
    for name, array in saved.arrays.items():
        assert loaded.arrays[name].dtype == array.dtype
        assert torch.equal(loaded.arrays[name], array)
    assert [found.name for found in path.parent.iterdir()] == ["model.safetensors"]


def test_same_system_same_bytes(tmp_path: Path, content: bytes) -> None:
    save_fitted(fitted(), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == content


def test_the_digest_knows_every_array_and_what_it_was_fitted_on() -> None:
    saved = fitted()
    digests = {saved.digest, fitted(corpus="other").digest, fitted(fingerprint="other").digest}
    for name, array in saved.arrays.items():
        changed = array.clone()
        if changed.numel():
            changed.view(-1)[-1] += 1
            digests.add(replace(saved, arrays={**saved.arrays, name: changed}).digest)
        reshaped = array.reshape(*array.shape, 1)
        digests.add(replace(saved, arrays={**saved.arrays, name: reshaped}).digest)
    renamed = {("weights" if name == "weight" else name): x for name, x in saved.arrays.items()}
    digests.add(replace(saved, arrays=renamed).digest)
    assert len(digests) == 3 + 3 + 4 + 1


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_changed_byte_is_noticed(tmp_path: Path, content: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(content) - 1))
    damaged = bytearray(content)
    damaged[place] ^= data.draw(st.integers(1, 255))
    if content[place] == ord(" ") and chr(damaged[place]).isspace():
        return  # padding of the header may be any kind of space
    with pytest.raises(InputError, match=r"somewhere\.safetensors"):
        load_bytes(tmp_path, bytes(damaged))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_truncated_file_is_noticed(tmp_path: Path, content: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(InputError, match=r"somewhere\.safetensors"):
        load_bytes(tmp_path, content[:length])


def hostile(header: object) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 64,
        (1 << 62).to_bytes(8, "little") + b"{}",
        hostile([]),
        hostile({}),
        hostile({"__metadata__": 3}),
        hostile({"__metadata__": {"mmer": "[" * 100_000}}),
        hostile(b"[" * 100_000),
        hostile(b'{"__metadata__": ' + b"9" * 10_000 + b"}"),
        hostile({"__metadata__": {"mmer": json.dumps({"digest": 1, "info": {"system": 1}})}}),
        hostile({"__metadata__": {"mmer": json.dumps({"digest": 1, "info": "{}"})}}),
    ],
    ids=range(10),
)
def test_hostile_files(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"somewhere\.safetensors"):
        load_bytes(tmp_path, content)


@pytest.mark.parametrize(
    ("weight", "match"),
    [
        ({"dtype": "F32", "shape": [1 << 40, 1 << 20], "data_offsets": [0, 4]}, "saved by mmer"),
        ({"dtype": "F4", "shape": [1], "data_offsets": [0, 4]}, "saved by mmer"),
        ({"dtype": "F32", "shape": [3], "data_offsets": [0, 0]}, "saved by mmer"),
        ({"dtype": "F32", "shape": "three", "data_offsets": [0, 4]}, "saved by mmer"),
        ({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "damaged"),
    ],
)
def test_hostile_arrays(tmp_path: Path, weight: dict, match: str) -> None:
    sealed = json.dumps({"digest": "0", "info": fitted().info.to_json()})
    header = {"__metadata__": {"mmer": sealed}, "weight": weight}
    with pytest.raises(InputError, match=match):
        load_bytes(tmp_path, hostile(header) + bytes(4))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"system": "unheard-of"}, "system.*unheard-of"),
        ({"settings": {"no such setting": 1}}, "settings"),
        ({"settings": {"training": {"epochs": "many"}}}, "settings"),
    ],
)
def test_whole_files_of_something_else(tmp_path: Path, changes: dict, match: str) -> None:
    path = tmp_path / "model.safetensors"
    save_fitted(fitted(**changes), path)
    with pytest.raises(InputError, match=match):
        load_fitted(path)


def test_other_safetensors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fitted system saved by mmer"):
        load_bytes(tmp_path, save({"weight": torch.zeros(2)}))
    with pytest.raises(InputError, match="fitted system saved by mmer"):
        load_fitted(tmp_path / "nothing.safetensors")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_fitted(fitted(), path)
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_fitted(fitted(corpus="other"), path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["model.safetensors"]
