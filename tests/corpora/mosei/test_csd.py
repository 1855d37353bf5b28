"""CMU-MOSEI's official files as samples, and what is refused before any sample is read."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from mmer.corpora.corpus import Manifest, RawCorpus
from mmer.corpora.ingestion import aligned_table, open_corpus
from mmer.corpora.mosei import MoseiIngestion
from mmer.corpora.mosei.csd import FILES, LABELS, WORDS, CsdOptions, read_csd
from mmer.corpora.mosei.labels import EMOTIONS, LABEL_COLUMNS, read_labels
from mmer.errors import InputError
from mmer.formats.csd import write_csd
from mmer.samples.table import SPLITS

FOLDS = {"train": ["2869", "286943", "late", "faceless"], "valid": ["v"], "test": ["t", "absent"]}
VIDEOS = ["2869", "286943", "late", "faceless", "v", "t", "foldless"]
OPTIONS = CsdOptions(folds="folds.json")
# 8 words of half a second and then one that lasts two, after a pause.
WORD_TIMES = np.array([(0.5 * n, 0.5 * n + 0.5) for n in range(8)] + [(5, 7)])
SPELT = np.array([[word.encode()] for word in ["a", "b", "c", "d", "e", "f", "g", "h", "i"]])
SEGMENTS = np.array([(4.0, 7.0), (0.0, 2.0), (2.0, 4.0), (8.0, 9.0)])
INTENSITIES = np.array(
    [
        [1.5, 0, 0, 0, 0, 0, 0],
        [-2, 1 / 3, 0, 0, 0, 2 / 3, 0],
        [0, 0, 0, 0, 0, 0, 3],
        [0, 1, 1, 1, 1, 1, 1],
    ],
    np.float32,
)


def _frames(rate: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    starts = np.arange(7 * rate) / rate
    rows = np.repeat(starts[:, None], width, axis=1).astype(np.float32)
    return rows, np.stack([starts, starts + 1 / rate], axis=1)


def _write_labels(folder: Path, values: np.ndarray, names: list[str] | None) -> None:
    entries = [(video, values, SEGMENTS) for video in VIDEOS]
    write_csd(folder / LABELS.name, LABELS.root_name, entries, "labels", names)


@pytest.fixture(scope="session")
def _made_once(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mosei")
    text = np.arange(9, dtype=np.float32)[:, None] * np.ones(300, np.float32)
    entries = {
        "text": (text, WORD_TIMES),
        "visual": _frames(30, 35),
        "audio": _frames(100, 74),
    }
    entries["audio"][0][0, 0] = -np.inf
    for modality, file in FILES.items():
        has_it = [v for v in VIDEOS if (modality, v) != ("visual", "faceless")]
        rows = [(video, *entries[modality]) for video in has_it]
        write_csd(folder / file.name, file.root_name, rows, modality)
    pauses = (np.append(SPELT, [[b"sp"]], axis=0), np.append(WORD_TIMES, [[4, 5]], axis=0))
    write_csd(folder / WORDS.name, WORDS.root_name, [(v, *pauses) for v in VIDEOS], "words")
    _write_labels(folder, INTENSITIES, list(LABEL_COLUMNS))
    (folder / "folds.json").write_text(json.dumps(FOLDS))
    return folder


@pytest.fixture
def folder(_made_once, tmp_path) -> Path:
    return Path(shutil.copytree(_made_once, tmp_path / "raw"))


def _with(**changes: object) -> CsdOptions:
    return CsdOptions(**{**OPTIONS.model_dump(), **changes})


def _samples(
    folder: Path,
    split: str = "train",
    options: CsdOptions = OPTIONS,
    groups: list[str] | None = None,
) -> dict:
    source = read_csd(folder, options)
    chosen = source.groups[split] if groups is None else groups
    return {s.sample_id: s for s in source.read(split, chosen)}


def test_segments_become_samples(folder):
    samples = _samples(folder)
    # The last segment has no words, one video no faces, and one lies in no fold.
    assert list(samples) == [f"{v}[{n}]" for v in ("2869", "286943", "late") for n in range(3)]
    first = samples["2869[0]"]
    assert (first.group_id, first.start, first.end) == ("2869", 4.0, 7.0)
    assert first.words == ["i"]
    assert first.features["text"].tolist() == [[8.0] * 300]
    assert samples["2869[1]"].words == ["a", "b", "c", "d"]


def test_frames_are_averaged_onto_words(folder):
    sample = _samples(folder)["2869[2]"]
    assert {m: rows.shape for m, rows in sample.features.items()} == {
        "text": (4, 300),
        "visual": (4, 35),
        "audio": (4, 74),
    }
    expected = 2 + np.arange(4) * 0.5 + 0.25
    np.testing.assert_allclose(sample.features["audio"][:, 0], expected - 0.005, rtol=1e-5)
    np.testing.assert_allclose(sample.features["visual"][:, 0], expected - 1 / 60, rtol=1e-5)


def test_an_emotion_is_present_if_its_intensity_is_above_the_threshold(folder):
    rows = {n: _samples(folder)[f"2869[{n}]"].labels.tolist() for n in range(3)}
    assert rows == {0: [0] * 6, 1: [1, 0, 0, 0, 1, 0], 2: [0, 0, 0, 0, 0, 1]}
    stricter = _samples(folder, options=_with(emotion_threshold=0.5))
    assert stricter["2869[1]"].labels.tolist() == [0, 0, 0, 0, 1, 0]


def _opened(folder: Path, **options: object) -> Manifest:
    settings = MoseiIngestion(csd=_with(**options))
    return open_corpus("mosei", RawCorpus(path=folder), settings)


def test_values_that_are_not_finite_reach_the_table_as_zeros_that_were_counted(folder, tmp_path):
    table = aligned_table(_opened(folder), "test", tmp_path / "tables")
    rows = table.arrow()
    cleaned = dict(zip(rows["sample_id"].to_pylist(), rows["cleaned"].to_pylist(), strict=True))
    audio = table.info.modalities.index("audio")
    assert {key: row[audio] for key, row in cleaned.items()} == {"t[0]": 0, "t[1]": 1, "t[2]": 0}
    assert table.info.widths == {"text": 300, "visual": 35, "audio": 74}
    assert table.info.labels == EMOTIONS


def test_unaligned_frames_come_at_a_fixed_rate_averaged_over_their_time(folder):
    source = read_csd(folder, _with(alignment="none"))
    assert source.alignment == "none"
    assert {m: f.name for m, f in source.features.items()} == {
        "text": "GloVe 300",
        "visual": "FACET 4.2, 15 steps per second",
        "audio": "COVAREP, 20 steps per second",
    }
    sample = _samples(folder, "valid", _with(alignment="none"))["v[2]"]
    assert sample.words == ["e", "f", "g", "h"]
    # A frame shows when it begins: two of FACET make a step, five of COVAREP.
    expected = {"visual": 2 + np.arange(30) / 15 + 1 / 60, "audio": 2 + np.arange(40) / 20 + 0.02}
    for modality, values in expected.items():
        np.testing.assert_allclose(sample.features[modality][:, 0], values, rtol=1e-5)


@pytest.mark.parametrize(
    ("limits", "begin"),
    [
        ({"max_frames": 20}, 1.0),  # 20 steps of COVAREP are a second, 20 of FACET a third more
        ({"max_frames": 20, "frames_per_second": {"visual": 30}}, 4 / 3),
        ({"max_words": 3}, 0.5),
        ({"max_words": 3, "max_frames": 20}, 1.0),
        ({"max_words": 1, "max_frames": 20}, 1.5),
        ({}, 0.0),
    ],
)
def test_a_segment_that_is_too_long_is_cut_at_one_time_for_all_modalities(folder, limits, begin):
    options = _with(alignment="none", **limits)
    sample = _samples(folder, "valid", options)["v[1]"]  # from 0 to 2 s, of four words
    rates = {"visual": options.frames_per_second.visual, "audio": 20}
    first_word = math.floor(2 * begin)
    assert sample.words == ["a", "b", "c", "d"][first_word:]
    for modality, rate in rates.items():
        rows = sample.features[modality]
        assert len(rows) == round((2 - begin) * rate) <= options.max_frames
        assert rows[1, 0] == pytest.approx(begin + 1.5 / rate, abs=1 / 30)
    assert (sample.start, sample.end) == (0, 2)


def test_a_frame_more_does_not_halve_the_steps(folder):
    lengths = []
    for most in (40, 39):
        sample = _samples(folder, "valid", _with(alignment="none", max_frames=most))["v[1]"]
        lengths.append(len(sample.features["audio"]))
    assert lengths == [40, 39]


def _without(folder: Path, modality: str, seen: Callable[[np.ndarray], np.ndarray]) -> None:
    """A modality's file again, with those of its frames alone that `seen` says by their start."""
    file, width = FILES[modality], FILES[modality].width
    rows, times = _frames(10, width)
    kept = seen(times[:, 0])
    videos = [(video, rows[kept] + 1, times[kept]) for video in VIDEOS]
    write_csd(folder / file.name, file.root_name, videos, "gaps")


@pytest.mark.parametrize("alignment", ["word", "none"])
def test_a_modality_that_has_nothing_in_a_segment_is_absent_there(folder, alignment):
    _without(folder, "visual", lambda start: start >= 2)
    samples = _samples(folder, "valid", _with(alignment=alignment))
    assert list(samples) == ["v[0]", "v[1]", "v[2]"]
    assert {n: s.features["visual"] is None for n, s in samples.items()} == {
        "v[0]": False,
        "v[1]": True,
        "v[2]": False,
    }
    assert all(s.features[m] is not None for s in samples.values() for m in ("text", "audio"))


def test_a_face_that_was_never_tracked_is_handed_on_as_the_zeros_it_is(folder):
    file = FILES["visual"]
    rows, times = _frames(30, 35)
    entries = [(video, 0 * rows, times) for video in VIDEOS]
    write_csd(folder / file.name, file.root_name, entries, "no face")
    for alignment in ("word", "none"):
        for sample in _samples(folder, "valid", _with(alignment=alignment)).values():
            assert not sample.features["visual"].any()


def test_unaligned_segments_without_words_are_kept_where_frames_are(folder):
    entries = [(video, INTENSITIES, [*SEGMENTS[:3], (4.1, 4.9)]) for video in VIDEOS]
    write_csd(folder / LABELS.name, LABELS.root_name, entries, "", list(LABEL_COLUMNS))
    pause = _samples(folder, "valid", _with(alignment="none"))["v[3]"]
    assert pause.features["text"] is None
    assert pause.words == []
    assert len(pause.features["visual"]) == 12
    assert "v[3]" not in _samples(folder, "valid", _with(alignment="word"))
    assert "v[3]" not in _samples(folder, "valid", _with(alignment="none", incomplete="drop"))


def test_incomplete_segments_can_be_dropped_as_the_tool_does(folder):
    # Of the fourth segment's one word frames show the part before it alone.
    entries = [(video, INTENSITIES, [*SEGMENTS[:3], (6.0, 7.0)]) for video in VIDEOS]
    write_csd(folder / LABELS.name, LABELS.root_name, entries, "", list(LABEL_COLUMNS))
    _without(folder, "visual", lambda start: start < 5.5)
    kept = _samples(folder, "valid", _with(incomplete="keep"))
    dropped = _samples(folder, "valid", _with(incomplete="drop"))
    assert set(kept) - set(dropped) == {"v[3]"}
    by_tool = _samples(folder, "valid", _with(arithmetic="sdk"))
    assert list(by_tool) == list(dropped)
    # What the tool fills with zeros, it keeps.
    _without(folder, "visual", lambda start: start >= 2)
    assert "v[1]" in _samples(folder, "valid", _with(incomplete="drop"))


def test_long_segments_keep_their_last_words(folder):
    sample = _samples(folder, options=_with(max_words=2))["2869[1]"]
    assert sample.words == ["c", "d"]
    assert {len(rows) for rows in sample.features.values()} == {2}


def test_without_the_file_of_words_samples_have_none(folder):
    (folder / WORDS.name).unlink()
    assert _samples(folder)["2869[0]"].words is None


def _same(first: dict, second: dict) -> bool:
    return list(first) == list(second) and all(
        a.words == b.words
        and np.array_equal(a.labels, b.labels)
        and all(np.array_equal(a.features[m], b.features[m]) for m in FILES)
        for a, b in zip(first.values(), second.values(), strict=True)
    )


def test_groups_are_read_alone_as_they_are_read_together(folder):
    source = read_csd(folder, OPTIONS)
    assert source.groups_per_task
    groups = source.groups["train"]
    alone = [_samples(folder, groups=[group]) for group in reversed(groups)]
    together = {k: s for samples in reversed(alone) for k, s in samples.items()}
    assert _same(together, _samples(folder))
    # Asked for in any order, they come in the split's.
    assert _same(_samples(folder, groups=list(reversed(groups))), _samples(folder))
    assert _samples(folder, groups=["v", "no video"]) == {}


def test_damage_that_is_met_on_the_way_is_named(folder):
    with h5py.File(folder / FILES["audio"].name, "r+") as file:
        del file["COVAREP/data/late/intervals"]
    with pytest.raises(InputError, match=r"COVAREP\.csd \[late/intervals\]"):
        _samples(folder)


def test_the_fingerprint_follows_files_options_and_folds(folder):
    prints = [_opened(folder).fingerprint, _opened(folder, max_words=9).fingerprint]
    (folder / "folds.json").write_text(json.dumps(FOLDS | {"train": ["2869"]}))
    prints.append(_opened(folder).fingerprint)
    _write_labels(folder, INTENSITIES[:, ::1] * 0.5, list(LABEL_COLUMNS))
    prints.append(_opened(folder).fingerprint)
    assert len(set(prints)) == 4
    assert _opened(folder).fingerprint == prints[-1]


def test_other_folds_than_when_it_was_opened_stop_the_alignment(folder, tmp_path):
    manifest = _opened(folder)
    (folder / "folds.json").write_text(json.dumps(FOLDS | {"valid": ["t"], "test": ["v"]}))
    with pytest.raises(InputError, match="Run the ingestion stage again"):
        aligned_table(manifest, "test", tmp_path)


OTHER_ORDER = ["surprise", "happy", "sentiment", "sad", "fear", "disgust", "anger"]
OTHER_WORDS = "surprised, Happiness, sentiment, sadness, fearful, disgusted, angry"


def _write_in_order(folder: Path, order: list[str], names: object) -> None:
    shuffled = INTENSITIES[:, [LABEL_COLUMNS.index(name) for name in order]]
    _write_labels(folder, shuffled, names)


def _state(folder: Path, names: object, **storage: object) -> None:
    """Put the names of the label file's columns into it, stored as h5py stores `names`."""
    key = f"{LABELS.root_name}/metadata/dimension names"
    with h5py.File(folder / LABELS.name, "r+") as file:
        del file[key]
        if names is not None:
            file.create_dataset(key, data=names, **storage)


TEXT = h5py.string_dtype()


@pytest.mark.parametrize(
    ("names", "storage"),
    [
        ([json.dumps(OTHER_ORDER)], {"dtype": TEXT}),
        (OTHER_ORDER, {"dtype": TEXT}),
        (np.array(OTHER_ORDER, "S"), {}),
        (np.array(OTHER_ORDER, "S"), {"chunks": (3,), "maxshape": (None,)}),
        ([str(OTHER_ORDER)], {"dtype": TEXT}),
        ([str([name.encode() for name in OTHER_ORDER])], {"dtype": TEXT}),
        ([str(np.array(OTHER_ORDER))], {"dtype": TEXT}),
        ([" ".join(OTHER_ORDER)], {"dtype": TEXT}),
        ([", ".join(OTHER_ORDER).upper()], {"dtype": TEXT}),
        ([OTHER_WORDS], {"dtype": TEXT}),
        (OTHER_WORDS.split(", "), {"dtype": TEXT}),
        ([str(OTHER_WORDS.split(", "))], {"dtype": TEXT}),
    ],
)
def test_label_columns_are_those_that_the_file_states_however_it_does(folder, names, storage):
    expected = read_labels(folder / LABELS.name).videos["2869"]
    _write_in_order(folder, OTHER_ORDER, None)
    _state(folder, names, **storage)
    found = read_labels(folder / LABELS.name)
    np.testing.assert_array_equal(found.videos["2869"].emotions, expected.emotions)
    np.testing.assert_array_equal(found.videos["2869"].sentiment, expected.sentiment)
    assert found.notes == ()


@pytest.mark.parametrize("remark", [None, ""])
def test_a_label_file_that_names_no_columns_has_those_that_the_settings_say(folder, remark):
    expected = read_labels(folder / LABELS.name).videos["2869"].emotions
    _write_labels(folder, INTENSITIES, None)
    _state(folder, remark and [remark], **({"dtype": TEXT} if remark else {}))
    usual = read_labels(folder / LABELS.name)
    np.testing.assert_array_equal(usual.videos["2869"].emotions, expected)
    assert "as is usual: sentiment, happy, sad" in usual.notes[0]
    _write_in_order(folder, OTHER_ORDER, None)
    _state(folder, remark and [remark], **({"dtype": TEXT} if remark else {}))
    given = read_labels(folder / LABELS.name, tuple(OTHER_ORDER))
    np.testing.assert_array_equal(given.videos["2869"].emotions, expected)
    assert "as label_columns says: surprise, happy" in given.notes[0]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([*LABEL_COLUMNS[:6], "contempt"], "contempt"),
        (list(LABEL_COLUMNS[:6]), "disgust"),
        ([*LABEL_COLUMNS[:6], "happy"], "disgust', 'happy"),
        (["a", "b", "c", "d", "e", "f", "g"], "'a', 'b'"),
        ({"happy": 1}, "happy"),
        # All seven are named, but where they stand is said by something else than their order.
        (json.dumps({name: 6 - i for i, name in enumerate(LABEL_COLUMNS)}), "sentiment"),
        ("6 sentiment, 5 happy, 4 sad, 3 anger, 2 surprise, 1 disgust, 0 fear", "6 sentiment"),
        ("synthetic test vector", "synthetic test vector"),
        ("SentimentAngerDisgustFearHappySadSurprise", "SentimentAnger"),
        ("colère dégoût peur joie tristesse étonnement", "peur joie"),
        ("anger first", "anger first"),
        ("sentiment and the six emotions of Ekman", "of Ekman"),
        (str(["sentiment", "joy", *LABEL_COLUMNS[2:]]), "joy"),
    ],
)
def test_label_names_that_are_not_understood_are_shown_and_refused(folder, names, shown):
    _write_labels(folder, INTENSITIES, names)
    with pytest.raises(InputError, match=r"dimension names.*in any order.*label_columns") as caught:
        read_csd(folder, OPTIONS)
    assert shown in caught.value.found
    # Whoever knows the order says it.
    found = read_labels(folder / LABELS.name, LABEL_COLUMNS)
    assert found.videos["2869"].emotions[1].tolist() == [1, 0, 0, 0, 1, 0]


def test_a_file_that_names_its_columns_is_not_read_in_another_order(folder):
    with pytest.raises(InputError, match=r"surprise, happy.*label_columns.*sentiment.*happy"):
        read_csd(folder, _with(label_columns=tuple(OTHER_ORDER)))
    assert read_csd(folder, _with(label_columns=LABEL_COLUMNS)).labels == EMOTIONS


def test_the_label_order_of_the_first_releases(folder):
    expected = {k: s.labels.tolist() for k, s in _samples(folder).items()}
    old = ("sentiment", "anger", "disgust", "fear", "happy", "sad", "surprise")
    _write_in_order(folder, list(old), None)
    _state(folder, None)
    found = _samples(folder, options=_with(label_columns=old))
    assert {k: s.labels.tolist() for k, s in found.items()} == expected
    _write_in_order(folder, list(old), list(old))
    assert {k: s.labels.tolist() for k, s in _samples(folder).items()} == expected


@pytest.mark.parametrize("value", [math.nan, -0.5, 3.5])
def test_intensities_out_of_range_are_refused(folder, value):
    values = INTENSITIES.copy()
    values[2, 4] = value
    _write_labels(folder, values, list(LABEL_COLUMNS))
    expected = rf"segment 2869\[2\]\]: expected surprise from 0 to 3, found {value:g}\..*tolerance"
    with pytest.raises(InputError, match=expected) as caught:
        read_csd(folder, OPTIONS)
    assert "label_columns" not in str(caught.value)


def test_values_a_little_out_of_range_are_clamped_and_counted_if_that_is_asked_for(folder):
    values = INTENSITIES.copy()
    values[0, 1], values[1, 0], values[3, 2] = 10 / 3, -10 / 3, -0.25
    _write_labels(folder, values, list(LABEL_COLUMNS))
    with pytest.raises(InputError, match=r"sentiment from -3 to 3|happy from 0 to 3"):
        read_csd(folder, OPTIONS)
    manifest = _opened(folder, label_tolerance=0.34)
    [note] = [note for note in manifest.notes if "clamped" in note]
    assert f"{3 * len(VIDEOS)} values out of range by at most 0.34" in note
    labels = read_labels(folder / LABELS.name, tolerance=0.34).videos["2869"]
    assert labels.emotions[[0, 3]].tolist() == [[1, 0, 0, 0, 0, 0], [1, 0, 1, 1, 1, 1]]
    assert labels.sentiment[1] == -3
    with pytest.raises(InputError, match=r"-3 to 3, or up to 0.33 beyond \(label_tolerance\)|0.33"):
        read_csd(folder, _with(label_tolerance=0.33))


def test_all_missing_files_are_listed_at_once(folder):
    (folder / FILES["audio"].name).unlink()
    (folder / LABELS.name).unlink()
    with pytest.raises(InputError) as caught:
        read_csd(folder, OPTIONS)
    assert f"no {FILES['audio'].name}, {LABELS.name}" in str(caught.value)
    assert "CMU-MultimodalSDK" in str(caught.value)


def _rewrite(folder: Path, modality: str, width: int, videos: list[str]) -> None:
    file = FILES[modality]
    rows = [(video, *_frames(10, width)) for video in videos]
    write_csd(folder / file.name, file.root_name, rows, "other")


def test_another_width_is_refused(folder):
    _rewrite(folder, "visual", 713, VIDEOS)
    with pytest.raises(InputError, match=r"VisualFacet42.*\(n, 35\).*713"):
        read_csd(folder, OPTIONS)


def test_files_without_a_video_in_common_are_refused(folder):
    _rewrite(folder, "visual", 35, ["28694", "x"])
    with pytest.raises(InputError, match=r"videos that are in every file.*28694"):
        read_csd(folder, OPTIONS)


def _truncated(folder: Path) -> None:
    path = folder / FILES["audio"].name
    path.write_bytes(path.read_bytes()[:-100])


def _folds(content: object) -> Callable[[Path], object]:
    text = content if isinstance(content, str) else json.dumps(content)
    return lambda folder: (folder / "folds.json").write_text(text)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncated, "damaged or cut off"),
        (_folds("{"), "JSON object"),
        (_folds([]), "should be an object"),
        (_folds({"train": ["2869"], "test": ["t"]}), "the keys train, test"),
        (_folds(FOLDS | {"valid": "v"}), r"\[valid\]: expected a JSON object .* list"),
        (_folds(FOLDS | {"valid": ["286"]}), "fold valid.*none"),
        (lambda folder: (folder / "folds.json").unlink(), "No such file"),
    ],
)
def test_damaged_files_and_folds_are_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message):
        read_csd(folder, OPTIONS)


def test_the_published_folds_are_whole_and_disjoint(folder):
    with pytest.raises(InputError, match="fold train"):
        read_csd(folder, CsdOptions())
    published = Path(read_csd.__code__.co_filename).with_name("standard_folds.json")
    folds = {key: set(videos) for key, videos in json.loads(published.read_text()).items()}
    counts = {key: len(videos) for key, videos in folds.items()}
    assert len(set().union(*folds.values())) == sum(counts.values())
    assert counts == {
        "standard_train_fold": 2249,
        "standard_valid_fold": 300,
        "standard_test_fold": 678,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alignment": "words"}, "alignment"),
        ({"label_columns": ("happy",)}, "label_columns"),
        ({"emotion_threshold": -1.0}, "emotion_threshold"),
        ({"emotion_threshold": math.nan}, "emotion_threshold"),
        ({"max_words": 0}, "max_words"),
        ({"max_frames": 0}, "max_frames"),
        ({"frames_per_second": {"visual": 0}}, "visual"),
        ({"label_tolerance": -0.1}, "label_tolerance"),
        ({"arithmetic": "sdk", "alignment": "none"}, "alignment word"),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        CsdOptions(**values)


def test_every_split_can_be_read_more_than_once(folder):
    source = read_csd(folder, OPTIONS)
    for split in SPLITS:
        first, second = (list(source.read(split, source.groups[split])) for _ in range(2))
        assert len(first) == len(second) > 0


def test_rows_that_all_overlap_each_other_are_refused(folder):
    whole = np.tile([0.0, 7.0], (3000, 1))
    for file in (FILES["text"], FILES["visual"]):
        rows = [(video, np.zeros((3000, file.width), np.float32), whole) for video in VIDEOS]
        write_csd(folder / file.name, file.root_name, rows, "the same time, over and over")
    with pytest.raises(InputError, match=r"\[2869\]: expected intervals of a recording"):
        _samples(folder)
