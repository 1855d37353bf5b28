"""The tensors of the corpus's tool: what it padded comes out as it was, with ids and emotions."""

from __future__ import annotations

import look_alikes
import numpy as np
import pytest
from pydantic import ValidationError

from mmer.corpora.mosei.features import MODALITIES
from mmer.corpora.mosei.tensors import TensorsOptions, read_tensors
from mmer.errors import InputError
from mmer.samples.table import SPLITS

OPTIONS = TensorsOptions(widths=look_alikes.WIDTHS)
NAMES = {"text": "glove_vectors", "visual": "FACET 4.2", "audio": "COAVAREP"}


@pytest.fixture
def content() -> list[dict]:
    return look_alikes.tensors_content(np.random.default_rng(1))


def _read(tmp_path, content, options=OPTIONS):
    look_alikes.write_pickle(tmp_path / "tensors.pkl", content)
    return read_tensors(tmp_path, options)


def _options(**more) -> TensorsOptions:
    return TensorsOptions(widths=look_alikes.WIDTHS, **more)


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_samples_are_what_was_padded(tmp_path, side, by_name) -> None:
    folds = look_alikes.tensors_content(np.random.default_rng(1), side)
    content = dict(zip(SPLITS, folds, strict=True)) if by_name else folds
    source = _read(tmp_path, content)
    assert source.alignment == "word"
    assert source.groups_known
    for split, fold in zip(SPLITS, folds, strict=True):
        samples = look_alikes.samples(source, split)
        assert [s.sample_id for s in samples] == [row[0] for row in fold["All Labels id"]]
        assert [s.group_id for s in samples] == [f"{split}{i // 2}" for i in range(len(samples))]
        for i, sample in enumerate(samples):
            np.testing.assert_array_equal(sample.labels, fold["All Labels"][i, 0, 1:] > 0)
            for modality in MODALITIES:
                stored = fold[NAMES[modality]][i]
                expected = stored[stored.any(axis=1)].astype(np.float32)
                np.testing.assert_array_equal(sample.features[modality], expected)


def test_columns_of_older_tools(tmp_path, content) -> None:
    expected = [s.labels for s in look_alikes.samples(_read(tmp_path, content), "train")]
    columns = ("anger", "disgust", "fear", "happy", "sad", "surprise", "sentiment")
    order = [("sentiment", *look_alikes.EMOTIONS).index(name) for name in columns]
    for fold in content:
        fold["All Labels"] = fold["All Labels"][..., order]
    source = _read(tmp_path, content, _options(label_columns=columns))
    found = [s.labels for s in look_alikes.samples(source, "train")]
    np.testing.assert_array_equal(found, expected)


def test_a_threshold_and_some_of_the_emotions(tmp_path, content) -> None:
    source = _read(tmp_path, content, _options(labels=("fear", "happy"), emotion_threshold=1.0))
    found = [s.labels for s in look_alikes.samples(source, "train")]
    np.testing.assert_array_equal(found, content[0]["All Labels"][:, 0, [6, 1]] > 1)


def test_labels_out_of_range(tmp_path, content) -> None:
    content[0]["All Labels"][1, 0, 3] = 10 / 3
    message = r"segment train0\[1\]\]: expected anger from 0 to 3, found 3.33333"
    with pytest.raises(InputError, match=message):
        _read(tmp_path, content)
    source = _read(tmp_path, content, _options(label_tolerance=0.5))
    assert source.notes[1:] == ("train: 1 labels out of range were clamped (label_tolerance)",)


def test_the_order_that_the_label_columns_are_taken_in_is_said(tmp_path, content) -> None:
    (note,) = _read(tmp_path, content).notes
    assert "does not name its label columns" in note
    assert "sentiment, happy, sad, anger, surprise, disgust, fear" in note


@pytest.mark.parametrize("form", ["bytes", "names", "times", "none"])
def test_ids_in_any_form(tmp_path, content, form) -> None:
    for split, fold in zip(SPLITS, content, strict=True):
        ids = fold.pop("All Labels id")
        if form == "bytes":
            fold["glove_vectors id"] = np.char.encode(ids)
        elif form == "names":
            fold["COAVAREP id"] = [name for (name,) in ids.tolist()]
        elif form == "times":
            rows = [[f"{split}{i // 2}".encode(), b"0.5", b"2"] for i in range(len(ids))]
            rows = [[video, b"%d" % i, b"%d" % (i + 1)] for i, (video, _, _) in enumerate(rows)]
            fold["All Labels id"] = np.array(rows)
    source = _read(tmp_path, content)
    assert source.groups_known is (form != "none")
    sample = look_alikes.samples(source, "test")[1]
    assert (sample.sample_id, sample.group_id, sample.start) == {
        "times": ("test0[1.000-2.000]", "test0", 1.0),
        "none": ("test[1]", "test[1]", None),
    }.get(form, ("test0[1]", "test0", None))


def test_sequences_of_own_steps(tmp_path, content) -> None:
    """As the tool's example leaves them, which averages nothing: more frames than words."""
    rng = np.random.default_rng(2)
    for fold in content:
        count = len(fold["All Labels"])
        for modality in ("visual", "audio"):
            frames = [look_alikes.features(rng, modality, 6) for _ in range(count)]
            fold[NAMES[modality]] = np.stack(frames)
        fold["glove_vectors"][:, 0] = 0
    with pytest.raises(InputError, match=r"averaged onto the words, found 4 of 4.*alignment: none"):
        _read(tmp_path, content)
    source = _read(tmp_path, content, _options(alignment="none"))
    assert source.alignment == "none"
    lengths = {len(s.features["audio"]) for s in look_alikes.samples(source, "train")}
    assert lengths == {6}


def test_other_sequences_by_name(tmp_path, content) -> None:
    for fold in content:
        fold["OpenFace_2"] = fold.pop("FACET 4.2")
    with pytest.raises(InputError, match=r"FACET 4\.2, found .*'OpenFace_2'.*`sequences`"):
        _read(tmp_path, content)
    sequences = {"text": ["glove_vectors"], "visual": ["OpenFace_2"], "audio": ["COAVAREP"]}
    source = _read(tmp_path, content, _options(sequences=sequences))
    assert source.features["visual"].name == "OpenFace_2"


def _set(fold, name, value):
    return lambda content: content[fold].update({name: value})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda c: c.pop(), "folds by name, or a list of train, valid, test, found list of 2"),
        (lambda c: c[1].pop("All Labels"), r"\[valid\]: expected a field 'All Labels'"),
        (_set(0, "All Labels", np.zeros((4, 2, 7))), r"shape \(n, 1, 7\)"),
        (_set(0, "All Labels", np.full((4, 1, 7), np.nan)), "sentiment from -3 to 3, found nan"),
        (_set(0, "COVAREP", np.zeros((4, 6, 2))), "one of the sequences COAVAREP, COVAREP"),
        (_set(0, "FACET 4.2", np.zeros((4, 6, 5))), "rows of width 3"),
        (_set(0, "FACET 4.2", np.zeros((3, 6, 3))), "as many samples in each modality"),
        (_set(0, "FACET 4.2", np.zeros((4, 5, 3))), "as many steps in each modality"),
        (_set(0, "All Labels id", ["a"] * 4), "each sample once"),
        (_set(0, "FACET 4.2 id", list("abcd")), r"FACET 4\.2 id\[0\].*train0\[0\], found a"),
    ],
)
def test_faults_are_named(tmp_path, content, fault, message) -> None:
    fault(content)
    with pytest.raises(InputError, match=message):
        _read(tmp_path, content)


@pytest.mark.parametrize(
    "settings",
    [
        {"labels": ("calm",)},
        {"label_columns": ("happy",)},
        {"sequences": {"text": ["a"]}},
        {"sequences": {"text": [], "visual": ["b"], "audio": ["c"]}},
        {"emotion_threshold": 3},
    ],
)
def test_settings_that_cannot_be(settings) -> None:
    with pytest.raises(ValidationError):
        TensorsOptions(**settings)
