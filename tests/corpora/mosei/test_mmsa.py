"""MMSA's files: features of one release, emotions of another, joined clip by clip."""

from __future__ import annotations

import look_alikes
import numpy as np
import pytest
from pydantic import ValidationError

from mmer.corpora.mosei.mmsa import MmsaOptions, read_mmsa
from mmer.errors import InputError
from mmer.formats.csd import write_csd
from mmer.samples.table import SPLITS

OPTIONS = MmsaOptions(widths=look_alikes.WIDTHS)


@pytest.fixture
def videos() -> dict[str, list[dict]]:
    return look_alikes.labelled_videos(np.random.default_rng(1))


@pytest.fixture
def content(videos) -> dict:
    return look_alikes.mmsa_content(np.random.default_rng(2), videos)


def _read(tmp_path, content, videos, options=OPTIONS, with_words=True, aligned=True):
    name = "aligned_50.pkl" if aligned else "unaligned_50.pkl"
    look_alikes.write_pickle(tmp_path / name, content)
    _, words = look_alikes.write_label_files(tmp_path, videos)
    if not with_words:
        words.unlink()
    return read_mmsa(name, tmp_path, options)


def _expected(videos, split) -> list[tuple[str, dict, int]]:
    """Name, video and segment of each clip of a split."""
    return [
        (f"{video['id']}$_${4 + 3 * segment}", video, segment)
        for video in videos[split]
        for segment in (0, 2)
    ]


@pytest.mark.parametrize("aligned", [True, False])
def test_clips_get_the_emotions_and_times_of_their_segments(tmp_path, videos, aligned) -> None:
    content = look_alikes.mmsa_content(np.random.default_rng(2), videos, aligned)
    source = _read(tmp_path, content, videos, aligned=aligned)
    assert source.alignment == ("word" if aligned else "none")
    lengths = {"text": 4, "visual": 4 if aligned else 5, "audio": 4}
    for split in SPLITS:
        samples = look_alikes.samples(source, split)
        for sample, (name, video, segment) in zip(samples, _expected(videos, split), strict=True):
            assert (sample.sample_id, sample.group_id) == (name, video["id"])
            assert [sample.start, sample.end] == video["intervals"][segment].tolist()
            np.testing.assert_array_equal(sample.labels, video["labels"][segment, 1:] > 0)
            assert {m: len(rows) for m, rows in sample.features.items()} == lengths


def test_without_words_what_is_ambiguous_is_left_out_and_said(tmp_path, videos, content) -> None:
    for video in videos["train"]:
        video["labels"][:, 0] = [1, 1, -1]  # the first clip could be either of two segments
    content["train"]["regression_labels"][:] = [1, -1] * 4
    options = MmsaOptions(widths=look_alikes.WIDTHS, most_unjoined=0.5)
    source = _read(tmp_path, content, videos, options, with_words=False)
    found = {sample.sample_id: sample for sample in look_alikes.samples(source, "train")}
    sure = {name: (video, s) for name, video, s in _expected(videos, "train") if s == 2}
    assert set(found) == set(sure)
    for name, (video, segment) in sure.items():
        np.testing.assert_array_equal(found[name].labels, video["labels"][segment, 1:] > 0)
    assert source.notes[0].startswith("train: 4 of 8 clips fit no segment")
    with pytest.raises(InputError, match="found 4 of 8 that do"):
        _read(tmp_path, content, videos, with_words=False)
    assert len(look_alikes.samples(_read(tmp_path, content, videos), "train")) == 8  # words decide


def test_columns_of_the_label_file_are_taken_by_name(tmp_path, videos, content) -> None:
    expected = [
        sample.labels for sample in look_alikes.samples(_read(tmp_path, content, videos), "test")
    ]
    labels = tmp_path / "CMU_MOSEI_Labels.csd"
    order = [0, 3, 5, 6, 1, 2, 4]
    columns = ["sentiment", *look_alikes.EMOTIONS]
    write_csd(
        labels,
        "All Labels",
        [
            (video["id"], video["labels"][:, order], video["intervals"])
            for split in videos.values()
            for video in split
        ],
        "",
        [columns[i] for i in order],
    )
    source = read_mmsa("aligned_50.pkl", tmp_path, OPTIONS)
    np.testing.assert_array_equal(
        [sample.labels for sample in look_alikes.samples(source, "test")], expected
    )


def test_some_of_the_emotions_in_another_order(tmp_path, videos, content) -> None:
    expected = [
        sample.labels for sample in look_alikes.samples(_read(tmp_path, content, videos), "test")
    ]
    options = MmsaOptions(labels=("fear", "happy"), widths=look_alikes.WIDTHS)
    found = [
        s.labels for s in look_alikes.samples(_read(tmp_path, content, videos, options), "test")
    ]
    np.testing.assert_array_equal(found, np.array(expected)[:, [5, 0]])


def test_texts_without_token_marks_lose_their_zeros_only(tmp_path, videos, content) -> None:
    for split in SPLITS:
        del content[split]["text_bert"]
    sample = look_alikes.samples(_read(tmp_path, content, videos), "test")[0]
    assert {len(rows) for rows in sample.features.values()} == {6}


def _other_release(content):
    content["valid"]["regression_labels"] += 0.5


def _one_video(content):
    """All clips of a split in one video, as no video has so many."""
    record = content["train"]
    for name, values in record.items():
        repeated = list(values) * 100
        record[name] = np.stack(repeated) if isinstance(values, np.ndarray) else repeated
    record["id"] = [f"train$_${number}" for number in range(len(record["id"]))]


def _drop(split, name):
    return lambda content: content[split].pop(name)


def _set(split, name, value):
    return lambda content: content[split].update({name: value})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_other_release, r"\[valid/id\]: expected clips .* found 0 of 4 that do"),
        (_one_video, r"\[train/id\]: expected at most 500 samples of one video, found 800"),
        (_drop("train", "id"), "8 strings, found None"),
        (_drop("train", "raw_text"), "raw_text"),
        (_drop("train", "regression_labels"), "8 numbers, found None"),
        (_drop("train", "vision"), "a field 'vision'"),
        (_set("test", "id", ["a"] * 4), r"ids like video\$_\$3"),
        (_set("test", "id", ["train$_$4"] * 4), "expected clips"),
        (_set("test", "audio", np.zeros((3, 6, 2))), "as many samples in each modality"),
        (_set("test", "audio", np.zeros((4, 6, 5))), "rows of width 2"),
        (_set("test", "text_bert", np.ones((4, 2, 6))), r"shape \(4, 3, 6\)"),
        (_set("test", "audio_lengths", [1, 2, 3, float("nan")]), "4 finite numbers"),
    ],
)
def test_faults_are_named(tmp_path, videos, content, fault, message) -> None:
    fault(content)
    with pytest.raises(InputError, match=message):
        _read(tmp_path, content, videos)


def test_segments_beyond_number_are_refused(tmp_path, videos, content) -> None:
    [video] = videos["test"][:1]
    intervals = np.arange(501.0)[:, None] + [0, 0.5]
    labels = np.zeros((501, 7), np.float32)
    _read(tmp_path, content, videos)
    write_csd(
        tmp_path / "CMU_MOSEI_Labels.csd", "All Labels", [(video["id"], labels, intervals)], ""
    )
    with pytest.raises(InputError, match="at most 500 samples of one video, found 501"):
        read_mmsa("aligned_50.pkl", tmp_path, OPTIONS)


def test_values_out_of_range_by_a_little_can_be_clamped_and_are_noted(
    tmp_path, videos, content
) -> None:
    videos["train"][0]["labels"][0, 1] = 10 / 3
    with pytest.raises(InputError, match="label_tolerance"):
        _read(tmp_path, content, videos)
    options = MmsaOptions(widths=look_alikes.WIDTHS, label_tolerance=0.5)
    notes = _read(tmp_path, content, videos, options).notes
    assert any("clamped" in note for note in notes)


@pytest.mark.parametrize(
    "settings",
    [{"labels": ("calm",)}, {"label_columns": ("happy",)}, {"most_unjoined": 1.5}],
)
def test_settings_that_cannot_be(settings) -> None:
    with pytest.raises(ValidationError):
        MmsaOptions(**settings)
