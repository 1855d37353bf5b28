"""Where a system fails: by length, by number of labels, in single decisions, in co-occurrences."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from mmer.calibration.calibration import Calibration
from mmer.errors import InputError
from mmer.evaluation.assessment import Headline, headlines
from mmer.metrics.counts import label_pairs, ratio
from mmer.metrics.decisions import decide
from mmer.metrics.scores import Scores
from mmer.samples.batches import Samples
from mmer.schema import Record

_BUCKETS = 4
_ERRORS_OF_EACH_KIND = 10


class Bucket(Record):
    """Samples that are alike in something that is counted: steps, or labels truly present.

    Where they have no label, micro-F1 and accuracy can only be 0; `accuracy_empty_correct` is then
    the share of samples for which, rightly, nothing is predicted.

    Attributes:
        least, most: Of what is counted, both included.
        labels_predicted: Mean per sample.
        accuracy_empty_correct: Accuracy if a rightly empty prediction counts 1.
    """

    least: int
    most: int
    samples: int
    labels_predicted: float
    figures: Headline
    accuracy_empty_correct: float


class ConfidentError(Record):
    """A wrong decision.

    Attributes:
        kind: "predicted" though absent, or "missed" though present.
        confidence: In [0, 1]: how far the score lies on the wrong side of its threshold, as a share
            of the way to the end of the scale, so that labels with low and with high thresholds,
            and both kinds, can be compared.
    """

    sample_id: str
    group_id: str
    label: str
    kind: Literal["predicted", "missed"]
    score: float
    threshold: float
    confidence: float


class CoOccurrence(Record):
    """How often two labels stand together: (L, L) numbers of samples, true and predicted."""

    labels: tuple[str, ...]
    true: tuple[tuple[int, ...], ...]
    predicted: tuple[tuple[int, ...], ...]


class Failures(Record):
    """Where a system fails on one split.

    Attributes:
        by_length: By steps of the longest modality, buckets of about equal size.
        by_label_count: By labels truly present, one bucket for each count.
    """

    model: str
    by_length: tuple[Bucket, ...]
    by_label_count: tuple[Bucket, ...]
    most_confident_errors: tuple[ConfidentError, ...]
    co_occurrence: CoOccurrence


def find_failures(scores: Scores, calibration: Calibration, samples: Samples) -> Failures:
    """Where the decisions on these samples are wrong.

    Raises:
        InputError: The calibration belongs to another model, or the scores to other samples.
    """
    calibration.check(scores.info.model, scores.info.fingerprint)
    check_samples(scores, samples)
    thresholds = np.array(calibration.thresholds)
    present = decide(scores.scores, thresholds)
    return Failures(
        model=scores.info.model,
        by_length=by_length(scores, present, samples.longest),
        by_label_count=by_label_count(scores, present),
        most_confident_errors=most_confident_errors(scores, thresholds),
        co_occurrence=CoOccurrence(
            labels=scores.labels, true=label_pairs(scores.truth), predicted=label_pairs(present)
        ),
    )


def check_samples(scores: Scores, samples: Samples) -> None:
    """Refuse samples that are not those of the scores.

    Raises:
        InputError: They come from another table, or stand in another order.
    """
    for name, ours, theirs in (
        ("fingerprint", scores.info.fingerprint, samples.info.fingerprint),
        ("split", scores.info.split, samples.info.split),
        ("sample_id", scores.sample_ids, samples.sample_ids),
    ):
        if ours != theirs:
            where = f"{samples.info.corpus} {samples.info.split} samples"
            raise InputError(where, name, f"that of the scores of {scores.info.title}", "another")


def by_length(scores: Scores, present: np.ndarray, lengths: np.ndarray) -> tuple[Bucket, ...]:
    """Figures of decisions (N, L) by quantiles of the samples' lengths (N,).

    There are fewer buckets where many samples are of one length.
    """
    edges = np.quantile(lengths, np.linspace(0, 1, _BUCKETS + 1), method="inverted_cdf")
    at = np.searchsorted(np.unique(edges[1:-1]), lengths)
    return _buckets(scores.truth > 0, present, lengths, at)


def by_label_count(scores: Scores, present: np.ndarray) -> tuple[Bucket, ...]:
    """Figures by how many labels a sample truly has; `present` (N, L) are the decisions."""
    count = scores.truth.sum(axis=1)
    return _buckets(scores.truth > 0, present, count, count)


def most_confident_errors(
    scores: Scores, thresholds: np.ndarray, most: int = _ERRORS_OF_EACH_KIND
) -> tuple[ConfidentError, ...]:
    """The errors, `most` of each kind, farthest on the wrong side of thresholds (L,)."""
    present = decide(scores.scores, thresholds)
    rows, columns = np.nonzero(present != (scores.truth > 0))
    predicted, given = present[rows, columns], scores.scores[rows, columns]
    limits = thresholds[columns]
    errors = pd.DataFrame(
        {
            "sample_id": np.array(scores.sample_ids)[rows],
            "group_id": np.array(scores.group_ids)[rows],
            "label": np.array(scores.labels)[columns],
            "kind": np.where(predicted, "predicted", "missed"),
            "score": given,
            "threshold": limits,
            "confidence": ratio(abs(given - limits), np.where(predicted, 1 - limits, limits)),
        }
    ).sort_values("confidence", ascending=False, kind="stable")
    return tuple(
        ConfidentError(**row) for row in errors.groupby("kind").head(most).to_dict("records")
    )


def _buckets(
    truth: np.ndarray, present: np.ndarray, counted: np.ndarray, at: np.ndarray
) -> tuple[Bucket, ...]:
    """One bucket for each number that occurs in `at` (N,)."""
    at = np.unique(at, return_inverse=True)[1]
    rightly_empty = ~(present | truth).any(axis=1)
    return tuple(
        Bucket(
            least=counted[at == b].min(),
            most=counted[at == b].max(),
            samples=(at == b).sum(),
            labels_predicted=present[at == b].sum(axis=1).mean(),
            figures=figures,
            accuracy_empty_correct=(figures.accuracy or 0.0) + rightly_empty[at == b].mean(),
        )
        for b, figures in enumerate(headlines(present, truth, at))
    )
