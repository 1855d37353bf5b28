"""The ten objects of M3ED: dialogues with the emotions of their utterances."""

from __future__ import annotations

import pickle

import look_alikes
import numpy as np
import pytest
from pydantic import ValidationError

from mmer.corpora.m3ed.reader import FILES, M3edOptions, read_pkl
from mmer.errors import InputError
from mmer.samples.table import SPLITS

LONGEST = "series0_1"  # six utterances


@pytest.fixture
def content() -> list:
    return look_alikes.m3ed_content(np.random.default_rng(1))


def _read(tmp_path, content, name="features.pkl", **options):
    path = look_alikes.write_pickle(tmp_path / name, content)
    return read_pkl(path, M3edOptions(**options))


def _sample(source, dialogue=LONGEST):
    return next(
        s for split in SPLITS for s in look_alikes.samples(source, split) if s.sample_id == dialogue
    )


def test_every_dialogue_is_a_sample(tmp_path, content) -> None:
    source = _read(tmp_path, content)
    assert source.alignment == "utterance"
    assert source.labels == look_alikes.M3ED_LABELS
    assert {m: f.width for m, f in source.features.items()} == look_alikes.WIDTHS
    for split, names in zip(SPLITS, content[7:], strict=True):
        samples = look_alikes.samples(source, split)
        assert [sample.sample_id for sample in samples] == names
        for name, sample in zip(names, samples, strict=True):
            for modality, position in {"text": 3, "audio": 4, "visual": 5}.items():
                np.testing.assert_array_equal(sample.features[modality], content[position][name])
            assert set(np.flatnonzero(sample.labels)) == set(content[2][name])
            assert sample.words == content[6][name]
            assert sample.group_id == name.split("_")[0]


def test_the_published_swap(tmp_path, content) -> None:
    name = "A_wav2vec-V_denseface-Lroberta.pkl"
    right, swapped = (_read(tmp_path, content, name, published_swap=s) for s in (False, True))
    assert {m: f.name for m, f in right.features.items()} == {
        "text": "roberta",
        "audio": "wav2vec",
        "visual": "denseface",
    }
    assert swapped.features["visual"] == right.features["audio"]
    ours, theirs = _sample(right).features, _sample(swapped).features
    np.testing.assert_array_equal(ours["audio"], theirs["visual"])
    np.testing.assert_array_equal(ours["visual"], theirs["audio"])


def test_labels_of_utterances_that_were_cut_off(tmp_path, content) -> None:
    content[2][LONGEST] = [0, 0, 0, 0, 5, 6]
    whole = _sample(_read(tmp_path, content, max_length=4))
    kept = _sample(_read(tmp_path, content, max_length=4, labels_of_whole_dialogue=False))
    assert {len(rows) for rows in whole.features.values()} == {4}
    assert len(whole.words) == 4
    assert np.flatnonzero(whole.labels).tolist() == [0, 5, 6]
    assert np.flatnonzero(kept.labels).tolist() == [0]


@pytest.mark.parametrize("form", ["ten pickles", "tuple", "vectors", "arrays of classes", "sets"])
def test_other_readings_of_the_layout(tmp_path, content, form) -> None:
    expected = _sample(_read(tmp_path, content))
    path = tmp_path / "other.pkl"
    if form == "vectors":
        content[3] = {name: list(rows) for name, rows in content[3].items()}
    elif form == "arrays of classes":
        content[2] = {name: np.array(classes) for name, classes in content[2].items()}
    elif form == "sets":
        content[7:] = map(set, content[7:])
    if form == "ten pickles":
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in content))
    else:
        path.write_bytes(pickle.dumps(tuple(content) if form == "tuple" else content))
    found = _sample(read_pkl(path, M3edOptions()))
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.features["text"], expected.features["text"])


def test_groups_are_series_where_ids_name_them(tmp_path, content) -> None:
    source = _read(tmp_path, content)
    groups = [sample.group_id for sample in look_alikes.samples(source, "train")]
    assert groups == ["series0", "series0", "series1", "series1"]
    assert list(source.groups["train"]) == groups


def test_only_dialogues_of_the_groups_that_are_asked_for(tmp_path, content) -> None:
    source = _read(tmp_path, content)
    names = [sample.sample_id for sample in source.read("train", {"series1"})]
    assert names == ["series1_1", "series1_11"]


def test_groups_are_dialogues_where_ids_name_nothing_else(tmp_path, content) -> None:
    names = {name: f"dialogue{at}" for at, name in enumerate(content[0])}
    content[:7] = [{names[name]: v for name, v in part.items()} for part in content[:7]]
    content[7:] = [[names[name] for name in part] for part in content[7:]]
    source = _read(tmp_path, content)
    assert source.groups["train"] == ("dialogue0", "dialogue1", "dialogue2", "dialogue3")


def test_groups_are_what_the_pattern_says(tmp_path, content) -> None:
    source = _read(tmp_path, content, group_pattern=".+")
    assert list(source.groups["train"]) == content[7]


def test_splits_that_share_a_series_are_refused(tmp_path, content) -> None:
    content[8][0], content[9][0] = content[9][0], content[8][0]
    with pytest.raises(InputError, match=r"splits valid and test\]: .* group_pattern"):
        _read(tmp_path, content)
    assert len(_read(tmp_path, content, group_pattern=".+").groups["test"]) == 4


def test_a_folder_with_one_pickle(tmp_path, content) -> None:
    with pytest.raises(InputError, match=r"one \.pkl file, or the name of one, found none"):
        read_pkl(tmp_path, M3edOptions())
    expected = _sample(_read(tmp_path, content))
    source = read_pkl(tmp_path, M3edOptions())
    assert source.files == (tmp_path / "features.pkl",)
    np.testing.assert_array_equal(_sample(source).labels, expected.labels)


def official(widths: dict[str, int]) -> list:
    """The ten objects with features of these widths."""
    rng, content = np.random.default_rng(1), look_alikes.m3ed_content(np.random.default_rng(1))
    for position, modality in ((3, "text"), (4, "audio"), (5, "visual")):
        content[position] = {
            name: rng.normal(size=(len(rows), widths[modality])).astype(np.float32)
            for name, rows in content[position].items()
        }
    return content


def test_the_four_published_files_in_one_folder(tmp_path) -> None:
    for name in FILES:
        audio = 1582 if "IS10" in name else 1024
        content = official({"text": 768, "audio": audio, "visual": 342})
        look_alikes.write_pickle(tmp_path / name, content)
    with pytest.raises(InputError, match=r"file=NAME") as caught:
        read_pkl(tmp_path, M3edOptions())
    assert all(name in str(caught.value) for name in FILES)
    found = {}
    for name in FILES:
        source = read_pkl(tmp_path, M3edOptions(file=name))
        assert source.files == (tmp_path / name,)
        found[name] = [(f.name, f.width) for f in source.features.values()]
    assert list(found.values()) == [
        [
            ("sent_cls_robert_wwm_base_chinese4chmed", 768),
            ("sent_avg_affectdenseface", 342),
            ("IS10_norm", 1582),
        ],
        [
            ("sent_avg_robert_base_wwm_chinese", 768),
            ("sent_avg_affectdenseface", 342),
            ("sent_avg_wav2vec_zh", 1024),
        ],
        [
            ("sent_avg_robert_base_wwm_chinese", 768),
            ("sent_avg_affectdenseface", 342),
            ("sent_wav2vec_zh2chmed2e5last", 1024),
        ],
        [
            ("sent_cls_robert_wwm_base_chinese4chmed", 768),
            ("sent_avg_affectdenseface", 342),
            ("sent_wav2vec_zh2chmed2e5last", 1024),
        ],
    ]
    with pytest.raises(InputError, match=r"expected the file other\.pkl, found AIS10_norm"):
        read_pkl(tmp_path, M3edOptions(file="other.pkl"))


def test_features_of_another_width_than_the_name_says(tmp_path) -> None:
    content = official({"text": 768, "audio": 342, "visual": 1024})
    path = look_alikes.write_pickle(tmp_path / FILES[-1], content)
    with pytest.raises(InputError, match=r"position 5\]: expected rows of width 342.*found 1024"):
        read_pkl(path, M3edOptions())


def test_a_modality_without_any_value_is_handed_on(tmp_path, content) -> None:
    """The sample table decides whether it is absent."""
    content[5][LONGEST][:] = 0
    rows = _sample(_read(tmp_path, content)).features["visual"]
    assert rows.shape == (6, look_alikes.WIDTHS["visual"])
    assert not rows.any()


def _change(position, value, dialogue="series1_1"):
    def fault(content):
        content[position][dialogue] = value

    return fault


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda c: c.pop(), "a sequence of 10 objects, found list of 9"),
        (lambda c: c[4].pop("series1_1"), r"\[position 4\]: expected dialogue series1_1"),
        (_change(0, []), "a list of utterances"),
        (_change(2, [0, 1]), "a class for each of 3 utterances"),
        (_change(2, [0, 1, 7]), "classes 0 to 6, found 7"),
        (_change(2, [0, 1, True]), "classes 0 to 6, found True"),
        (_change(3, np.zeros((2, 4))), "a vector for each of 3 utterances"),
        (_change(3, np.zeros((3, 5))), "series1_1, text.*: expected rows of width 4"),
        (_change(3, [np.zeros(4), np.zeros(4), np.zeros(3)]), "a vector for each"),
        (_change(6, ["a", "b"]), "3 strings, found list of 2"),
        (lambda c: c[9].clear(), r"\[position 9\]: expected a list of dialogues"),
        (lambda c: c[9].append("series9_9"), "dialogues of position 0, found 'series9_9'"),
        (lambda c: c[9].append(c[9][0]), "each dialogue once, found 1 repeated"),
    ],
)
def test_faults_are_named(tmp_path, content, fault, message) -> None:
    fault(content)
    with pytest.raises(InputError, match=message):
        _read(tmp_path, content)


def test_ids_that_the_pattern_does_not_match(tmp_path, content) -> None:
    with pytest.raises(InputError, match="ids that match group_pattern"):
        _read(tmp_path, content, group_pattern="video.*")


@pytest.mark.parametrize(
    "settings", [{"labels": ("a", "a")}, {"max_length": 0}, {"group_pattern": "("}]
)
def test_settings_that_cannot_be(settings) -> None:
    with pytest.raises(ValidationError):
        M3edOptions(**settings)
