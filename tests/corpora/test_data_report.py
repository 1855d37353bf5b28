from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmer.corpora import CORPORA
from mmer.corpora.corpus import Published
from mmer.corpora.data_report import DataReport, Finding, data_report
from mmer.errors import InputError
from mmer.samples.table import (
    Features,
    Persons,
    Sample,
    SampleTable,
    TableInfo,
    record_batches,
    write_batches,
    write_table,
)

CORPUS = replace(CORPORA["mosei"], published=Published())


@pytest.fixture
def table_of(toy_info, tmp_path) -> Callable[..., SampleTable]:
    """Write samples as the table of a split."""

    def write(split: str, samples: list[Sample], **changes: object) -> SampleTable:
        info = toy_info.model_copy(update={"split": split, **changes})
        return write_table(tmp_path / f"{split}.arrow", info, samples)

    return write


@pytest.fixture
def splits(toy_samples):
    """Samples of three splits that share nothing."""
    made = {}
    for seed, (split, count) in enumerate({"train": 12, "valid": 6, "test": 6}.items()):
        made[split] = toy_samples(count, seed)
        for sample in made[split]:
            sample.sample_id = f"{split}-{sample.sample_id}"
            sample.group_id = f"{split}-{sample.group_id}"
            sample.words = [f"{split}-{word}" for word in sample.words]
    return made


@pytest.fixture
def report(splits, table_of):
    def make(corpus=CORPUS, notes=(), constant_labels=(), **changes: object) -> DataReport:
        tables = {s: table_of(s, samples, **changes) for s, samples in splits.items()}
        return data_report(tables, corpus, notes, constant_labels)

    return make


def texts(found: DataReport, severity: str = "") -> list[str]:
    """The findings as "split: text"."""
    return [f"{f.split}: {f.text}" for f in found.findings if severity in ("", f.severity)]


def test_counts_lengths_and_labels_are_those_of_the_samples(splits, report):
    found = report()
    for split, samples in splits.items():
        counted = found.splits[split]
        labels = np.stack([s.labels for s in samples])
        lengths = [len(s.features["visual"]) for s in samples]
        assert counted.samples == len(samples)
        assert counted.groups == len({s.group_id for s in samples})
        assert counted.lengths["visual"].median == np.median(lengths)
        assert counted.lengths["visual"].maximum == max(lengths)
        assert counted.lengths["visual"].mean == pytest.approx(np.mean(lengths))
        assert counted.seconds.minimum == counted.seconds.maximum == 1
        assert list(counted.label_counts.values()) == labels.sum(axis=0).tolist()
        assert list(counted.label_rates.values()) == pytest.approx(labels.mean(axis=0).tolist())
        together = np.array(counted.co_occurrence)
        np.testing.assert_array_equal(together, labels.astype(int).T @ labels)
        assert counted.without_label == (labels.sum(axis=1) == 0).sum()
    assert found.info.synthetic is True
    assert DataReport.from_json(found.to_json(), "report") == found


def test_batches_do_not_matter(splits, toy_info, table_of, tmp_path):
    whole = {s: table_of(s, samples) for s, samples in splits.items()}
    parts = {s: _in_batches_of_five(t.info, splits[s], tmp_path / s) for s, t in whole.items()}
    assert len(parts["train"].arrow().to_batches()) == 3
    assert data_report(parts, CORPUS) == data_report(whole, CORPUS)


def _in_batches_of_five(info: TableInfo, samples: list[Sample], path: Path) -> SampleTable:
    batches = (
        batch
        for begin in range(0, len(samples), 5)
        for batch in record_batches(info, samples[begin : begin + 5])
    )
    return write_batches(path, info, batches, may_be_empty=True)


def test_a_clean_corpus_has_no_finding(splits, report):
    for samples in splits.values():
        samples[0].labels[:] = 0
        samples[1].labels[:] = 1
    assert report().findings == ()


def test_missing_cleaned_and_constant_values_are_counted(splits, report):
    for sample in splits["train"][:3]:
        sample.features["visual"] = None
    for sample in splits["train"]:
        sample.features["audio"][:, 2] = 7
    splits["train"][5].features["text"][0, :2] = [np.nan, -np.inf]
    found = report()
    counted = found.splits["train"]
    assert counted.missing == {"text": 0, "visual": 3, "audio": 0}
    assert counted.cleaned_values == {"text": 2, "visual": 0, "audio": 0}
    assert counted.cleaned_samples == {"text": 1, "visual": 0, "audio": 0}
    assert counted.constant_features == {"text": (), "visual": (), "audio": (2,)}
    assert set(texts(found, "note")) >= {
        "train: 3 of 12 samples lack visual: 3 of which the source has nothing",
        "train: 2 text values were not finite, in 1 samples",
        "train: 1 of 5 audio features never change",
    }


@pytest.mark.parametrize("absent", [True, False])
def test_zeros_are_told_from_nothing(splits, report, absent):
    """D12: what was measured as zero and what was never measured are two things."""
    for sample in splits["train"][:2]:
        sample.features["visual"] = None
    for sample in splits["train"][2:5]:
        sample.features["visual"] = np.zeros_like(sample.features["visual"])
    found = report(zeros_are_absent=absent)
    assert found.splits["train"].all_zero == {"text": 0, "visual": 3, "audio": 0}
    assert found.splits["train"].missing["visual"] == (5 if absent else 2)
    expected = (
        ["5 of 12 samples lack visual: 2 of which the source has nothing, 3 zero throughout"]
        if absent
        else [
            "2 of 12 samples lack visual: 2 of which the source has nothing",
            "3 of 12 samples have visual that is zero throughout; it is taken as it is "
            "(zeros_are_absent: false)",
        ]
    )
    assert [finding.text for finding in found.findings if "visual" in finding.text] == expected


def test_duplicates_inside_a_split_are_found(splits, report):
    samples = splits["train"]
    samples[7].features = samples[2].features
    samples[9].sample_id = samples[4].sample_id
    found = report()
    twins, repeated = (samples[2].sample_id, samples[7].sample_id), samples[4].sample_id
    assert _duplicates(found) == {
        ("train", "train", "features"): (twins,),
        ("train", "train", "id"): ((repeated, repeated),),
    }
    assert f"train: 1 samples repeat the id of another: {repeated}" in texts(found, "warning")


def _duplicates(found: DataReport) -> dict[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Splits and what they share -> the pairs, all of which are examples."""
    assert all(row.count == len(row.examples) for row in found.duplicates)
    return {(*row.splits, row.what): row.examples for row in found.duplicates}


def test_samples_that_differ_in_one_value_are_no_duplicates(splits, report):
    first, second = splits["train"][2], splits["train"][7]
    second.features = {m: rows.copy() for m, rows in first.features.items()}
    second.features["audio"][-1, -1] += 1e-3
    assert report().duplicates == ()


def test_rows_that_move_to_another_modality_are_no_duplicates(toy_info, splits, report):
    features = {m: Features(name="any", width=2) for m in toy_info.modalities}
    rows = np.ones((2, 2), np.float32)
    for at, samples in enumerate(splits.values()):
        for i, sample in enumerate(samples):
            sample.features = dict.fromkeys(features, rows * (10 + i + 100 * at))
    splits["train"][0].features = {"text": rows, "visual": None, "audio": rows}
    splits["train"][1].features = {"text": rows, "visual": rows, "audio": None}
    assert report(features=features).duplicates == ()


def test_any_modalities_are_described(splits, report):
    for samples in splits.values():
        for sample in samples:
            sample.features = {"posture": sample.features["text"][:, :2]}
    found = report(features={"posture": Features(name="any", width=2)})
    assert list(found.splits["test"].lengths) == ["posture"]
    assert found.splits["test"].missing == {"posture": 0}


def test_samples_without_features_are_counted_and_equal_no_other(splits, report):
    for split in ("train", "test"):
        for sample in splits[split][:2]:
            sample.features = dict.fromkeys(sample.features)
    found = report()
    assert found.splits["train"].without_features == 2
    assert found.duplicates == ()
    assert "train: 2 samples have no feature at all" in texts(found, "warning")


def test_what_two_splits_share_is_found(splits, report):
    splits["test"][1].sample_id = splits["valid"][3].sample_id
    splits["valid"][2].features = splits["train"][5].features
    found = report()
    same, twins = splits["valid"][3], (splits["train"][5], splits["valid"][2])
    assert _duplicates(found) == {
        ("valid", "test", "id"): ((same.sample_id, same.sample_id),),
        ("train", "valid", "features"): (tuple(sample.sample_id for sample in twins),),
    }
    names = " = ".join(sample.sample_id for sample in twins)
    assert set(texts(found, "warning")) >= {
        f"valid and test: 1 samples repeat the id of another: {same.sample_id}",
        f"train and valid: 1 samples repeat the features of another: {names}",
    }


def test_splits_that_share_a_group_are_refused(splits, report):
    splits["test"][0].group_id = splits["train"][0].group_id
    with pytest.raises(InputError, match=r"splits train and test.*1 shared, such as train-video0"):
        report()


NOISE = np.random.default_rng(0)


def recordings(count: int, seed: int, *, steps: int = 12, alike: float = 0.3) -> list[Sample]:
    """Samples whose modalities' means are as near to each other as `alike` says, in some units."""
    rng, units = np.random.default_rng(seed), {"text": 1.0, "visual": 1e-3, "audio": 1e3}
    widths, samples = {"text": 6, "visual": 4, "audio": 5}, []
    for i in range(count):
        length = steps + int(rng.integers(-3, 4))
        features = {
            m: (unit * (3 + alike * rng.normal(size=width) + rng.normal(size=(length, width))))
            for (m, width), unit in zip(widths.items(), units.values(), strict=True)
        }
        features = {m: rows.astype(np.float32) for m, rows in features.items()}
        labels = np.array([i % 2, i % 3 == 0, i % 5 == 0], np.uint8)
        samples.append(Sample(f"{seed}-{i}", f"{seed}-{i // 3}", features, labels))
    return samples


COPIES = {
    "half precision": lambda x: x.astype(np.float16).astype(np.float32),
    "encoded again": lambda x: x + 1e-3 * x.std(axis=0) * NOISE.normal(size=x.shape),
    "a step later": lambda x: x[1:],
    "two steps earlier": lambda x: np.concatenate([x[1:3], x]),
    "shifted": lambda x: np.roll(x, 1, axis=0),
}


@pytest.mark.parametrize("alike", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("kind", COPIES)
def test_near_duplicates_across_splits_are_found_and_nothing_else(splits, report, kind, alike):
    """However near to each other the means of independent samples are."""
    for seed, (split, count) in enumerate({"train": 150, "valid": 30, "test": 50}.items()):
        splits[split] = recordings(count, seed, alike=alike)
    pairs = [(splits["train"][3 * i], splits["test"][2 * i]) for i in range(4)]
    pairs.append((splits["valid"][7], splits["test"][40]))
    for source, copy in pairs:
        copied = {m: COPIES[kind](rows).astype(np.float32) for m, rows in source.features.items()}
        copy.features = copied
    found = report()
    names = [(one.sample_id, other.sample_id) for one, other in pairs]
    assert _duplicates(found) == {
        ("train", "test", "near features"): tuple(names[:4]),
        ("valid", "test", "near features"): (names[4],),
    }
    text = "train and test: 4 samples nearly repeat the features of another"
    assert any(one.startswith(text) for one in texts(found, "warning"))


def test_a_split_that_is_a_noisy_copy_is_found_whole(splits, report):
    for seed, split in enumerate(splits):
        splits[split] = recordings(100, seed)
    for source, copy in zip(splits["train"], splits["test"], strict=True):
        copy.features = {m: COPIES["encoded again"](x) for m, x in source.features.items()}
        copy.features = {m: x.astype(np.float32) for m, x in copy.features.items()}
    (row,) = report().duplicates
    assert (row.splits, row.count) == (("train", "test"), 100)
    assert len(row.examples) == 5


def test_samples_that_share_silence_or_all_but_one_modality_are_no_near_duplicates(splits, report):
    for seed, split in enumerate(splits):
        splits[split] = recordings(40, seed)
        for sample in splits[split][:20]:  # nothing but a face at rest and silence
            for m in ("visual", "audio"):
                sample.features[m] = np.full((9, sample.features[m].shape[1]), 1e-6, np.float32)
            sample.features["text"] = None
    for source, other in zip(splits["train"][20:], splits["test"][20:], strict=True):
        other.features |= {m: source.features[m] + np.float32(1e-7) for m in ("text", "audio")}
    found = report()
    assert not [row for row in found.duplicates if row.what == "near features"]


def test_samples_of_a_few_numbers_are_not_judged(splits, report):
    features = {"posture": Features(name="any", width=2)}
    for seed, split in enumerate(splits):
        rng = np.random.default_rng(seed)
        splits[split] = recordings(60, seed)
        for sample in splits[split]:
            sample.features = {"posture": rng.normal(size=(1, 2)).astype(np.float32)}
    assert report(features=features).duplicates == ()


def test_the_same_words_in_two_splits_are_found(splits, report):
    said = ["nobody", "expects", "what", "this", "film", "does"]
    splits["train"][3].words, splits["test"][2].words = said, [word.title() for word in said]
    splits["valid"][1].words = splits["test"][1].words = ["so"] * 9  # says nothing
    found = report()
    pair = (splits["train"][3].sample_id, splits["test"][2].sample_id)
    assert _duplicates(found) == {("train", "test", "words"): (pair,)}
    (text,) = (text for text in texts(found, "note") if "words" in text)
    assert text == f"train and test: 1 samples repeat the words of another: {' = '.join(pair)}"


def test_persons_of_two_splits_are_found(splits, report):
    people = Persons(names=("Ann", "Ben", "Cleo", "Dan"), traits=((),) * 4)
    who = {"train": (0, 1), "valid": (2, 2), "test": (3, 1)}
    for split, (target, beside) in who.items():
        for sample in splits[split]:
            sample.person = target
            steps = {m: len(rows) for m, rows in sample.features.items()}
            sample.step_persons = {m: np.full(count, beside) for m, count in steps.items()}
            sample.step_segments = {m: np.zeros(count, int) for m, count in steps.items()}
    found = report(persons=people)
    assert {split: counted.persons for split, counted in found.splits.items()} == {
        "train": 2,
        "valid": 1,
        "test": 2,
    }
    (shared,) = found.shared_persons
    assert (shared.splits, shared.count, shared.examples) == (("train", "test"), 1, ("Ben",))
    (text,) = (text for text in texts(found, "warning") if "persons" in text)
    assert text.startswith("train and test: 1 of the 2 persons in test are in train too (Ben)")


def test_persons_that_are_not_known_are_not_counted(report):
    assert report().splits["train"].persons is None


@pytest.mark.parametrize(("value", "words"), [(0, "no sample with sad"), (1, "only samples with")])
def test_a_label_that_is_the_same_in_all_of_training_stops_the_run(splits, report, value, words):
    for sample in splits["train"]:
        sample.labels[1] = value
    with pytest.raises(InputError, match=words) as caught:
        report()
    assert "toy.ingestion.constant_labels" in caught.value.remedy
    assert "[" not in caught.value.found
    found = report(constant_labels=["sad"])
    kind = "every" if value else "no"
    assert f"train: {kind} sample has the label sad" in texts(found, "warning")


def test_a_label_that_there_is_not_cannot_be_allowed_to_be_constant(report):
    with pytest.raises(InputError, match="joy") as caught:
        report(constant_labels=["joy"])
    assert caught.value.key == "toy.ingestion.constant_labels"


def test_warnings_come_first_and_are_logged(splits, report, caplog):
    splits["train"][0].features["visual"] = None
    for sample in splits["test"]:
        sample.labels[0] = 0
    found = report(notes=["test: 3 clips fit nothing: left out", "the file names no speakers"])
    order = [finding.severity for finding in found.findings]
    assert order == sorted(order, reverse=True)
    assert Finding(severity="warning", split="test", text="no sample has the label happy") in (
        found.findings
    )
    assert set(texts(found, "note")) >= {
        "test: 3 clips fit nothing: left out",
        "all: the file names no speakers",
    }
    assert "toy test: no sample has the label happy" in caplog.messages
    assert not any("lack visual" in message for message in caplog.messages)


def test_thousands_of_labels_stay_readable(splits, report):
    labels = tuple(f"label {i}" for i in range(3000))
    for samples in splits.values():
        for i, sample in enumerate(samples):
            sample.labels = np.zeros(3000, np.uint8)
            sample.labels[: 2 - i % 2] = 1
    found = report(labels=labels, constant_labels=labels)
    assert len(found.frequent_labels) == 30
    assert found.frequent_labels[1] == "label 1"
    assert found.splits["train"].co_occurrence[1][1] == 6
    first = "no sample has the label label 2, label 3, label 4, label 5, label 6 and 2993 more"
    assert f"train: {first}" in texts(found, "warning")
    assert len(found.to_json()) < 1e6


def test_unknown_groups_are_said(report):
    assert not any("groups are unknown" in text for text in texts(report()))
    first, *_ = report(groups_known=False).findings
    assert (first.severity, first.split) == ("warning", "all")
    assert "groups are unknown" in first.text
    assert "treat samples as independent" in first.text


def test_samples_that_are_all_groups_of_their_own_are_said(splits, report):
    assert not any("group of its own" in text for text in texts(report()))
    for split, samples in splits.items():
        splits[split] = [replace(s, group_id=s.sample_id) for s in samples]
    assert any("every sample is a group of its own" in t for t in texts(report(), "warning"))


def test_constant_labels_are_found(splits, report):
    for i, sample in enumerate(splits["valid"]):
        sample.labels[:] = 0, 1, i % 2
    warnings = texts(report(), "warning")
    assert "valid: no sample has the label happy" in warnings
    assert "valid: every sample has the label sad" in warnings


PUBLISHED = Published(
    counts={
        "samples": {"train": 12, "valid": 8, "all": 30},
        "groups": {"test": 1},
        "samples with happy": {"train": 1000},
        "samples with calm": {"train": 7},
    }
)


def test_differences_from_published_counts_are_numbers(splits, report):
    happy = int(sum(sample.labels[0] for sample in splits["train"]))
    found = report(replace(CORPUS, published=PUBLISHED), synthetic=False)
    assert {(row.what, row.split): row.difference for row in found.published} == {
        ("samples", "train"): 0,
        ("samples", "valid"): -2,
        ("samples", "all"): -6,
        ("groups", "test"): 1,
        ("samples with happy", "train"): happy - 1000,
    }
    unknown = "nothing in tables and notes accounts for it"
    assert set(texts(found, "warning")) >= {
        f"valid: samples: 6, 2 fewer than the published 8: {unknown}",
        f"test: groups: 2, 1 more than the published 1: {unknown}",
    }
    assert not any(text.startswith("train: samples:") for text in texts(found))


def explained(found: DataReport) -> dict[tuple[str, str], tuple[str, ...]]:
    """What and split -> explanations, of the counts that differ."""
    return {(row.what, row.split): row.explanations for row in found.published if row.difference}


def counts(**published: dict[str, int]) -> Published:
    return Published(counts={name.replace("_", " "): count for name, count in published.items()})


@pytest.mark.parametrize(
    ("published", "notes", "key", "words"),
    [
        (
            counts(samples={"train": 14}),
            ["train: 2 of 14 clips fit no segment: left out", "valid: 2 others"],
            ("samples", "train"),
            'the reader names the same number: "train: 2 of 14 clips fit no segment: left out"',
        ),
        (
            counts(samples={"train": 11, "valid": 7, "test": 6}),
            [],
            ("samples", "train"),
            "all splits together have as many as published: they are divided otherwise",
        ),
        (
            counts(samples={"train": 11}),
            [],
            ("samples", "train"),
            "1 samples of the split repeat another one of it",
        ),
        (
            counts(samples={"test": 9}, samples_with_happy={"test": 6}),
            [],
            ("samples with happy", "test"),
            "the split has 3 samples fewer than published, which is enough for it",
        ),
        (
            Published(
                counts={"samples": {"train": 10}},
                also_counted={"an older release": {"samples": {"train": 12}}},
            ),
            [],
            ("samples", "train"),
            "it is the count of an older release",
        ),
    ],
)
def test_differences_are_accounted_for_by_what_is_at_hand(
    splits, report, published, notes, key, words
):
    """D13: an explanation is computed; none is given that the numbers do not bear out."""
    for sample, has in zip(splits["test"], (1, 1, 1, 1, 0, 0), strict=True):
        sample.labels[0] = has
    if "repeat" in words:
        splits["train"][7].features = splits["train"][2].features
    found = report(replace(CORPUS, published=published), notes, synthetic=False)
    assert explained(found)[key] == (words,)
    (text,) = (t for t in texts(found, "note") if t.startswith(f"{key[1]}: {key[0]}:"))
    assert text.endswith(words)


def test_a_number_of_another_split_or_inside_another_number_explains_nothing(report):
    corpus = replace(CORPUS, published=counts(samples={"train": 14}))
    notes = ["test: 2 clips left out", "train: 12 clips of 2.5 hours, 2nd release"]
    assert explained(report(corpus, notes, synthetic=False)) == {("samples", "train"): ()}


def test_options_other_than_the_default_are_named(report):
    corpus = replace(CORPUS, published=counts(samples={"train": 14}))
    reading = corpus.ingestion().decisive
    assert explained(report(corpus, synthetic=False, reading=reading))["samples", "train"] == ()
    found = report(corpus, synthetic=False, reading={**reading, "emotion_threshold": 1.5})
    assert explained(found)["samples", "train"] == (
        "perhaps because it was read with emotion_threshold 1.5 (by default 0.0)",
    )


def test_groups_that_are_not_known_are_not_compared(report):
    corpus = replace(CORPUS, published=PUBLISHED)
    found = report(corpus, synthetic=False, groups_known=False)
    assert "groups" not in {row.what for row in found.published}


def test_a_synthetic_corpus_has_a_size_of_its_own(report):
    assert report(replace(CORPUS, published=PUBLISHED)).published == ()


def test_a_missing_or_empty_split_is_refused(splits, table_of, tmp_path):
    tables = {s: table_of(s, samples) for s, samples in splits.items()}
    info = tables["test"].info
    empty = _in_batches_of_five(info, [], tmp_path / "empty")
    with pytest.raises(InputError, match="at least one sample"):
        data_report({**tables, "test": empty}, CORPUS)
    del tables["test"]
    with pytest.raises(InputError, match="tables"):
        data_report(tables, CORPUS)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("corpus", "another"),
        ("labels", ("sad", "happy", "anger")),
        ("synthetic", False),
        ("fingerprint", "made of other folds"),
        ("groups_known", False),
    ],
)
def test_tables_that_were_not_made_together_are_refused(splits, table_of, field, value):
    tables = {s: table_of(s, samples) for s, samples in splits.items()}
    tables["valid"] = table_of("valid", splits["valid"], **{field: value})
    with pytest.raises(InputError) as caught:
        data_report(tables, CORPUS)
    assert caught.value.key == field


def test_a_table_of_another_split_is_refused(splits, table_of):
    tables = {s: table_of(s, samples) for s, samples in splits.items()}
    with pytest.raises(InputError) as caught:
        data_report({**tables, "test": tables["valid"]}, CORPUS)
    assert caught.value.key == "split"
