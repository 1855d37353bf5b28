"""The unaligned features: joined row by row with the aligned file's emotions, if the rows agree."""

from __future__ import annotations

import look_alikes
import numpy as np
import pytest

from mmer.corpora.mosei.noalign import NoalignOptions, read_noalign
from mmer.errors import InputError
from mmer.samples.table import SPLITS

OPTIONS = NoalignOptions(widths=look_alikes.WIDTHS)
LENGTHS = {"visual": 5, "audio": 7}


@pytest.fixture
def words() -> dict[str, list[np.ndarray]]:
    return look_alikes.word_vectors(np.random.default_rng(1))


@pytest.fixture
def emotions(words) -> dict:
    return look_alikes.tailor_content(np.random.default_rng(2), words)


@pytest.fixture
def content(words) -> dict:
    return look_alikes.noalign_content(np.random.default_rng(3), words)


def _read(tmp_path, content, emotions, options=OPTIONS):
    look_alikes.write_pickle(tmp_path / "mosei_senti_data_noalign.pkl", content)
    look_alikes.write_torch(tmp_path / "train_valid_test.pt", emotions)
    return read_noalign(tmp_path, options)


@pytest.mark.parametrize("side", ["left", "right"])
def test_features_of_one_file_and_emotions_of_the_other(tmp_path, words, emotions, side) -> None:
    content = look_alikes.noalign_content(np.random.default_rng(3), words, side)
    source = _read(tmp_path, content, emotions)
    assert source.alignment == "none"
    names = {"mosei_senti_data_noalign.pkl", "train_valid_test.pt"}
    assert {path.name for path in source.files} == names
    for split in SPLITS:
        for i, sample in enumerate(look_alikes.samples(source, split)):
            np.testing.assert_array_equal(sample.features["text"], words[split][i])
            assert {m: len(sample.features[m]) for m in LENGTHS} == LENGTHS
            columns = [emotion - 4 for emotion in emotions[split]["tgt"][i][1:-1]]
            np.testing.assert_array_equal(np.flatnonzero(sample.labels), sorted(columns))
            assert (sample.group_id, sample.start, sample.end) == (
                f"{split}_video_{i}",
                i + 0.5,
                i + 3.25,
            )


@pytest.mark.parametrize("form", ["bytes", "objects", "names", "none"])
def test_ids_in_any_form(tmp_path, content, emotions, form) -> None:
    for split in SPLITS:
        ids = content[split]["id"]
        if form == "bytes":
            content[split]["id"] = np.char.encode(ids)
        elif form == "objects":
            rows = [[video, float(start), float(end)] for video, start, end in ids.tolist()]
            content[split]["id"] = np.array(rows, dtype=object)
        elif form == "names":
            content[split]["id"] = [f"{video}[0]" for video in ids[:, 0].tolist()]
        else:
            del content[split]["id"]
    source = _read(tmp_path, content, emotions)
    assert source.groups_known is (form != "none")
    sample = look_alikes.samples(source, "test")[0]
    expected = {
        "names": ("test_video_0[0]", "test_video_0", None),
        "none": ("test[0]", "test[0]", None),
    }.get(form, ("test_video_0[0.500-3.250]", "test_video_0", 0.5))
    assert (sample.sample_id, sample.group_id, sample.start) == expected


def _shuffled(content, emotions):
    for record in content["train"].values():
        record[:] = np.roll(record, 1, axis=0)


def _fewer(content, emotions):
    content["train"] = {name: values[:3] for name, values in content["train"].items()}


def _fewer_texts(content, emotions):
    emotions["train"]["src-text"].pop()


def _fewer_frames(content, emotions):
    content["train"]["vision"] = content["train"]["vision"][:3]


def _no_time(content, emotions):
    content["train"]["id"][1, 2] = "nan"


def _two_parts(content, emotions):
    content["train"]["id"] = content["train"]["id"][:, :2]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_shuffled, "not in the same order"),
        (_fewer, "as many samples as sets of emotions in train_valid_test.pt, 4, found 3"),
        (_fewer_texts, "found 4, and 3 texts there"),
        (_fewer_frames, "as many samples in each modality as labels"),
        (_no_time, r"train/id\[1\]\]: expected a time in seconds"),
        (_two_parts, "a name, or video, start and end"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, content, emotions, fault, message) -> None:
    fault(content, emotions)
    with pytest.raises(InputError, match=message):
        _read(tmp_path, content, emotions)


def _last_rows_shifted(text):
    text[-4:] = np.roll(text[-4:], 1, axis=0)
    return 4


def _rounded_and_rolled(text):
    text[:] = np.roll(text + np.where(text != 0, 1e-3, 0), 1, axis=0)
    return 40


def _one_pair_swapped(text):
    text[[20, 21]] = text[[21, 20]]
    return 2


def _other_vectors(text):
    text *= 2
    return 40


@pytest.fixture
def forty(monkeypatch):
    """Forty samples for training, of the same words in both files."""
    monkeypatch.setitem(look_alikes.COUNTS, "train", 40)
    words = look_alikes.word_vectors(np.random.default_rng(1))
    content = look_alikes.noalign_content(np.random.default_rng(3), words)
    return content, look_alikes.tailor_content(np.random.default_rng(2), words)


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        (_last_rows_shifted, 36),
        (_rounded_and_rolled, 0),
        (_one_pair_swapped, 20),
        (_other_vectors, 0),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(tmp_path, forty, fault, first) -> None:
    """Joined, the samples would have each other's emotions."""
    content, emotions = forty
    count = fault(content["train"]["text"])
    expected = rf"\[train/text\[{first}\]\].* other words in {count} of 40 rows.*trust_row_order"
    with pytest.raises(InputError, match=expected):
        _read(tmp_path, content, emotions)


def test_rounded_vectors_in_the_right_order_are_joined(tmp_path, forty) -> None:
    content, emotions = forty
    for split in SPLITS:
        content[split]["text"] = content[split]["text"].astype(np.float16).astype(np.float64)
    assert _read(tmp_path, content, emotions).notes == ()


def test_files_that_cannot_be_compared_are_joined_if_the_user_says_so(tmp_path, forty) -> None:
    content, emotions = forty
    _other_vectors(content["train"]["text"])
    options = NoalignOptions(widths=look_alikes.WIDTHS, trust_row_order=True)
    source = _read(tmp_path, content, emotions, options)
    (note,) = source.notes
    assert "joined by their number and not compared (trust_row_order)" in note
    for i, sample in enumerate(look_alikes.samples(source, "train")):
        columns = [emotion - 4 for emotion in emotions["train"]["tgt"][i][1:-1]]
        np.testing.assert_array_equal(np.flatnonzero(sample.labels), sorted(columns))
