"""Plain data are read as pickle.load reads them; whatever else a pickle asks for is refused."""

from __future__ import annotations

import argparse
import os
import pickle
import resource
import struct
import tracemalloc
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import hostile
import mutations
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmer.errors import InputError, UntrustedDataError
from mmer.formats.restricted_pickle import read_pickle, read_pickles, unpickle

PROTOCOLS = range(6)

KEYS = st.text(max_size=5) | st.binary(max_size=5) | st.integers(-(2**30), 2**30)
NUMBERS = st.integers() | st.floats(allow_nan=False) | st.booleans()
PLAIN = st.recursive(
    st.none() | NUMBERS | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(KEYS, max_size=4)
    ),
    max_leaves=20,
)
NUMERIC = hnp.floating_dtypes(sizes=(16, 32, 64)) | hnp.integer_dtypes() | hnp.boolean_dtypes()
ARRAYS = hnp.arrays(
    NUMERIC | hnp.unsigned_integer_dtypes(), hnp.array_shapes(min_dims=0, min_side=0, max_side=4)
)


def _read(content: bytes) -> object:
    value, end = unpickle("test", content)
    assert end == len(content)
    return value


def _typed(value: object) -> object:
    """The value with its types spelt out, for 1, 1.0 and True are equal."""
    if isinstance(value, dict):
        return [(_typed(k), _typed(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [_typed(v) for v in value]
    if isinstance(value, set):
        return {_typed(v) for v in value}
    return type(value), value


@settings(max_examples=50, deadline=None)
@given(PLAIN, st.sampled_from(PROTOCOLS))
def test_plain_data_come_back_as_pickled(value, protocol) -> None:
    assert _typed(_read(pickle.dumps(value, protocol))) == _typed(value)


@settings(max_examples=50, deadline=None)
@given(ARRAYS, st.sampled_from(PROTOCOLS), st.booleans())
def test_arrays_come_back_as_pickled(array, protocol, fortran) -> None:
    array = np.asfortranarray(array) if fortran else array
    found = _read(pickle.dumps([array, array], protocol))
    for one in found:
        assert one.dtype == array.dtype
        np.testing.assert_array_equal(one, array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_text_and_object_arrays_come_as_lists(protocol) -> None:
    arrays = [
        np.array([["a", "bé"], ["", "d"]]),
        np.array([b"a", b"bc"]),
        np.array(["a", 1, None, [2.5]], dtype=object),
        np.array([["a", 1], ["b", 2]], dtype=object),
    ]
    assert _read(pickle.dumps(arrays, protocol)) == [array.tolist() for array in arrays]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_scalars_come_as_plain_numbers(protocol) -> None:
    scalars = [np.float32(1.5), np.int64(-3), np.bool_(True), np.str_("é"), np.bytes_(b"x")]
    assert _typed(_read(pickle.dumps(scalars, protocol))) == _typed([1.5, -3, True, "é", b"x"])


@pytest.mark.parametrize("protocol", range(2, 6))
def test_ordered_dicts_and_namespaces_come_as_dicts(protocol) -> None:
    namespace = argparse.Namespace(length=60, names=["a"])
    value = [OrderedDict(b=1, a=2), namespace, namespace]
    found = _read(pickle.dumps(value, protocol))
    assert found == [{"b": 1, "a": 2}, vars(namespace), vars(namespace)]
    assert list(found[0]) == ["b", "a"]


def test_python_2_wrote_bytes_as_text() -> None:
    """What Python 2 wrote for {"x": numpy.array([1.0, -2.0])}, in its protocols 0 and 2."""
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt"
        b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n%stb"
    )
    in_text = array % rb"S'\x00\x00\x00\x00\x00\x00\xf0?\x00\x00\x00\x00\x00\x00\x00\xc0'" % ()
    short = array % (b"U\x10" + np.array([1.0, -2.0]).tobytes())
    escaped = in_text.replace(b"c0'tb", b"c0'\ntb")
    for content in (escaped, short):
        found = _read(b"(dS'x'\n" + content + b"s.")
        np.testing.assert_array_equal(found["x"], [1.0, -2.0])


def _pickled_by_python_2(array: np.ndarray) -> bytes:
    """What Python 2 wrote for {"a": array}, a vector of float64, in its protocol 2."""
    return (
        b"\x80\x02}q\x00U\x01aq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03"
        b"K\x00\x85q\x04U\x01bq\x05\x87q\x06Rq\x07(K\x01J%b\x85q\x08cnumpy\ndtype\nq\x09U\x02f8q\x0a"
        b"K\x00K\x01\x87q\x0bRq\x0c(K\x03U\x01<q\x0dNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb"
        b"\x89T%b%bq\x0ftq\x10bs."
    ) % (*(struct.pack("<i", n) for n in (len(array), array.nbytes)), array.tobytes())


@pytest.mark.parametrize(
    ("written", "most"),
    [
        (lambda array: pickle.dumps({"a": array}, 4), 0.1),
        (_pickled_by_python_2, 0.1),
        (lambda array: pickle.dumps({"a": array}, 2), 1.2),
    ],
    ids=["protocol 4", "Python 2", "protocol 2"],
)
def test_large_arrays_are_views_of_the_file(tmp_path, written, most) -> None:
    """But for Python 3's protocol 2, in which they are text: it is decoded in pieces."""
    path = tmp_path / "large.pkl"
    array = np.random.default_rng(0).normal(size=3_000_000)
    path.write_bytes(written(array))
    tracemalloc.start()
    found = read_pickle(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found["a"], array)
    assert peak < most * array.nbytes


def test_long_strings_of_python_2_are_text_elsewhere() -> None:
    text = b"T" + struct.pack("<i", 5000) + b"\xe9" * 5000
    assert _read(b"\x80\x02](" + text + b"q\x01h\x01e.") == ["é" * 5000] * 2


def test_a_pipe_is_no_file(tmp_path) -> None:
    os.mkfifo(tmp_path / "features.pkl")
    with pytest.raises(InputError, match="a file with content"):
        read_pickle(tmp_path / "features.pkl")


def test_bytes_missing_from_a_frame_are_noticed() -> None:
    content = pickle.dumps(["a" * 20, "b"], 4)
    assert content.count(b"a" * 20) == 1
    shorter = content.replace(b"\x14" + b"a" * 20, b"\x0a" + b"a" * 10)
    with pytest.raises(InputError, match=r"a frame of \d+ bytes, cut off"):
        _read(shorter)


def test_arrays_of_another_layout_are_refused() -> None:
    content = pickle.dumps(np.arange(3), 4)
    assert content.count(b"(K\x01K\x03\x85") == 1
    with pytest.raises(InputError, match="another version of the layout"):
        _read(content.replace(b"(K\x01K\x03\x85", b"(K\x07K\x03\x85"))


def test_several_pickles_after_each_other(tmp_path) -> None:
    path = tmp_path / "several.pkl"
    path.write_bytes(b"".join(pickle.dumps(i) for i in range(3)))
    assert read_pickles(path, most=3) == [0, 1, 2]
    with pytest.raises(InputError, match="the end of the file"):
        read_pickle(path)


@pytest.mark.parametrize("name", hostile.that_run_code(Path("canary")))
def test_no_code_is_run(name, tmp_path) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(InputError) as caught:
        _read(b"\x80\x04" + hostile.that_run_code(canary)[name] + b".")
    assert not canary.exists()
    assert isinstance(caught.value, UntrustedDataError) or name in ("codec", "call of data")


@pytest.mark.parametrize(
    "name",
    ["EXT1", "EXT2", "EXT4", "FROZENSET", "INST", "NEWOBJ_EX", "NEXT_BUFFER", "OBJ", "PERSID"],
)
def test_instructions_that_plain_data_do_not_need_are_refused(name) -> None:
    with pytest.raises(UntrustedDataError, match="the pickle instruction"):
        _read(b"\x80\x05((" + getattr(pickle, name) + b"a\nb\n\x00\x00\x00.")


@pytest.mark.parametrize("name", ["system", "eval", "open", "stack global", "getattr", "instance"])
def test_the_same_pickles_run_code_elsewhere(name, tmp_path) -> None:
    canary = tmp_path / "canary"
    pickle.loads(b"\x80\x04" + hostile.that_run_code(canary)[name] + b".")
    assert canary.exists()


@pytest.mark.parametrize("number", range(len(mutations.intruders(Path("canary")))))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_are_refused_by_name(number, protocol, tmp_path) -> None:
    canary = tmp_path / "canary"
    intruder = mutations.intruders(canary)[number]
    with pytest.raises(UntrustedDataError) as caught:
        _read(pickle.dumps({"features": [1, intruder]}, protocol))
    assert not canary.exists()
    assert caught.value.where == "test"
    # the old protocols have no name for a method and call getattr instead
    assert {intruder.call[0].__name__, "getattr"} & set(caught.value.found.split("."))


@pytest.mark.parametrize("name", hostile.that_ask_for_too_much())
def test_a_small_file_cannot_ask_for_much(name) -> None:
    content = b"\x80\x04" + hostile.that_ask_for_too_much()[name] + b"."
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with suppress(InputError):
        _read(content)  # nested thousands deep, it must also go without a crash
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 100_000  # kB


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(PROTOCOLS))
def test_broken_bytes_give_our_own_error_or_a_value(random, protocol) -> None:
    value = {"a": [1, "b", (None, 2.5)], "x": np.arange(6.0).reshape(2, 3), "o": OrderedDict(k=[1])}
    content = bytearray(pickle.dumps(value, protocol))
    for _ in range(random.randint(1, 4)):
        content[random.randrange(len(content))] = random.randrange(256)
    with suppress(InputError):
        unpickle("test", bytes(content[: random.randint(1, 2 * len(content))]))


@pytest.mark.parametrize("content", [None, b""], ids=["missing", "empty"])
def test_no_file_and_no_content(content, tmp_path) -> None:
    path = tmp_path / "features.pkl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"features\.pkl: expected a file with content"):
        read_pickle(path)


def test_arrays_have_at_most_eight_dimensions() -> None:
    assert _read(pickle.dumps(np.zeros([1] * 8), 4)).shape == (1,) * 8
    with pytest.raises(InputError, match="more than 8 dimensions"):
        _read(pickle.dumps(np.zeros([1] * 9), 4))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_class_is_no_key(protocol, tmp_path) -> None:
    """Its name is none, either: the file would be read as another than it is."""
    path = tmp_path / "class.pkl"
    path.write_bytes(pickle.dumps({"a": 1, np.ndarray: 2}, protocol))
    with pytest.raises(InputError):
        read_pickle(path)
