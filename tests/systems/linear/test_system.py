from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmer.errors import InputError
from mmer.evaluation.baselines import (
    EVERYTHING_POSITIVE,
    LABEL_PRIOR,
    LOGISTIC_REGRESSION,
    Baselines,
    fit_baselines,
)
from mmer.evaluation.pooling import pooled_features
from mmer.samples.table import MODALITIES, multi_hot, record_batches, table_info, table_schema


def table_of(info, samples) -> pa.Table:
    return pa.Table.from_batches(list(record_batches(info, samples)), schema=table_schema(info))


def test_logistic_regression_is_scikit_learns_with_the_penalty_that_held_out_groups_prefer(
    toy_table,
):
    train, test = toy_table(120), toy_table(50, seed=1)
    scores = fit_baselines(train).scores(test, "test")[LOGISTIC_REGRESSION]
    stacked = [np.hstack([pooled_features(t)[m] for m in MODALITIES]) for t in (train, test)]
    scaled = StandardScaler().fit_transform(stacked[0])
    for label, truth in enumerate(multi_hot(train).T):
        search = GridSearchCV(
            LogisticRegression(max_iter=1000),
            {"C": [0.001, 0.01, 0.1, 1.0]},
            scoring="neg_log_loss",
            cv=GroupKFold(3),
        ).fit(scaled, truth, groups=train["group_id"].to_pylist())
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=search.best_params_["C"], max_iter=1000)
        )
        expected = model.fit(stacked[0], truth).predict_proba(stacked[1])[:, 1]
        np.testing.assert_allclose(scores.scores[:, label], expected, atol=1e-6)
        assert roc_auc_score(multi_hot(test)[:, label], expected) > 0.7


def test_prior_and_everything_positive(toy_table):
    train, valid = toy_table(60), toy_table(20, seed=1)
    scores = fit_baselines(train).scores(valid, "valid")
    prevalence = multi_hot(train).mean(axis=0)
    assert (scores[EVERYTHING_POSITIVE].scores == 1).all()
    np.testing.assert_array_equal(scores[LABEL_PRIOR].scores, np.tile(prevalence, (20, 1)))
    for name, one in scores.items():
        assert (one.system, one.split, one.synthetic) == (name, "valid", True)
        assert one.labels == table_info(valid).labels
        np.testing.assert_array_equal(one.truth, multi_hot(valid))
        assert list(one.sample_ids) == valid["sample_id"].to_pylist()


def test_what_was_written_as_json_scores_the_same(toy_table):
    fitted, test = fit_baselines(toy_table(40)), toy_table(20, seed=1)
    read = Baselines.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
    for name, one in fitted.scores(test, "test").items():
        again = read.scores(test, "test")[name]
        np.testing.assert_array_equal(one.scores, again.scores)
        assert one.weights == again.weights


def test_weights_name_the_baseline_and_what_it_was_fitted_on(toy_table):
    test = toy_table(10, seed=1)
    digests = [
        one.weights
        for train in (toy_table(40), toy_table(41))
        for one in fit_baselines(train).scores(test, "test").values()
    ]
    assert len(set(digests)) == 6


def test_an_absent_modality_counts_as_the_training_mean(toy_info, toy_samples):
    samples = toy_samples(40)
    for sample in samples[::4]:
        sample.features["visual"] = None
    train = table_of(toy_info, samples)
    fitted = fit_baselines(train)
    pooled = pooled_features(train)["visual"]
    np.testing.assert_allclose(fitted.mean[6:10], np.nanmean(pooled, axis=0))
    np.testing.assert_allclose(fitted.scale[6:10], np.nanstd(pooled, axis=0))
    absent, average = toy_samples(1)[0], toy_samples(1)[0]
    absent.features["visual"] = None
    average.features["visual"] = fitted.mean[6:10].astype(np.float32)[None]
    pair = fitted.scores(table_of(toy_info, [absent, average]), "test")[LOGISTIC_REGRESSION].scores
    np.testing.assert_allclose(pair[0], pair[1], rtol=1e-5)


@pytest.mark.filterwarnings("error")
def test_a_modality_that_is_absent_everywhere_changes_nothing(toy_info, toy_samples):
    samples = toy_samples(30)
    for sample in samples:
        sample.features["audio"] = None
    table = table_of(toy_info, samples)
    fitted = fit_baselines(table)
    json.dumps(fitted.to_dict(), allow_nan=False)
    assert (fitted.weights[10:] == 0).all()
    assert np.isfinite(fitted.scores(table, "test")[LOGISTIC_REGRESSION].scores).all()


@pytest.mark.parametrize(("value", "smoothed"), [(0, 1 / 32), (1, 31 / 32)])
def test_a_label_that_is_constant_in_training_gets_its_smoothed_prevalence(
    toy_info, toy_samples, value, smoothed
):
    samples = toy_samples(30)
    for sample in samples:
        sample.labels[1] = value
    fitted = fit_baselines(table_of(toy_info, samples))
    scores = fitted.scores(table_of(toy_info, toy_samples(8, seed=1)), "test")
    np.testing.assert_allclose(scores[LOGISTIC_REGRESSION].scores[:, 1], smoothed)
    assert np.ptp(scores[LOGISTIC_REGRESSION].scores[:, 0]) > 0


def test_an_empty_training_split_is_refused(toy_info):
    with pytest.raises(InputError, match="at least one sample"):
        fit_baselines(table_schema(toy_info).empty_table())


@pytest.mark.parametrize("change", ["labels", "widths"])
def test_a_table_of_another_corpus_is_refused(toy_info, toy_samples, toy_table, change):
    fitted, samples = fit_baselines(toy_table(30)), toy_samples(5)
    if change == "labels":
        other = replace(toy_info, labels=("sad", "happy", "anger"))
    else:
        wider = replace(toy_info.features["text"], width=7)
        other = replace(toy_info, features={**toy_info.features, "text": wider})
        for sample in samples:
            sample.features["text"] = np.zeros((2, 7), np.float32)
    with pytest.raises(InputError) as caught:
        fitted.scores(table_of(other, samples), "test")
    assert caught.value.key == change
