"""Rows of two files are compared word by word, as far as both files hold them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmer.corpora.mosei.same_words import same_words

WORDS = np.random.default_rng(1).normal(size=(200, 8)).astype(np.float32)


def _stored(words: np.ndarray, steps: int, keep: str) -> np.ndarray:
    """As the corpus's tool stores a sequence: padded in front and cut there, or both behind."""
    rows = np.zeros((steps, words.shape[1]), np.float32)
    if keep == "last":
        kept = words[-steps:]
        rows[steps - len(kept) :] = kept
    else:
        kept = words[:steps]
        rows[: len(kept)] = kept
    return rows


@given(
    st.integers(1, 100),
    st.sampled_from(["first", "last"]),
    st.sampled_from(["first", "last"]),
    st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_however_two_files_pad_cut_and_round_the_same_words(count, ours, theirs, kind) -> None:
    first, second = _stored(WORDS[:count], 50, ours), _stored(WORDS[:count], 60, theirs)
    assert same_words(first.astype(kind), second)
    assert same_words(second, first.astype(kind))


@given(st.integers(1, 100), st.integers(0, 99), st.sampled_from(["first", "last"]))
def test_one_other_word_is_enough(count, at, keep) -> None:
    other = WORDS[:count].copy()
    other[at % count] = WORDS[150]
    seen = other[:50] if keep == "first" else other[-50:]
    if not (seen == WORDS[150]).all(axis=1).any():
        return
    assert not same_words(_stored(WORDS[:count], 50, keep), _stored(other, 60, keep))


@pytest.mark.parametrize("count", [1, 10, 40])
def test_a_sequence_that_is_not_full_was_not_cut_off(count) -> None:
    first, second = _stored(WORDS[:count], 50, "last"), _stored(WORDS[: count + 1], 60, "last")
    assert not same_words(first, second)


def test_pauses_and_words_without_a_vector_do_not_count() -> None:
    words = WORDS[:12].copy()
    words[[0, 5, 11]] = 0
    assert same_words(_stored(words, 50, "last"), _stored(words[words.any(axis=1)], 60, "first"))


def test_vectors_of_another_width_are_of_another_kind() -> None:
    assert not same_words(np.ones((5, 3)), np.ones((5, 4)))
