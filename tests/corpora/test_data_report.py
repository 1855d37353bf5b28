from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from mmer.errors import InputError
from mmer.evaluation import data_report as module
from mmer.evaluation.data_report import data_report
from mmer.evaluation.published import CorpusCounts
from mmer.samples.table import MODALITIES, Sample, TableInfo, record_batches, table_schema


def table_of(info: TableInfo, samples: list[Sample]) -> pa.Table:
    return pa.Table.from_batches(list(record_batches(info, samples)), schema=table_schema(info))


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
def report(splits, toy_info):
    def make(**changes: object) -> dict:
        info = replace(toy_info, **changes)
        return data_report({s: table_of(info, samples) for s, samples in splits.items()})

    return make


def test_counts_lengths_and_labels_are_those_of_the_samples(splits, report):
    found = report()
    for split, samples in splits.items():
        counted = found["splits"][split]
        labels = np.stack([s.labels for s in samples])
        lengths = [len(s.features["visual"]) for s in samples]
        assert counted["samples"] == len(samples)
        assert counted["groups"] == len({s.group_id for s in samples})
        assert counted["lengths"]["visual"]["50%"] == np.median(lengths)
        assert counted["lengths"]["visual"]["100%"] == max(lengths)
        assert counted["lengths"]["visual"]["mean"] == pytest.approx(np.mean(lengths))
        assert counted["seconds"]["0%"] == counted["seconds"]["100%"] == 1
        assert list(counted["label_counts"].values()) == labels.sum(axis=0).tolist()
        assert list(counted["label_rates"].values()) == pytest.approx(labels.mean(axis=0).tolist())
        assert counted["co_occurrence"] == (labels.astype(int).T @ labels).tolist()
        assert counted["without_label"] == (labels.sum(axis=1) == 0).sum()
    assert found["synthetic"] is True
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_batches_do_not_matter(splits, toy_info):
    whole = {s: table_of(toy_info, samples) for s, samples in splits.items()}
    schema = table_schema(toy_info)
    parts = {
        s: pa.Table.from_batches(
            [b.slice(i, 5) for b in t.to_batches() for i in range(0, len(b), 5)], schema
        )
        for s, t in whole.items()
    }
    assert len(parts["train"].to_batches()) == 3
    assert data_report(parts) == data_report(whole)


def test_a_clean_corpus_has_no_finding(splits, report):
    for samples in splits.values():
        samples[0].labels[:] = 0
        samples[1].labels[:] = 1
    assert report()["findings"] == []


def test_missing_cleaned_and_constant_values_are_counted(splits, report):
    for sample in splits["train"][:3]:
        sample.features["visual"] = None
    for sample in splits["train"]:
        sample.features["audio"][:, 2] = 7
    splits["train"][5].features["text"][0, :2] = [np.nan, -np.inf]
    found = report()
    counted = found["splits"]["train"]
    assert counted["missing"] == {"text": 0, "visual": 3, "audio": 0}
    assert counted["cleaned_values"] == {"text": 2, "visual": 0, "audio": 0}
    assert counted["cleaned_samples"] == {"text": 1, "visual": 0, "audio": 0}
    assert counted["constant_features"] == {"text": [], "visual": [], "audio": [2]}
    text = " / ".join(found["findings"])
    assert "train: 3 of 12 samples lack visual" in text
    assert "train: 2 text values were not finite, in 1 samples" in text
    assert "train: 1 audio features never change" in text


def test_duplicates_inside_a_split_are_found(splits, report):
    samples = splits["train"]
    samples[7].features = samples[2].features
    samples[9].sample_id = samples[4].sample_id
    found = report()["splits"]["train"]["duplicates"]
    assert found["features"]["count"] == 1
    assert found["features"]["examples"] == [[samples[2].sample_id, samples[7].sample_id]]
    assert found["sample_ids"]["count"] == 1


def test_samples_that_differ_in_one_value_are_no_duplicates(splits, report):
    first, second = splits["train"][2], splits["train"][7]
    second.features = {m: rows.copy() for m, rows in first.features.items()}
    second.features["audio"][-1, -1] += 1e-3
    assert report()["splits"]["train"]["duplicates"]["features"]["count"] == 0


def test_rows_that_move_to_another_modality_are_no_duplicates(toy_info, splits):
    info = replace(
        toy_info, features={m: replace(toy_info.features["text"], width=2) for m in MODALITIES}
    )
    rows = np.ones((2, 2), np.float32)
    for i, sample in enumerate(splits["train"]):
        sample.features = dict.fromkeys(MODALITIES, rows * (10 + i))
    splits["train"][0].features = {"text": rows, "visual": None, "audio": rows}
    splits["train"][1].features = {"text": rows, "visual": rows, "audio": None}
    for split in ("valid", "test"):
        for i, sample in enumerate(splits[split]):
            sample.features = {m: rows * (100 + i + 10 * len(split)) for m in MODALITIES}
    found = data_report({s: table_of(info, samples) for s, samples in splits.items()})
    assert found["splits"]["train"]["duplicates"]["features"]["count"] == 0


def test_samples_without_features_are_counted_and_equal_no_other(splits, report):
    for split in ("train", "test"):
        for sample in splits[split][:2]:
            sample.features = dict.fromkeys(MODALITIES)
    found = report()
    assert found["splits"]["train"]["without_features"] == 2
    assert found["splits"]["train"]["duplicates"]["features"]["count"] == 0
    assert all(row["count"] == 0 for row in found["shared"])
    assert "train: 2 samples have no feature at all" in found["findings"]


def test_what_two_splits_share_is_found(splits, report):
    splits["test"][0].group_id = splits["train"][0].group_id
    splits["test"][1].sample_id = splits["valid"][3].sample_id
    splits["valid"][2].features = splits["train"][5].features
    found = report()
    shared = {(*row["splits"], row["what"]): row for row in found["shared"] if row["count"]}
    assert set(shared) == {
        ("train", "test", "groups"),
        ("valid", "test", "sample_ids"),
        ("train", "valid", "features"),
    }
    twins = f"{splits['train'][5].sample_id} = {splits['valid'][2].sample_id}"
    assert shared["train", "valid", "features"]["examples"] == [twins]
    assert any(finding.startswith("train and test share 1 groups") for finding in found["findings"])


def test_constant_labels_are_found(splits, report):
    for sample in splits["valid"]:
        sample.labels[0], sample.labels[1] = 0, 1
    findings = report()["findings"]
    assert "valid: no sample has the label happy" in findings
    assert "valid: every sample has the label sad" in findings


@pytest.mark.parametrize(("corpus", "rows"), [("unheard of", 0), ("mosei", 6 + 3)])
def test_counts_beside_published_ones(report, corpus, rows):
    found = report(corpus=corpus)["published"]
    # three labels of the toy corpus have published counts on the test split
    assert len(found) == rows
    for row in found:
        assert row["explanation"] == "a synthetic corpus, of a size of its own"


def test_every_difference_from_published_counts_is_explained(report, monkeypatch):
    counts = {("samples", "train"): 12, ("samples", "valid"): 8, ("groups", "test"): 1}
    reasons = {"samples": "some are left out", "groups": "some are new"}
    published = CorpusCounts({**counts, ("samples", "all"): 30}, reasons, reasons)
    monkeypatch.setattr(module, "published_counts", lambda corpus: published)
    found = report(synthetic=False)
    explained = {(row["what"], row["split"]): row["explanation"] for row in found["published"]}
    assert explained == {
        ("samples", "train"): "as published",
        ("samples", "valid"): "2 fewer than published: some are left out",
        ("groups", "test"): "1 more than published: some are new",
        ("samples", "all"): "6 fewer than published: some are left out",
    }
    assert "valid: samples: 2 fewer than published: some are left out" in found["findings"]
    assert not any("as published" in finding for finding in found["findings"])


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_missing_or_empty_split_is_refused(splits, toy_info, missing):
    tables = {s: table_of(toy_info, samples) for s, samples in splits.items()}
    with pytest.raises(InputError, match="at least one sample"):
        data_report({**tables, missing: table_schema(toy_info).empty_table()})
    del tables[missing]
    with pytest.raises(InputError, match="tables"):
        data_report(tables)


def test_tables_of_different_corpora_are_refused(splits, toy_info):
    tables = {s: table_of(toy_info, samples) for s, samples in splits.items()}
    other = replace(toy_info, labels=("sad", "happy", "anger"))
    tables["valid"] = table_of(other, splits["valid"])
    with pytest.raises(InputError) as caught:
        data_report(tables)
    assert caught.value.key == "labels"
