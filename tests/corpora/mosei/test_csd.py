"""CMU-MOSEI's official files as samples, and what is refused before any sample is read."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import joblib
import numpy as np
import pytest
from pydantic import ValidationError

from mmer.corpora.corpus import Manifest, RawCorpus
from mmer.corpora.ingestion import aligned_table, check_disjoint, open_corpus
from mmer.corpora.mosei import MoseiIngestion
from mmer.corpora.mosei.csd import FILES, LABELS, WORDS, CsdOptions, read_csd
from mmer.corpora.mosei.labels import EMOTIONS, LABEL_COLUMNS, read_segment_labels
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


def _samples(folder: Path, split: str = "train", options: CsdOptions = OPTIONS) -> dict:
    return {s.sample_id: s for s in read_csd(folder, options).read(split)}


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


def test_unaligned_samples_keep_their_frames(folder):
    options = _with(alignment="none", max_words=3, max_frames=80)
    source = read_csd(folder, options)
    assert source.alignment == "none"
    sample = {s.sample_id: s for s in source.read("valid")}["v[1]"]
    assert sample.words == ["b", "c", "d"]
    assert sample.features["text"][:, 0].tolist() == [1, 2, 3]
    np.testing.assert_allclose(sample.features["visual"][:, 0], np.arange(60) / 30, rtol=1e-6)
    np.testing.assert_allclose(sample.features["audio"][1:, 0], np.arange(3, 200, 3) / 100)


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


def test_the_number_of_processes_changes_nothing(folder):
    one, two = _samples(folder), _samples(folder, options=_with(n_jobs=2))
    assert _same(one, two)
    assert len({_opened(folder, n_jobs=n).fingerprint for n in (1, 2, -1)}) == 1


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_damage_that_is_met_on_the_way_is_named(folder, n_jobs):
    with h5py.File(folder / FILES["audio"].name, "r+") as file:
        del file["COVAREP/data/late/intervals"]
    samples = read_csd(folder, _with(n_jobs=n_jobs)).read("train")
    with pytest.raises(InputError, match=r"COVAREP\.csd \[late/intervals\]"):
        list(samples)


@pytest.mark.slow
def test_a_dask_cluster_of_two_workers_gives_the_same(folder):
    distributed = pytest.importorskip("distributed")
    options = _with(n_jobs=2)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        before = cluster.scheduler.transition_counter
        on_cluster = _samples(folder, options=options)
        assert cluster.scheduler.transition_counter > before
    assert _same(_samples(folder), on_cluster)


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


def test_label_columns_are_those_that_the_file_states(folder):
    order = [3, 1, 0, 2, 6, 5, 4]
    shuffled, names = INTENSITIES[:, order], [LABEL_COLUMNS[i] for i in order]
    expected = read_segment_labels(folder / LABELS.name)["2869"]
    for stated in (names, [name.title() for name in names], str(names)):
        _write_labels(folder, shuffled, stated)
        found = read_segment_labels(folder / LABELS.name)["2869"]
        np.testing.assert_array_equal(found.emotions, expected.emotions)
        np.testing.assert_array_equal(found.sentiment, expected.sentiment)
    _write_labels(folder, shuffled, None)
    found = read_segment_labels(folder / LABELS.name, tuple(names))["2869"]
    np.testing.assert_array_equal(found.emotions, expected.emotions)
    # Settings speak for the file only where it does not speak itself.
    _write_labels(folder, INTENSITIES, list(LABEL_COLUMNS))
    found = read_segment_labels(folder / LABELS.name, tuple(names))["2869"]
    np.testing.assert_array_equal(found.emotions, expected.emotions)


def test_a_remark_in_the_place_of_column_names_is_none(folder):
    _write_labels(folder, INTENSITIES, "sentiment and six emotions")
    assert read_segment_labels(folder / LABELS.name)["2869"].emotions[2].tolist() == [0] * 5 + [1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([*LABEL_COLUMNS[:6], "contempt"], "contempt"),
        (list(LABEL_COLUMNS[:6]), "in any order"),
        ([*LABEL_COLUMNS[:6], "happy"], "in any order"),
        ({"happy": 1}, "in any order.*happy"),
        ("['sentiment', 'happiness', 'sadness', 'anger', 'surprise', 'disgust', 'fear']", "anger"),
    ],
)
def test_unknown_label_names_are_refused(folder, names, message):
    _write_labels(folder, INTENSITIES, names)
    with pytest.raises(InputError, match=message):
        read_csd(folder, OPTIONS)


@pytest.mark.parametrize("value", [math.nan, -0.5, 3.5])
def test_intensities_out_of_range_are_refused(folder, value):
    values = INTENSITIES.copy()
    values[2, 4] = value
    _write_labels(folder, values, None)
    with pytest.raises(InputError, match=r"segment 2.*label_columns"):
        read_csd(folder, OPTIONS)


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
    check_disjoint("folds", folds)
    counts = {key: len(videos) for key, videos in folds.items()}
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
        ({"n_jobs": 0}, "n_jobs"),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        CsdOptions(**values)


def test_every_split_can_be_read_more_than_once(folder):
    source = read_csd(folder, OPTIONS)
    for split in SPLITS:
        assert len(list(source.read(split))) == len(list(source.read(split))) > 0
