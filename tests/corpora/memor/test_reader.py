"""MEmoR's official files: which samples there are, and what stands in which step."""

from __future__ import annotations

import json

import look_alikes
import mutations
import numpy as np
import pytest
import torch

from mmer.corpora import CORPORA
from mmer.corpora.corpus import RawCorpus
from mmer.corpora.ingestion import aligned_table, open_corpus
from mmer.corpora.memor import MemorIngestion
from mmer.corpora.memor.annotations import CHARACTERS, EMOTIONS
from mmer.corpora.memor.reader import MemorOptions, outwards, read_memor
from mmer.corpora.split_report import count_split
from mmer.errors import InputError
from mmer.samples.batches import pack

SHELDON, LEONARD, HOWARD, RAJESH, PENNY = range(5)


def samples(source, split="train"):
    return {one.sample_id: one for one in look_alikes.samples(source, split)}


def read_all(files):
    source = files.read()
    return {split: look_alikes.samples(source, split) for split in source.groups}


def steps(sample, modality):
    """(person, segment) of each step."""
    pairs = zip(sample.step_persons[modality], sample.step_segments[modality], strict=True)
    return [(int(person), int(segment)) for person, segment in pairs]


def present(sample, kind="primary"):
    return {EMOTIONS[kind][i] for i in np.flatnonzero(sample.labels)}


def test_a_sample_is_a_character_in_a_clip_with_all_its_emotions(files) -> None:
    found = samples(source := files.read())
    assert source.labels == EMOTIONS["primary"]
    assert source.alignment == "none"
    assert {m: f.width for m, f in source.features.items()} == {"text": 4, "visual": 6, "audio": 5}
    assert list(found) == ["one+penny", "one+rajesh", "two+leonard"]
    assert [one.person for one in found.values()] == [PENNY, RAJESH, LEONARD]
    assert [one.group_id for one in found.values()] == ["one", "one", "two"]
    assert list(source.groups["train"]) == ["one", "one", "two"]
    assert [present(one) for one in found.values()] == [{"joy", "fear"}, {"trust"}, {"neutral"}]
    assert (found["one+penny"].start, found["one+penny"].end) == (100, 103)
    assert list(samples(source, "test")) == ["three+penny", "four+penny"]


def test_a_sample_is_a_clip_with_the_emotions_of_everybody(files) -> None:
    files.clips["one"]["speakers"][1] = HOWARD
    found = samples(files.read(unit="clip"))
    assert list(found) == ["one", "two"]
    assert present(found["one"]) == {"joy", "fear", "trust"}
    assert found["one"].person == HOWARD  # he speaks most
    assert steps(found["one"], "text") == [(HOWARD, 1), (HOWARD, 2), (PENNY, 0)]


def test_a_sample_is_a_moment_which_is_segment_0(files) -> None:
    found = samples(files.read(unit="moment"))
    assert list(found) == ["one+penny+0", "one+penny+1", "one+rajesh+2", "two+leonard+3"]
    assert [present(one) for one in found.values()] == [{"joy"}, {"fear"}, {"trust"}, {"neutral"}]
    first, second = found["one+penny+0"], found["one+penny+1"]
    assert steps(first, "visual") == [(PENNY, 0), (HOWARD, 0), (HOWARD, 3)]
    assert steps(second, "visual") == [(PENNY, 4), (HOWARD, 0), (HOWARD, 4)]
    assert (second.start, second.end) == (102, 103)
    np.testing.assert_array_equal(first.features["visual"][2], second.features["visual"][1])


def test_segments_are_numbered_outwards_from_the_moment() -> None:
    assert [outwards(2, position) for position in range(6)] == [4, 2, 0, 1, 3, 5]


def test_steps_are_cells_that_exist_the_persons_own_first(files) -> None:
    one = samples(files.read())["one+penny"]
    assert steps(one, "text") == [(PENNY, 0), (HOWARD, 2)]  # Sheldon is not on screen
    assert steps(one, "audio") == [(PENNY, 0), (HOWARD, 2)]
    assert steps(one, "visual") == [(PENNY, 0), (HOWARD, 0), (HOWARD, 2)]  # ten faces are too few
    np.testing.assert_allclose(one.features["text"][1], files.text["one+2"], rtol=1e-6)
    np.testing.assert_allclose(one.features["audio"][1], files.audio["one+9"], rtol=1e-6)


def test_whoever_is_asked_about_belongs_to_the_clip_without_being_on_screen(files) -> None:
    files.annotations["primary"][2]["character"] = SHELDON
    found = samples(files.read())["one+sheldon"]
    assert steps(found, "text") == [(SHELDON, 1), (HOWARD, 2), (PENNY, 0)]


def test_what_is_not_there_is_absent(files) -> None:
    found = samples(source := files.read())
    assert found["two+leonard"].features["visual"] is None
    assert found["two+leonard"].features["text"].shape == (1, 4)
    assert samples(source, "test")["three+penny"].features["audio"] is None


def test_visual_features_are_means_of_faces_objects_and_environment(files) -> None:
    one = samples(files.read())["one+penny"]
    arrays = files.visual["one"]
    expected = [
        np.concatenate([arrays["face"][own].mean(axis=0), *scene])
        for own, scene in [
            (slice(0, 12), [arrays[part][0:23].mean(axis=0) for part in ("object", "environment")]),
            (slice(12, 23), [arrays[p][0:23].mean(axis=0) for p in ("object", "environment")]),
            (slice(33, 48), [arrays[p][47:71].mean(axis=0) for p in ("object", "environment")]),
        ]
    ]
    np.testing.assert_allclose(one.features["visual"], expected, rtol=1e-5)


def test_a_scene_without_frames_is_not_finite_and_counted(files, tmp_path) -> None:
    files.visual["one"]["object"] = files.visual["one"]["object"][:40]
    one = samples(files.read())["one+penny"]
    assert np.isnan(one.features["visual"]).sum(axis=1).tolist() == [0, 0, 2]
    manifest = open_corpus("memor", RawCorpus(path=files.folder), MemorIngestion())
    tables = [aligned_table(manifest, s, tmp_path / "tables") for s in ("train", "valid")]
    cleaned = [row for t in tables for row in t.arrow()["cleaned"].to_pylist()]
    assert np.sum(cleaned, axis=0).tolist() == [0, 4, 0]  # of two samples


def test_traits_have_columns_of_length_one(files) -> None:
    persons = files.read().persons
    assert persons.names == CHARACTERS
    rows = np.array([line.split(",") for line in files.traits.splitlines()], float)
    expected = torch.nn.functional.normalize(torch.tensor(rows), dim=0).numpy()
    np.testing.assert_allclose(persons.traits, expected, rtol=1e-12)


def test_traits_that_are_zero_or_huge(files) -> None:
    rows = [line.split(",") for line in files.traits.splitlines()]
    for row in rows:
        row[0], row[1] = "0", "1e300"
    files.traits = "\n".join(map(",".join, rows))
    traits = np.array(files.read().persons.traits)
    assert not traits[:, 0].any()
    np.testing.assert_allclose(traits[:, 1], 8**-0.5)


def test_fine_grained_emotions(files) -> None:
    found = samples(source := files.read(labels="fine_grained"))
    assert len(source.labels) == 14
    assert present(found["one+penny"], "fine_grained") == {"serenity", "fear"}


def test_text_may_be_named_by_the_original_number(files) -> None:
    expected = samples(files.read())["one+penny"].features["text"]
    files.text = {
        f"{clip}+{7 + int(position)}": vector
        for clip, position, vector in ((*name.split("+"), v) for name, v in files.text.items())
    }
    with pytest.raises(InputError, match=r"one\+0\]: expected text of every .*text_key: original"):
        files.read()
    found = samples(files.read(text_key="original"))["one+penny"].features["text"]
    np.testing.assert_array_equal(found, expected)


def test_whoever_is_listed_in_another_order_is_the_same(files) -> None:
    expected = samples(files.read())
    files.clips["one"]["on_character"].reverse()
    files.annotations["primary"][:3] = files.annotations["primary"][2::-1]
    found = samples(files.read())
    assert list(found) == ["one+rajesh", "one+penny", "two+leonard"]
    for name, sample in expected.items():
        np.testing.assert_array_equal(found[name].labels, sample.labels)
        for modality in sample.features:
            assert steps(found[name], modality) == steps(sample, modality)
            np.testing.assert_array_equal(found[name].features[modality], sample.features[modality])


def test_other_characters_in_the_same_places_give_the_same_in_another_order(files) -> None:
    """Penny and Howard change names wherever they stand."""
    before = samples(files.read())["one+penny"]
    other = {PENNY: HOWARD, HOWARD: PENNY}
    for clip in files.clips.values():
        for key in ("on_character", "speakers"):
            clip[key] = [other.get(who, who) for who in clip[key]]
    for row in files.annotations["primary"]:
        row["character"] = other.get(row["character"], row["character"])
    names = {"penny": "howard", "howard": "penny"}
    for clip, faces in files.faces.items():
        parts = (face.lower().split("_") for face in faces)
        files.faces[clip] = [f"{f}_{names.get(n[:-4], n[:-4])}.jpg" for f, n in parts]
    after = samples(files.read())["one+howard"]
    for modality, rows in before.features.items():
        was = {(other.get(p, p), s): i for i, (p, s) in enumerate(steps(before, modality))}
        assert set(was) == set(steps(after, modality))
        order = [was[step] for step in steps(after, modality)]
        np.testing.assert_array_equal(after.features[modality], rows[order])


def test_a_moment_outside_of_all_segments_takes_the_nearest(files) -> None:
    files.annotations["primary"][1]["moment"] = 300.0
    source = files.read(unit="moment")
    assert source.notes == ("1 moments lie in no segment: the nearest one is taken",)
    assert samples(source)["one+penny+1"].start == 102
    assert files.read().notes == ()


def test_a_clip_for_training_and_testing_is_tested_on(files) -> None:
    files.ids = {"train_id.txt": [0, 3, 4], "test_id.txt": [1, 5]}
    source = files.read(unit="moment")
    [cut, unlisted] = source.notes
    assert "1 of 4 clips" in cut
    assert "(1 of 3) and for testing: they are tested on" in cut
    assert unlisted == "1 annotations are neither in train_id.txt nor in test_id.txt"
    assert list(samples(source)) == ["two+leonard+3", "three+penny+4"]
    assert list(samples(source, "test")) == ["one+penny+1", "four+penny+5"]
    sets = samples(files.read(), "test")
    assert list(sets) == ["one+penny", "four+penny"]
    assert present(sets["one+penny"]) == {"joy", "fear"}, "a set is one of all annotations"


def test_a_clip_for_training_and_testing_may_be_refused_or_left(files) -> None:
    files.ids = {"train_id.txt": [0, 3, 4], "test_id.txt": [1, 5]}
    with pytest.raises(InputError, match=r"train_id\.txt.*1 of 4 clips.*one.*straddling: test"):
        files.read(straddling="refuse")
    with pytest.raises(InputError, match="expected unit moment, found character"):
        files.read(straddling="as_published")
    source = files.read(straddling="as_published", unit="moment")
    assert not source.groups_known
    assert list(samples(source)) == ["one+penny+0", "two+leonard+3", "three+penny+4"]
    assert list(samples(source, "test")) == ["one+penny+1", "four+penny+5"]
    assert not set(source.groups["train"]) & set(source.groups["test"])
    assert "left as published" in source.notes[0]


def test_a_clip_of_unlisted_annotations_alone_is_not_asked_for(files) -> None:
    other = {"clip": "gone", "character": 0, "moment": 1.0, "emotion": "joy"}
    files.annotations["primary"].append(other)
    source = read_memor(files.write(), MemorOptions())
    assert any("neither in" in note for note in source.notes)


def test_groups_may_be_what_clips_are_cut_from(files) -> None:
    files.ids = {"train_id.txt": [0, 1, 2, 3, 4], "test_id.txt": [5]}
    source = files.read(group_pattern="(.).*")
    assert source.groups == {"train": ("o", "o", "t", "t"), "test": ("f",)}
    with pytest.raises(InputError, match=r"group_pattern '\(o\).*', found 'two'"):
        files.read(group_pattern="(o).*")


def test_only_what_is_asked_for_is_read(files) -> None:
    source = files.read()
    assert [one.sample_id for one in source.read("train", {"two"})] == ["two+leonard"]
    assert {path.name for path in source.files if path.suffix == ".pt"} == {
        "one.pt",
        "three.pt",
        "four.pt",
    }
    assert len(source.files) == 7 + 4 + 3 * 3


def test_the_table_has_it_all(files, tmp_path) -> None:
    """Through processes of their own, as a run reads it."""
    manifest = open_corpus("memor", RawCorpus(path=files.write()), MemorIngestion())
    table = aligned_table(manifest, "test", tmp_path / "tables")
    rows = pack(table)
    assert rows.info.persons.names == CHARACTERS
    assert rows.sample_ids == ("three+penny", "four+penny")
    assert rows.target.tolist() == [PENNY, PENNY]
    assert rows.host_lengths["audio"].tolist() == [0, 1]
    assert rows.step_segments["visual"].tolist() == [0, 0]


def test_samples_of_two_people_are_two_even_if_features_are_the_same(files, tmp_path) -> None:
    files.clips["four"]["on_character"] = [HOWARD, PENNY]
    files.faces["four"] = [name.replace("penny", "howard") for name in files.faces["four"]]
    row = {**files.annotations["primary"][5], "character": HOWARD}
    files.annotations["primary"].append(row)
    files.ids["test_id.txt"].append(6)
    manifest = open_corpus("memor", RawCorpus(path=files.write()), MemorIngestion())
    table = aligned_table(manifest, "test", tmp_path / "tables")
    one, other = table.arrow().to_pylist()[1:]
    assert all(one[modality] == other[modality] for modality in table.info.modalities)
    _, identities = count_split(table, table.info.labels)
    assert identities.samples["digest"].nunique() == 3


def test_a_moment_has_one_label(files, tmp_path) -> None:
    assert files.read(unit="moment").one_label
    assert not files.read().one_label
    settings = MemorIngestion(official=MemorOptions(unit="moment"))
    manifest = open_corpus("memor", RawCorpus(path=files.folder), settings)
    assert aligned_table(manifest, "test", tmp_path / "tables").info.one_label


def test_the_bayes_optimal_score_is_of_what_is_read(files, tmp_path) -> None:
    best = {"character, primary: micro_f1": 0.5, "moment, primary: micro_f1": 0.25}
    raw = RawCorpus(path=files.write(), synthetic=True, bayes_optimal=best)
    for options, expected in (({}, 0.5), ({"unit": "moment"}, 0.25)):
        settings = MemorIngestion(official=MemorOptions(**options))
        table = aligned_table(open_corpus("memor", raw, settings), "test", tmp_path / "tables")
        assert table.info.bayes_optimal == {"micro_f1": expected}


def test_a_note_says_how_a_synthetic_one_is_made(files) -> None:
    for synthetic in (True, False):
        raw = RawCorpus(path=files.write(), synthetic=synthetic)
        notes = open_corpus("memor", raw, MemorIngestion()).notes
        assert (CORPORA["memor"].made in notes) is synthetic


FAULTS = {
    "unknown emotion": (
        lambda f: f.annotations["primary"][1].update(emotion="bliss"),
        r"anno\.json \[primary\[1\]/emotion\]: expected one of neutral, .*, found 'bliss'",
    ),
    "fine-grained emotion among primary ones": (
        lambda f: f.annotations["primary"][1].update(emotion="serenity"),
        r"primary\[1\]/emotion",
    ),
    "unknown character": (
        lambda f: f.annotations["primary"][0].update(character=8),
        r"primary\[0\]/character\]: expected the index of a character, 0 to 7, found 8",
    ),
    "character that is no index": (
        lambda f: f.annotations["primary"][0].update(character="penny"),
        "index of a character, 0 to 7, found 'penny'",
    ),
    "no moment": (
        lambda f: f.annotations["primary"][0].pop("moment"),
        r"primary\[0\]\]: expected a field 'moment'",
    ),
    "moment that is no time": (
        lambda f: f.annotations["primary"][0].update(moment=float("nan")),
        "finite numbers",
    ),
    "no list of annotations": (
        lambda f: f.annotations.update(primary={}),
        r"anno\.json \[primary\]: expected a list of annotations, found dict of 0",
    ),
    "no such annotations": (
        lambda f: f.annotations.pop("primary"),
        r"anno\.json.*a field 'primary', found 'fine_grained'",
    ),
    "clip that is a path": (
        lambda f: f.annotations["primary"][0].update(clip="../../one"),
        r"primary\[0\]/clip\]: expected a name that files can have, found '\.\./\.\./one'",
    ),
    "clip without data": (
        lambda f: f.clips.pop("two"),
        r"data\.json: expected every clip that anno\.json names, such as 'two'",
    ),
    "clip without speakers": (
        lambda f: f.clips["one"].pop("speakers"),
        r"data\.json \[one\]: expected a field 'speakers'",
    ),
    "lists of other lengths": (
        lambda f: f.clips["one"]["speakers"].pop(),
        r"data\.json \[one\]: expected as many segments in each list.*speakers: 2",
    ),
    "no segment": (
        lambda f: (
            [f.clips["two"][k].clear() for k in f.clips["two"] if k.startswith("se")]
            + [f.clips["two"]["speakers"].clear()]
        ),
        "at least one, found seg_start: 0",
    ),
    "segment that ends before it starts": (
        lambda f: f.clips["one"]["seg_end"].__setitem__(1, 100.0),
        r"one/seg_end\[1\]\]: expected a time after its start, 101\.0 s, found 100\.0 s",
    ),
    "unknown speaker": (
        lambda f: f.clips["one"]["speakers"].__setitem__(2, -1),
        r"one/speakers\[2\]\]: expected the index of a character",
    ),
    "unknown character on screen": (
        lambda f: f.clips["one"]["on_character"].append(99),
        r"one/on_character\[2\]",
    ),
    "original number that is none": (
        lambda f: f.clips["one"]["seg_ori_ind"].__setitem__(0, 1.5),
        r"one/seg_ori_ind\[0\]\]: expected a number of a segment, found 1\.5",
    ),
    "position out of range": (
        lambda f: f.ids["train_id.txt"].append(6),
        r"train_id\.txt \[line 5\]: expected a position in the 6 annotations, 0 to 5, found '6'",
    ),
    "negative position": (
        lambda f: f.ids["test_id.txt"].append(-1),
        r"test_id\.txt \[line 3\]: expected a position",
    ),
    "position twice": (
        lambda f: f.ids["train_id.txt"].append(2),
        r"train_id\.txt \[line 5\]: expected each position once, found 2 again",
    ),
    "position in both": (
        lambda f: f.ids["test_id.txt"].append(2),
        r"test_id\.txt: expected no position that is in train_id\.txt, found 1, such as 2",
    ),
    "no positions": (
        lambda f: f.ids["test_id.txt"].clear(),
        r"test_id\.txt: expected positions of annotations, found none",
    ),
    "nothing left for training": (
        lambda f: f.ids.update({"train_id.txt": [0, 1], "test_id.txt": [2]}),
        "expected annotations of groups that have none for testing",
    ),
    "text of another width": (
        lambda f: f.text["one+2"].pop(),
        r"text_features\.json \[one\+2\]: expected 4 numbers",
    ),
    "text missing": (
        lambda f: f.text.pop("one+2"),
        r"text_features\.json \[one\+2\]: expected text of every segment",
    ),
    "audio that is no number": (
        lambda f: f.audio["one+9"].__setitem__(0, "1"),
        r"audio_features\.json \[one\+9\]: expected a list of numbers",
    ),
    "audio of another width": (
        lambda f: f.audio["one+9"].append(0.5),
        r"audio_features\.json \[one\+9\]: expected 5 numbers.*found 6",
    ),
    "name that is no face": (
        lambda f: f.faces["one"].__setitem__(3, "penny.jpg"),
        r"face_names/one\.txt \[face 3\]: expected names such as 12_sheldon\.jpg",
    ),
    "no list of faces": (
        lambda f: f.faces.pop("two"),
        r"face_names/two\.txt: expected a list of a clip's faces",
    ),
    "fewer faces than names": (
        lambda f: f.visual["one"].update(face=f.visual["one"]["face"][:-1]),
        r"face_features/one\.pt: expected a row for each of the 48 faces in .*one\.txt",
    ),
    "faces of another width": (
        lambda f: f.visual["four"].update(face=f.visual["four"]["face"][:, 1:]),
        r"face_features/four\.pt: expected rows of width 3, as of other clips",
    ),
    "scene of another width": (
        lambda f: f.visual["three"].update(object=f.visual["three"]["object"][:, 1:]),
        r"object_features/three\.pt: expected rows of width 2",
    ),
    "faces that are no matrix": (
        lambda f: f.visual["one"].update(face=f.visual["one"]["face"].ravel()),
        r"face_features/one\.pt: expected a tensor with a vector in each row",
    ),
    "no faces at all": (
        lambda f: [named.clear() for named in f.faces.values()],
        "expected a clip with more than ten faces, found none",
    ),
    "traits of too few": (
        lambda f: setattr(f, "traits", "1,2\n3,4\n"),
        r"character_features\.csv: expected a row for each of 8 characters, found 2",
    ),
    "traits that are none": (
        lambda f: setattr(f, "traits", f.traits.replace(",", ";", 1)),
        r"character_features\.csv \[line 1\]: expected finite numbers",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_named(files, name) -> None:
    fault, message = FAULTS[name]
    fault(files)
    with pytest.raises(InputError, match=message):
        read_all(files)


TEXTS = [
    "anno.json",
    "data.json",
    "train_id.txt",
    "features/text_features.json",
    "features/audio_features.json",
    "features/character_features.csv",
]
BROKEN = [
    *TEXTS,
    "features/visual_features/face_names/one.txt",
    "features/visual_features/face_features/one.pt",
    "features/visual_features/object_features/three.pt",
]


@pytest.mark.parametrize("name", TEXTS)
def test_files_that_are_missing_or_damaged(files, name) -> None:
    path = files.write() / name
    path.write_bytes(b'{"a": [1, 2')
    with pytest.raises(InputError, match=path.name):
        read_memor(files.folder, MemorOptions())
    path.unlink()
    with pytest.raises(InputError, match=path.name):
        read_memor(files.folder, MemorOptions())


def test_faces_may_be_stored_as_one_vector_each(files) -> None:
    expected = samples(files.read())["one+penny"].features["visual"]
    arrays = files.visual["one"]
    arrays["face"] = [torch.from_numpy(row) for row in arrays["face"]]
    found = samples(files.read())["one+penny"].features["visual"]
    np.testing.assert_array_equal(found, expected)


def test_a_file_of_features_that_runs_something_is_refused(files) -> None:
    class Intruder:
        def __reduce__(self):
            return print, ("run",)

    torch.save(Intruder(), files.write() / "features/visual_features/face_features/one.pt")
    with pytest.raises(InputError, match="Nothing in a data file is ever run"):
        look_alikes.samples(read_memor(files.folder, MemorOptions()), "train")


def test_names_that_stand_twice_are_refused(files) -> None:
    path = files.write() / "data.json"
    content = json.dumps(files.clips)
    path.write_text(content[:-1] + ', "one": {}}')
    with pytest.raises(InputError, match=r"each name of an object once, found 'one' 2 times"):
        read_memor(files.folder, MemorOptions())


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_whatever_is_changed_in_a_file_it_is_read_or_refused(files, name) -> None:
    rng, path = np.random.default_rng(3), files.write() / name
    content, refused = path.read_bytes(), 0
    for _ in range(300):
        path.write_bytes(mutations.break_bytes(rng, content))
        try:
            source = read_memor(files.folder, MemorOptions())
            for split in source.groups:
                look_alikes.samples(source, split)
        except InputError:
            refused += 1
    assert refused > 30
