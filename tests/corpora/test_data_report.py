from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mmer.corpora import CORPORA
from mmer.corpora.corpus import Published
from mmer.corpora.data_report import DataReport, data_report
from mmer.errors import InputError
from mmer.samples.table import (
    Features,
    Sample,
    SampleTable,
    TableInfo,
    record_batches,
    table_schema,
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
    return made


@pytest.fixture
def report(splits, table_of):
    def make(corpus=CORPUS, **changes: object) -> DataReport:
        tables = {s: table_of(s, samples, **changes) for s, samples in splits.items()}
        return data_report(tables, corpus)

    return make


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
    with pa.ipc.new_file(str(path), table_schema(info)) as writer:
        for begin in range(0, len(samples), 5):
            for batch in record_batches(info, samples[begin : begin + 5]):
                writer.write_batch(batch)
    return SampleTable(path)


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
    text = " / ".join(found.findings)
    assert "train: 3 of 12 samples lack visual" in text
    assert "train: 2 text values were not finite, in 1 samples" in text
    assert "train: 1 audio features never change" in text


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
    assert f"train: 1 samples repeat the id of another: {repeated}" in found.findings


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
    assert "train: 2 samples have no feature at all" in found.findings


def test_what_two_splits_share_is_found(splits, report):
    splits["test"][1].sample_id = splits["valid"][3].sample_id
    splits["valid"][2].features = splits["train"][5].features
    found = report()
    same, twins = splits["valid"][3], (splits["train"][5], splits["valid"][2])
    assert _duplicates(found) == {
        ("valid", "test", "id"): ((same.sample_id, same.sample_id),),
        ("train", "valid", "features"): (tuple(sample.sample_id for sample in twins),),
    }
    assert f"valid and test: 1 samples repeat the id of another: {same.sample_id}" in found.findings
    names = " = ".join(sample.sample_id for sample in twins)
    assert f"train and valid: 1 samples repeat the features of another: {names}" in found.findings


def test_splits_that_share_a_group_are_refused(splits, report):
    splits["test"][0].group_id = splits["train"][0].group_id
    with pytest.raises(InputError, match=r"splits train and test.*1 shared, such as train-video0"):
        report()


def test_unknown_groups_are_said(report):
    assert not any("group of its own" in finding for finding in report().findings)
    assert "group of its own" in report(groups_known=False).findings[0]


def test_constant_labels_are_found(splits, report):
    for sample in splits["valid"]:
        sample.labels[0], sample.labels[1] = 0, 1
    findings = report().findings
    assert "valid: no sample has the label happy" in findings
    assert "valid: every sample has the label sad" in findings


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
    assert "valid: samples: 6, 2 fewer than the published 8" in found.findings
    assert "test: groups: 2, 1 more than the published 1" in found.findings
    assert not any(finding.startswith("train: samples:") for finding in found.findings)


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
