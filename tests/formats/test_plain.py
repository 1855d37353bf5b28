"""Fields of an unpickled object: what fits is handed out, what does not is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmer.errors import InputError
from mmer.formats.plain import as_float32, describe, field, numbers, sequences, text, texts

WHERE = Path("features.pkl")


def test_describing_a_value_costs_the_same_whatever_it_is() -> None:
    nested: list = []
    for _ in range(1000):
        nested = [nested, nested]
    values = [nested, {"a": nested}, "x" * 10**6, 10**10_000, np.zeros((3, 4)), None, 1.5, object()]
    assert all(len(describe(value)) < 100 for value in values)
    assert describe("a\n\x1b[2J") == r"'a\n\x1b[2J'"


def test_field_says_what_is_there_instead() -> None:
    content = {"train": {"text": 1}}
    assert field(WHERE, content, "train", "text") == 1
    with pytest.raises(InputError, match=r"\[train\]: expected a field 'audio', found 'text'"):
        field(WHERE, content, "train", "audio")
    with pytest.raises(InputError, match="found list of 0"):
        field(WHERE, [], "train")


def test_texts_from_bytes_and_strings() -> None:
    assert texts(WHERE, "id", ["a", "é".encode()], 2) == ["a", "é"]
    for value in (["a"], "ab", ["a", 1], ["a", b"\xff"], ["a", "\ud800"], None):
        with pytest.raises(InputError, match="id"):
            texts(WHERE, "id", value, 2)
    assert text(WHERE, "id", b"x") == "x"


@pytest.mark.parametrize("value", [[1, 2.5], (1, 2.5), np.array([1, 2.5]), np.array([[1], [2.5]])])
def test_numbers_in_any_container(value) -> None:
    np.testing.assert_array_equal(numbers(WHERE, "labels", value, 2), [1, 2.5])


@pytest.mark.parametrize(
    "value",
    [[1], [1, "a"], [1, 10**400], [1, np.nan], np.zeros((1, 2)), np.array(["1", "2"]), None],
)
def test_what_is_no_two_numbers(value) -> None:
    with pytest.raises(InputError, match="labels"):
        numbers(WHERE, "labels", value, 2)


def test_sequences_stacked_or_as_a_list() -> None:
    stacked = np.zeros((3, 4, 2))
    assert [rows.shape for rows in sequences(WHERE, "text", stacked)] == [(4, 2)] * 3
    ragged = [np.zeros((1, 2)), np.zeros((5, 2))]
    assert [rows.shape for rows in sequences(WHERE, "text", ragged, 2)] == [(1, 2), (5, 2)]


@pytest.mark.parametrize(
    "value",
    [
        [],
        None,
        np.zeros((2, 3)),
        np.zeros((0, 3, 2)),
        [np.zeros(2)],
        [np.zeros((1, 2)), np.zeros((1, 3))],
        [np.zeros((1, 3))],
        [[[0.0, 1.0]]],
        [np.array([["a", "b"]])],
    ],
)
def test_what_are_no_sequences_of_width_two(value) -> None:
    with pytest.raises(InputError, match="text"):
        sequences(WHERE, "text", value, 2)


def test_as_float32_overflows_to_infinity() -> None:
    np.testing.assert_array_equal(as_float32(np.array([1e300, 1.0])), [np.inf, 1])
    assert as_float32(np.array([1, 2], ">i2")).dtype == np.float32
