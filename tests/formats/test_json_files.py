"""JSON files as a whole, and named vectors one at a time."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmer.errors import InputError
from mmer.formats.json_files import NamedVectors, read_json


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "file.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_file_is_what_it_says(tmp_path) -> None:
    content = {"a": [1, 2.5, None, {"b": "é"}], "c": True}
    assert read_json(written(tmp_path, json.dumps(content))) == content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "each name of an object once, found 'a' 2 times"),
        ('{"x": [{"a": 1, "b": 3, "a": 2}]}', "each name of an object once"),
        ('{"a": 1', "a whole JSON file"),
        ("[" * 100_000, "a whole JSON file"),
        (b"\xff\xfe\xff", "a whole JSON file"),
        ("1" * 10_000, "a whole JSON file"),
        ("", "a file with content"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path, text, message) -> None:
    with pytest.raises(InputError, match=message):
        read_json(written(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path) -> None:
    for reader in (read_json, NamedVectors):
        with pytest.raises(InputError, match="no such file"):
            reader(tmp_path / "nothing.json")


NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
FLOATS = st.floats(width=32) | st.integers(-(10**6), 10**6)


@given(
    vectors=st.dictionaries(NAMES, st.lists(FLOATS, min_size=3, max_size=3), min_size=1),
    indent=st.sampled_from([None, 0, 2]),
    ascii_only=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_vectors_are_those_that_were_written(tmp_path, vectors, indent, ascii_only) -> None:
    path = tmp_path / "vectors.json"
    text = json.dumps(vectors, indent=indent, ensure_ascii=ascii_only)
    path.write_text(text, encoding="utf-8")
    found = NamedVectors(path)
    assert (len(found), found.width) == (len(vectors), 3)
    assert "no such name that anybody would draw" not in found
    for name, values in vectors.items():
        assert name in found
        np.testing.assert_array_equal(found[name], np.array(values, np.float64))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "named vectors, found none"),
        ("[1, 2]", "an object of named vectors"),
        ('{"a": [1, 2]', r"byte 1\]: expected a name, and behind it a list of numbers"),
        ('{"a": [1, 2], }', "a name, and behind it"),
        ('{"a": [1, 2}', "a name, and behind it"),
        ('{"a": 1}', "a name, and behind it"),
        ('{"a": [[1, 2]]}', "a name, and behind it"),
        ('{"a": [1], "a": [2]}', r"\[a\]: expected each name once"),
        (r'{"\ud800": [1]}', "byte 1.*a name"),
        (r'{"\x": [1]}', "byte 1.*a name"),
        ('{"%s": [1]}' % ("a" * 1001), "a name, and behind it"),
        ('{"a": [1]} x', "the end of the file"),
        ('{"a": []}', "a vector of numbers, found an empty list"),
        ('{"a": ["1"]}', "a list of numbers"),
        ('{"a": [true]}', "a list of numbers"),
        ('{"a": [1%s]}' % ("0" * 400), "a list of numbers"),
        ('{"a": [1 2]}', "a list of numbers"),
        (b'{"a": [\xff]}', "a list of numbers"),
    ],
)
def test_what_is_no_object_of_vectors_is_refused(tmp_path, text, message) -> None:
    with pytest.raises(InputError, match=message):
        NamedVectors(written(tmp_path, text))


def test_a_vector_of_another_width_is_refused_when_it_is_asked_for(tmp_path) -> None:
    found = NamedVectors(written(tmp_path, '{"a": [1, 2], "b": [3], "c": [4, 5]}'))
    assert found["c"].tolist() == [4, 5]
    with pytest.raises(InputError, match=r"\[b\]: expected 2 numbers.*found 1"):
        found["b"]
    with pytest.raises(KeyError):
        found["d"]


def test_only_the_vector_that_is_asked_for_is_held(tmp_path) -> None:
    rows = {str(i): np.random.default_rng(i).normal(size=500).tolist() for i in range(400)}
    path = written(tmp_path, json.dumps(rows))
    size = path.stat().st_size
    tracemalloc.start()
    try:
        found = NamedVectors(path)
        for name, row in rows.items():
            np.testing.assert_array_equal(found[name], row)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size / 10
