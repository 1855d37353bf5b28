"""Padding is recognised on either side, and zeros inside a sequence are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mmer.corpora.mosei.padded import (
    PaddedOptions,
    PaddedSplit,
    nonzero_span,
    padded_samples,
    padded_source,
    stated_span,
)
from mmer.errors import InputError

EXTRACTORS = {"text": "a", "visual": "b", "audio": "c"}


def _column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def _split(names: list[str] | None = None, groups: list[str] | None = None, **more) -> PaddedSplit:
    """One sample of the given rows, or as many as there are names."""
    rows = {m: more.pop(m, _column(0, 1, 2, 0)) for m in EXTRACTORS}
    names = names or ["one"]
    return PaddedSplit(
        features={m: [r] * len(names) for m, r in rows.items()},
        labels=np.zeros((len(names), 2), np.uint8),
        sample_ids=names,
        group_ids=groups,
        times=[(None, None)] * len(names),
        **more,
    )


def _lengths(split: PaddedSplit, aligned: bool, keep_padding: bool = False) -> list[int | None]:
    [sample] = padded_samples(split, split.groups, aligned, keep_padding)
    return [None if r is None else len(r) for r in sample.features.values()]


@given(st.lists(st.sampled_from([0.0, 1.0, np.nan, -np.inf]), max_size=8))
def test_nonzero_span_is_what_stripping_zeros_leaves(values) -> None:
    begin, end = nonzero_span(np.array(values).reshape(-1, 1))
    left = next((i for i, v in enumerate(values) if v != 0), 0)
    right = next((len(values) - i for i, v in enumerate(reversed(values)) if v != 0), 0)
    assert (begin, end) == (left, right)


@pytest.mark.parametrize("side", ["left", "right"])
def test_each_modality_of_an_unaligned_sample_is_judged_by_itself(side) -> None:
    order = 1 if side == "right" else -1
    split = _split(
        text=_column(1, 2, 3, 0)[::order],
        visual=_column(1, 0, 0, 0)[::order],
        audio=_column(-np.inf, 0, 5, 0, 0, 0)[::order],
    )
    assert _lengths(split, aligned=False) == [3, 1, 3]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_step_of_an_aligned_sample_is_padding_where_all_are_zero(side) -> None:
    order = 1 if side == "right" else -1
    split = _split(
        text=_column(1, 0, 3, 0, 0)[::order],
        visual=_column(0, 1, 0, 0, 0)[::order],
        audio=_column(0, 0, 0, 4, 0)[::order],
    )
    assert _lengths(split, aligned=True) == [4, 4, 4]


@pytest.mark.parametrize(("aligned", "kept"), [(True, 2), (False, 4)])
def test_a_modality_that_is_zero_throughout_is_handed_on(aligned, kept) -> None:
    """With the steps that it shares, or all: the sample table decides whether it is absent."""
    split = _split(visual=_column(0, 0, 0, 0))
    [sample] = padded_samples(split, split.groups, aligned, False)
    assert not sample.features["visual"].any()
    assert _lengths(split, aligned) == [2, kept, 2]


@pytest.mark.parametrize("aligned", [True, False])
def test_a_sample_that_is_zero_throughout_is_handed_on(aligned) -> None:
    zero = _column(0, 0)
    assert _lengths(_split(text=zero, visual=zero, audio=zero), aligned) == [2, 2, 2]


def test_a_text_without_tokens_is_absent() -> None:
    split = _split(spans={"text": np.array([[0, 0]])})
    assert _lengths(split, aligned=False) == [None, 2, 2]


def test_padding_can_be_kept() -> None:
    split = _split(visual=_column(0, 0, 0, 0))
    assert _lengths(split, aligned=True, keep_padding=True) == [4, 4, 4]


def test_only_samples_of_the_groups_that_are_asked_for() -> None:
    split = _split(["a", "b", "c"], ["one", "two", "one"])
    names = [sample.sample_id for sample in padded_samples(split, {"one"}, True, False)]
    assert names == ["a", "c"]


@pytest.mark.parametrize(
    ("content", "length", "expected"),
    [
        ((0, 3), 4, (0, 4)),  # padded behind, the last true step is zero
        ((3, 6), 4, (2, 6)),  # padded in front, the first true step is zero
        ((0, 6), 6, (0, 6)),
        ((0, 6), 4, (0, 6)),  # leaves out content on both sides
        ((1, 3), 9, (1, 3)),  # more than there are
        ((1, 3), -2, (1, 3)),
    ],
)
def test_a_stated_length_keeps_zeros_that_are_true(content, length, expected) -> None:
    assert stated_span(content, 6, length) == expected


def test_stated_lengths_and_spans_are_used() -> None:
    split = _split(
        text=_column(1, 2, 3, 4),
        visual=_column(1, 0, 0, 0),
        lengths={"visual": np.array([3.0])},
        spans={"text": np.array([[0, 2]])},
    )
    assert _lengths(split, aligned=False) == [2, 3, 2]


def test_double_precision_becomes_single_and_overflow_infinite() -> None:
    split = _split(audio=np.array([[1e300], [0.5]]))
    [sample] = padded_samples(split, split.groups, False, False)
    assert sample.features["audio"].dtype == np.float32
    np.testing.assert_array_equal(sample.features["audio"], _column(np.inf, 0.5))


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": _split(["a", "a"])}, "each sample once, found a 2 times"),
        ({"train": _split(visual=_column(1, 2))}, "as many steps in each modality"),
    ],
)
def test_contradictions_are_refused(tmp_path, splits, message) -> None:
    path = tmp_path / "features"
    path.write_bytes(b"x")
    with pytest.raises(InputError, match=message):
        padded_source((path,), PaddedOptions(), splits, EXTRACTORS, aligned=True)


@pytest.mark.parametrize("known", [True, False])
def test_samples_without_a_known_video_are_groups_of_their_own(tmp_path, known) -> None:
    splits = {"train": _split(["a", "b"], ["video", "video"] if known else None)}
    source = padded_source((tmp_path,), PaddedOptions(), splits, EXTRACTORS, aligned=True)
    assert source.groups_known is known
    assert source.groups["train"] == (("video", "video") if known else ("a", "b"))
    assert [sample.group_id for sample in source.read("train", source.groups["train"])] == list(
        source.groups["train"]
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"labels": ()},
        {"labels": ("happy", "happy")},
        {"widths": {"text": 3, "audio": 3}},
        {"widths": {"text": 3, "audio": 3, "visual": 0}},
    ],
)
def test_settings_that_cannot_be(settings) -> None:
    with pytest.raises(ValidationError):
        PaddedOptions(**settings)
