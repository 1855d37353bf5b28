"""Baselines that any system has to beat: everything positive, label prior, logistic regression.

They are fitted on the training split and scored like any other system, with decision thresholds
chosen on validation like any other's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler

from mmer.errors import InputError
from mmer.evaluation.pooling import pooled_features
from mmer.samples.scores import Scores
from mmer.samples.table import MODALITIES, multi_hot, table_info

EVERYTHING_POSITIVE = "everything positive"
LABEL_PRIOR = "label prior"
LOGISTIC_REGRESSION = "logistic regression"
_ITERATIONS = 1000
_PENALTIES = (0.001, 0.01, 0.1, 1.0)
_PARTS = 3


@dataclass(frozen=True)
class Baselines:
    """Fitted baselines.

    Attributes:
        labels: L emotion names.
        widths: Modality -> D, in the order in which the features are concatenated.
        prevalence: (L,) share of training samples that have the label.
        mean: (sum D,) of the mean-pooled training features.
        scale: (sum D,) their standard deviation, 1 where a feature is constant.
        weights: (sum D, L) of the logistic regressions.
        intercepts: (L,)
        synthetic: True if they were fitted on synthetic samples.
    """

    labels: tuple[str, ...]
    widths: dict[str, int]
    prevalence: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    intercepts: np.ndarray
    synthetic: bool

    def scores(self, table: pa.Table, split: str) -> dict[str, Scores]:
        """Score a sample table with each baseline.

        "everything positive" scores 1 everywhere: any threshold below 1 keeps it what it says.

        Args:
            table: N samples.
            split: The table's split, "valid" or "test".

        Returns:
            Name of the baseline -> its scores, (N, L).

        Raises:
            InputError: The table's labels or feature widths are not those of the training split.
        """
        info, truth = table_info(table), multi_hot(table)
        if info.labels != self.labels:
            where = f"baselines on {info.corpus} {split}"
            raise InputError(where, "labels", f"those of training, {self.labels}", info.labels)
        if info.widths != self.widths:
            where = f"baselines on {info.corpus} {split}"
            raise InputError(where, "widths", f"those of training, {self.widths}", info.widths)
        features = _standardise(_concatenate(table), self.mean, self.scale)
        values = {
            EVERYTHING_POSITIVE: np.ones(truth.shape),
            LABEL_PRIOR: np.broadcast_to(self.prevalence, truth.shape),
            LOGISTIC_REGRESSION: expit(features @ self.weights + self.intercepts),
        }
        return {
            system: Scores(
                scores=scores,
                truth=truth,
                sample_ids=tuple(table["sample_id"].to_pylist()),
                group_ids=tuple(table["group_id"].to_pylist()),
                labels=self.labels,
                split=split,
                weights=self._digest(system),
                synthetic=info.synthetic or self.synthetic,
                system=system,
            )
            for system, scores in values.items()
        }

    def to_dict(self) -> dict:
        """As what JSON can hold, exactly."""
        return {
            "labels": list(self.labels),
            "widths": self.widths,
            "prevalence": self.prevalence.tolist(),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "weights": self.weights.tolist(),
            "intercepts": self.intercepts.tolist(),
            "synthetic": self.synthetic,
        }

    @classmethod
    def from_dict(cls, record: dict) -> Baselines:
        """The inverse of `to_dict`."""
        arrays = ("prevalence", "mean", "scale", "weights", "intercepts")
        return cls(
            labels=tuple(record["labels"]),
            widths=dict(record["widths"]),
            synthetic=record["synthetic"],
            **{name: np.array(record[name], dtype=np.float64) for name in arrays},
        )

    def _digest(self, system: str) -> str:
        text = json.dumps([system, self.to_dict()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def fit_baselines(train: pa.Table) -> Baselines:
    """Fit the baselines on the training split.

    The logistic regressions, one per label, see each modality's mean over time, standardised; an
    absent modality is zeros, the training mean. How strongly each is penalised is chosen by
    cross-fitting over the training groups. A label that no training sample has, or that all
    have, cannot be regressed: its score is its prevalence with one sample of each kind added.

    Args:
        train: The sample table of the training split.

    Raises:
        InputError: The table is empty.
    """
    info, truth = table_info(train), multi_hot(train)
    if not len(truth):
        raise InputError(f"{info.corpus} train", "", "at least one sample", "none")
    raw = _concatenate(train)
    mean, scale = _moments(raw)
    features = _standardise(raw, mean, scale)
    groups = np.unique(train["group_id"].to_pylist(), return_inverse=True)[1]
    columns = [_regress(features, truth[:, label], groups) for label in range(len(info.labels))]
    return Baselines(
        labels=info.labels,
        widths=info.widths,
        prevalence=truth.mean(axis=0),
        mean=mean,
        scale=scale,
        weights=np.column_stack([weights for weights, _ in columns]),
        intercepts=np.array([intercept for _, intercept in columns]),
        synthetic=info.synthetic,
    )


def _concatenate(table: pa.Table) -> np.ndarray:
    pooled = pooled_features(table)
    return np.hstack([pooled[m] for m in MODALITIES])


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column over the samples that have it."""
    # A modality that no sample has leaves 0 / 0: its features are then 0 whatever mean and scale.
    with np.errstate(invalid="ignore"):
        scaler = StandardScaler().fit(features)
    return np.nan_to_num(scaler.mean_), np.nan_to_num(scaler.scale_, nan=1.0)


def _standardise(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.nan_to_num((features - mean) / scale)


def _regress(
    features: np.ndarray, truth: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, float]:
    """Weights and intercept of one label."""
    if truth.all() or not truth.any():
        smoothed = (truth.sum(dtype=np.int64) + 1) / (len(truth) + 2)
        return np.zeros(features.shape[1]), float(logit(smoothed))
    penalty = _best_penalty(features, truth, groups)
    model = LogisticRegression(C=penalty, max_iter=_ITERATIONS).fit(features, truth)
    return model.coef_[0], float(model.intercept_[0])


def _best_penalty(features: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> float:
    """The C of `_PENALTIES` with the least log loss on groups held out in turn.

    The strongest penalty where a label is too rare for every part to have both classes.
    """
    if len(np.unique(groups)) < _PARTS:
        return _PENALTIES[0]
    parts = list(GroupKFold(_PARTS).split(features, truth, groups))
    if any(len(np.unique(truth[fitted])) < 2 for fitted, _ in parts):
        return _PENALTIES[0]
    losses = []
    for penalty in _PENALTIES:
        model = LogisticRegression(C=penalty, max_iter=_ITERATIONS)
        chances = cross_val_predict(model, features, truth, cv=parts, method="predict_proba")
        losses.append(log_loss(truth, chances, labels=[0, 1]))
    return _PENALTIES[int(np.argmin(losses))]
