from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmer.errors import InputError
from mmer.samples.batches import Samples, pack, samples_of
from mmer.samples.table import Features, Sample, TableInfo, write_table
from mmer.systems.contract import scored
from mmer.systems.linear.system import (
    LinearScorer,
    LinearSettings,
    LogisticRegressionSystem,
    pooled_features,
)
from mmer.systems.storage import load_fitted, save_fitted

SYSTEM = LogisticRegressionSystem()
MEANS = LinearSettings(poolings=("mean",), penalties=(1, 10, 100, 1000))
WIDTHS = {"face": 3, "voice": 1}
INFO = TableInfo(
    corpus="toy",
    split="train",
    labels=("happy", "sad"),
    features={m: Features(name=m, width=width) for m, width in WIDTHS.items()},
    alignment="none",
    synthetic=True,
    fingerprint="made-for-tests",
)


def scorer(train: Samples, settings: LinearSettings = MEANS) -> LinearScorer:
    fitted = SYSTEM.fit(train, train, settings).fitted
    return SYSTEM.scorer(fitted, torch.device("cpu"))


@pytest.fixture
def packed(toy_info, tmp_path):
    def made(samples: list[Sample]) -> Samples:
        return pack(write_table(tmp_path / f"{len(samples)}.arrow", toy_info, samples))

    return made


rows = st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=2), min_size=1, max_size=9)


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(0, 5))
def test_pooled_features_are_means_and_maxima_over_steps(lengths, seed):
    generator = np.random.default_rng(seed)
    steps = {
        m: [generator.normal(size=(row[k], width)).astype(np.float32) for row in lengths]
        for k, (m, width) in enumerate(WIDTHS.items())
    }
    names = tuple(f"s{i}" for i in range(len(lengths)))
    shown = {"face": generator.random(len(lengths)) < 0.7}
    samples = samples_of(INFO, steps, names)
    found = {p: pooled_features(samples, p, shown) for p in ("mean", "max", "mean and max")}
    absent = np.full(1, np.nan)
    for i in range(len(lengths)):
        means, maxima, both = [], [], []
        for m, width in WIDTHS.items():
            there = len(steps[m][i]) and shown.get(m, np.ones(len(lengths), bool))[i]
            mean = steps[m][i].mean(axis=0, dtype=float) if there else absent.repeat(width)
            most = steps[m][i].max(axis=0) if there else absent.repeat(width)
            means, maxima, both = [*means, mean], [*maxima, most], [*both, mean, most]
        np.testing.assert_allclose(found["mean"][i], np.concatenate(means))
        np.testing.assert_array_equal(found["max"][i], np.concatenate(maxima))
        np.testing.assert_allclose(found["mean and max"][i], np.concatenate(both))


def test_it_is_scikit_learns_regression_with_the_penalty_that_held_out_groups_prefer(toy_table):
    train, test = pack(toy_table(120)), pack(toy_table(50, seed=1, split="test"))
    scores = scorer(train).scores(test)
    features, new = pooled_features(train, "mean"), pooled_features(test, "mean")
    for label, truth in enumerate(train.truth.T):
        search = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, tol=1e-8)),
            {"logisticregression__C": [0.001, 0.01, 0.1, 1.0]},
            scoring="neg_log_loss",
            cv=GroupKFold(3),
        ).fit(features, truth, groups=train.group_ids)
        expected = search.predict_proba(new)[:, 1]
        np.testing.assert_allclose(scores[:, label], expected, atol=1e-3)
        assert roc_auc_score(test.truth[:, label], expected) > 0.7


def test_the_pooling_that_held_out_groups_prefer_is_taken(toy_table):
    # a label raises a feature in one step of up to nine: the maximum shows it, the mean hardly
    train = pack(toy_table(240))
    chosen = scorer(train, LinearSettings(poolings=("mean", "max"), penalties=(10, 100)))
    assert chosen.pooling == "max"
    assert chosen.weights.shape == (15, 3)
    both = scorer(train, LinearSettings(poolings=("mean and max",), penalties=(10, 100)))
    assert both.weights.shape == (30, 3)
    test = pack(toy_table(120, seed=1, split="test"))
    areas = [
        roc_auc_score(test.truth, one.scores(test), average="macro")
        for one in (scorer(train), chosen)
    ]
    assert areas[0] < areas[1]


def test_what_was_saved_scores_the_same_and_says_what_it_is(toy_table, tmp_path: Path):
    train, test = pack(toy_table(60)), pack(toy_table(20, seed=1, split="test"))
    fit = SYSTEM.fit(train, test, LinearSettings())
    save_fitted(fit.fitted, tmp_path / "fitted")
    read = load_fitted(tmp_path / "fitted")
    assert read.digest == fit.fitted.digest
    assert (read.info.system, read.info.fixed_threshold) == ("linear", None)
    one, other = (SYSTEM.scorer(fitted, torch.device("cpu")) for fitted in (fit.fitted, read))
    np.testing.assert_array_equal(one.scores(test), other.scores(test))
    assert one.attention(test, np.arange(3)) == []
    assert scored(read, other, test).info.title == "Logistic regression"


def test_same_samples_same_bits(toy_table):
    digests = [
        SYSTEM.fit(train, train, MEANS).fitted.digest
        for train in (pack(toy_table(60)), pack(toy_table(60)), pack(toy_table(63)))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_an_absent_or_hidden_modality_counts_as_the_training_mean(toy_info, toy_samples, packed):
    samples = toy_samples(40)
    for sample in samples[::4]:
        sample.features["visual"] = None
    train = packed(samples)
    fitted = scorer(train)
    pooled = pooled_features(train, "mean")[:, 6:10]
    np.testing.assert_allclose(fitted.mean[6:10], np.nanmean(pooled, axis=0))
    np.testing.assert_allclose(fitted.scale[6:10], np.nanstd(pooled, axis=0))
    absent, average, whole = toy_samples(1)[0], toy_samples(1)[0], toy_samples(1)[0]
    absent.features["visual"] = None
    average.features["visual"] = fitted.mean[6:10].astype(np.float32)[None]
    found = fitted.scores(packed([absent, average, whole]), {"visual": np.array([1, 1, 0], bool)})
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.filterwarnings("error")
def test_a_modality_that_is_absent_everywhere_changes_nothing(toy_samples, packed):
    samples = toy_samples(30)
    for sample in samples:
        sample.features["audio"] = None
    train = packed(samples)
    fitted = scorer(train)
    assert (fitted.weights[10:] == 0).all()
    assert np.isfinite(fitted.scores(train)).all()


@pytest.mark.parametrize(("value", "smoothed"), [(0, 1 / 32), (1, 31 / 32)])
@pytest.mark.parametrize("labels", [[1], [0, 1, 2]])
def test_a_label_that_is_constant_in_training_gets_its_smoothed_prevalence(
    toy_samples, packed, value, smoothed, labels
):
    samples = toy_samples(30)
    for sample in samples:
        sample.labels[labels] = value
    scores = scorer(packed(samples)).scores(packed(toy_samples(8, seed=1)))
    np.testing.assert_allclose(scores[:, labels], smoothed)
    assert (np.ptp(scores, axis=0) > 0).sum() == 3 - len(labels)


def test_a_label_of_one_sample_is_regressed(toy_samples, packed):
    samples = toy_samples(30)
    for i, sample in enumerate(samples):
        sample.labels[1] = i == 4
    scores = scorer(packed(samples)).scores(packed(toy_samples(8, seed=1)))[:, 1]
    assert ((scores > 0) & (scores < 0.5)).all()


def test_one_training_group_is_refused(toy_table):
    train = pack(toy_table(9))
    with pytest.raises(InputError, match="at least 2 groups"):
        scorer(replace(train, group_ids=("one",) * 9))
    two = replace(train, group_ids=("one",) * 5 + ("two",) * 4)
    assert np.isfinite(scorer(two).scores(train)).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("penalties", ()),
        ("penalties", (0,)),
        ("poolings", ("min",)),
        ("poolings", ()),
        ("folds", 1),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(ValidationError, match=name):
        LinearSettings(**{name: value})
