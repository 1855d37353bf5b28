"""Logistic regression, one per label, on features pooled over time."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field
from scipy.special import expit, logit
from threadpoolctl import threadpool_limits

from mmer.errors import InputError
from mmer.metrics.counts import number_groups
from mmer.samples.batches import Present, Samples
from mmer.schema import Settings
from mmer.systems.contract import Attention, Fit, FittedSystem, Scorer, System
from mmer.terminal import with_bar
from mmer.training.checkpoints import Checkpoints
from mmer.training.history import History

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegressionCV

Pooling = Literal["mean", "max", "mean and max"]

logger = logging.getLogger(__name__)


class LinearSettings(Settings):
    """What is tried on training groups held out in turn; the least log loss decides.

    Attributes:
        penalties: Strengths of the L2 penalty (1 / C in scikit-learn); each label takes its own.
        poolings: How steps become one row of features; all labels share one.
        folds: Folds of the training groups.
    """

    penalties: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (10, 30, 100, 300, 1_000, 3_000, 10_000), min_length=1
    )
    poolings: tuple[Pooling, ...] = Field(("mean", "max", "mean and max"), min_length=1)
    folds: int = Field(3, ge=2)


class LogisticRegressionSystem(System):
    """One logistic regression per label on pooled, standardised features of all modalities.

    A modality that is absent or hidden counts as the training mean. A label that no training
    sample has, or that all have, cannot be regressed: its score is its prevalence with one sample
    of each kind added.
    """

    name = "linear"
    title = "Logistic regression"
    settings = LinearSettings
    simple = True

    def fit(
        self,
        train: Samples,
        valid: Samples,
        settings: LinearSettings,
        checkpoints: Checkpoints | None = None,
    ) -> Fit:
        """Choose pooling and penalties on training groups held out in turn; `valid` is not used.

        Raises:
            InputError: There is only one training group.
        """
        tried = [_regress(train, pooling, settings) for pooling in settings.poolings]
        best = max(tried, key=lambda one: one.held_out)  # the first of equals
        named = zip(train.info.labels, best.penalties, strict=True)
        penalties = ", ".join(f"{label} {penalty:g}" for label, penalty in named)
        learned = dict(vars(best.scorer))
        pooling = learned.pop("pooling")
        logger.info("%s: %s over time; penalties %s", self.title, pooling, penalties)
        arrays = {name: torch.from_numpy(x) for name, x in learned.items()}
        arrays["pooling"] = torch.tensor(settings.poolings.index(pooling))
        return Fit(FittedSystem(self.info(train, settings), arrays), History())

    def scorer(self, fitted: FittedSystem, device: torch.device) -> Scorer:
        """It scores on the host, whatever the device."""
        arrays = {name: tensor.numpy() for name, tensor in fitted.arrays.items()}
        poolings = LinearSettings.model_validate(fitted.info.settings).poolings
        return LinearScorer(pooling=poolings[int(arrays.pop("pooling"))], **arrays)


@dataclass(frozen=True)
class LinearScorer:
    """What logistic regression has learned.

    Attributes:
        pooling: How steps become one row of F features.
        mean: (F,) of the pooled training features.
        scale: (F,) their standard deviation, 1 where a feature is constant.
        weights: (F, L).
        intercepts: (L,).
    """

    pooling: Pooling
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    intercepts: np.ndarray

    def scores(self, samples: Samples, present: Present | None = None) -> np.ndarray:
        """(N, L) probabilities; what is not `present` counts as the training mean."""
        features = pooled_features(samples, self.pooling, present)
        features = np.nan_to_num((features - self.mean) / self.scale)
        return expit(features @ self.weights + self.intercepts)

    def attention(self, samples: Samples, index: np.ndarray) -> list[Attention]:
        """Steps are not weighed."""
        return []


def pooled_features(
    samples: Samples, pooling: Pooling, present: Present | None = None
) -> np.ndarray:
    """Mean, maximum or both over the steps of each sample, modality after modality.

    Returns:
        (N, F) float64, NaN where a sample lacks the modality or it is not `present`.
    """
    blocks = []
    for modality in samples.modalities:
        lengths = samples.host_lengths[modality]
        filled = lengths > 0
        values, starts = _tiled(samples, modality)
        starts = starts[filled]
        for kind, over in (("mean", np.add), ("max", np.maximum)):
            if kind not in pooling.split(" and "):
                continue
            block = np.full((len(samples), values.shape[1]), np.nan)
            if filled.any():
                # reduceat would take one step for an empty sample; the filled ones tile the steps
                block[filled] = over.reduceat(values, starts, axis=0, dtype=np.float64)
            if kind == "mean":
                block[filled] /= lengths[filled, None]
            if present and modality in present:
                block[~present[modality]] = np.nan
            blocks.append(block)
    return np.hstack(blocks)


def _tiled(samples: Samples, modality: str) -> tuple[np.ndarray, np.ndarray]:
    """(R, D) steps of these samples alone, one sample's after the other's, and (N,) their starts.

    What `Samples.take` has left out is still among the values, or between them.
    """
    lengths, values = samples.host_lengths[modality], samples.values[modality].cpu().numpy()
    found, starts = samples.starts[modality].cpu().numpy(), np.cumsum(lengths) - lengths
    if lengths.sum() == len(values) and (found == starts)[lengths > 0].all():
        return values, starts
    return values[np.repeat(found - starts, lengths) + np.arange(lengths.sum())], starts


class _Tried(NamedTuple):
    """What one pooling gives: (L,) penalties, and minus the mean log loss on groups held out."""

    scorer: LinearScorer
    penalties: np.ndarray
    held_out: float


def _regress(train: Samples, pooling: Pooling, settings: LinearSettings) -> _Tried:
    # Whoever serves what was fitted needs none of it.
    from sklearn.preprocessing import StandardScaler

    features, truth = pooled_features(train, pooling), train.truth
    samples, labels = truth.shape
    both = truth.any(axis=0) & ~truth.all(axis=0)  # (L,) whether there is something to regress
    smoothed = (truth.sum(axis=0, dtype=np.int64) + 1) / (samples + 2)
    weights, intercepts = np.zeros((features.shape[1], labels)), logit(smoothed)
    penalties, held_out = np.zeros(labels), np.zeros(labels)
    scaler = StandardScaler()
    # One thread: the products are small, and threads that wait for each other take many times as
    # long. A modality that no sample has leaves 0 / 0 as its mean.
    with threadpool_limits(1, "blas"), np.errstate(invalid="ignore"):
        scaled = np.nan_to_num(scaler.fit_transform(features))  # what is absent is as the mean
        if both.any():
            columns = with_bar(list(truth[:, both].T), f"labels, {pooling} over time")
            fitted = [_penalised_regression(train, settings).fit(scaled, y) for y in columns]
            weights[:, both] = np.stack([one.coef_[0] for one in fitted], axis=1)
            intercepts[both] = [one.intercept_[0] for one in fitted]
            penalties[both] = [1 / one.C_ for one in fitted]
            held_out[both] = [one.scores_.mean(axis=0).max() for one in fitted]
    mean, scale = np.nan_to_num(scaler.mean_), np.nan_to_num(scaler.scale_, nan=1.0)
    scorer = LinearScorer(pooling, mean, scale, weights, intercepts)
    return _Tried(scorer, penalties, held_out.mean())


def _penalised_regression(train: Samples, settings: LinearSettings) -> LogisticRegressionCV:
    """One label's regression, which chooses its penalty on training groups held out in turn."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import GroupKFold

    groups = number_groups(train.group_ids)
    count = int(groups.max()) + 1
    if count < 2:
        where = f"{train.info.corpus} {train.info.split}"
        raise InputError(where, "group_ids", "at least 2 groups, so that one can be held out", "1")
    parts = GroupKFold(min(settings.folds, count)).split(groups, groups=groups)
    return LogisticRegressionCV(
        # strongest first: each starts where the one before ended, and the first of equals is taken
        Cs=[1 / penalty for penalty in sorted(settings.penalties, reverse=True)],
        cv=list(parts),
        l1_ratios=(0,),
        scoring="neg_log_loss",
        max_iter=1000,
        tol=1e-5,  # probabilities to about 1e-3
        use_legacy_attributes=False,
    )
