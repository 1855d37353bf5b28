"""Where a system fails: by length, by number of labels, in single decisions, in co-occurrences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from mmer.calibration.calibration import Calibration
from mmer.errors import InputError
from mmer.evaluation.assessment import EvaluationSettings, judged_by
from mmer.metrics.counts import label_pairs, ratio
from mmer.metrics.decisions import decide
from mmer.metrics.intervals import Interval, headline_intervals
from mmer.metrics.metrics import HEADLINE, number
from mmer.metrics.resampled import DecisionFigures, Judged
from mmer.metrics.scores import Scores
from mmer.samples.batches import Samples
from mmer.schema import Record

_BUCKETS = 4
_ERRORS_OF_EACH_KIND = 10


class Bucket(Record):
    """Samples that are alike in something that is counted: steps, or labels truly present.

    Where they have no label, micro-F1 and accuracy can only be 0.

    Attributes:
        least, most: Of what is counted, both included.
        labels_predicted: Mean per sample.
        intervals: Headline metric -> its value on these samples; with an interval, over their
            groups, unless they are all of one.
    """

    least: int
    most: int
    samples: int
    labels_predicted: float
    intervals: dict[str, Interval]


class ConfidentError(Record):
    """A wrong decision.

    Attributes:
        kind: "predicted" though absent, or "missed" though present.
        confidence: In [0, 1]: how far the score lies on the wrong side of its threshold, as a share
            of the way to the end of the scale, so that labels with low and with high thresholds,
            and both kinds, can be compared.
        true: The labels that the sample has.
        words: What is said in it, if that is known.
    """

    sample_id: str
    group_id: str
    label: str
    kind: Literal["predicted", "missed"]
    score: float
    threshold: float
    confidence: float
    true: tuple[str, ...]
    words: str | None


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


def find_failures(
    scores: Scores,
    calibration: Calibration,
    samples: Samples,
    words: Sequence[Sequence[str] | None],
    settings: EvaluationSettings,
) -> Failures:
    """Where the decisions on these samples, of which these `words` are said, are wrong.

    Raises:
        InputError: The calibration belongs to another model, or the scores to other samples.
    """
    judged = judged_by(scores, calibration)
    check_samples(scores, samples)
    present = decide(scores.scores, judged.thresholds)
    return Failures(
        model=scores.info.model,
        by_length=by_length(judged, samples.longest, settings),
        by_label_count=by_label_count(judged, settings),
        most_confident_errors=most_confident_errors(scores, judged.thresholds, words),
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


def by_length(
    judged: Judged, lengths: np.ndarray, settings: EvaluationSettings
) -> tuple[Bucket, ...]:
    """Figures by quantiles of the samples' lengths (N,).

    There are fewer buckets where many samples are of one length.
    """
    edges = np.quantile(lengths, np.linspace(0, 1, _BUCKETS + 1), method="inverted_cdf")
    at = np.searchsorted(np.unique(edges[1:-1]), lengths)
    return _buckets(judged, lengths, at, settings)


def by_label_count(judged: Judged, settings: EvaluationSettings) -> tuple[Bucket, ...]:
    """Figures by how many labels a sample truly has."""
    count = judged.scores.truth.sum(axis=1)
    return _buckets(judged, count, count, settings)


def most_confident_errors(
    scores: Scores,
    thresholds: np.ndarray,
    words: Sequence[Sequence[str] | None],
    most: int = _ERRORS_OF_EACH_KIND,
) -> tuple[ConfidentError, ...]:
    """The errors, `most` of each kind, farthest on the wrong side of thresholds (L,).

    Args:
        words: Of each of the N samples, if they are known.
    """
    present = decide(scores.scores, thresholds)
    rows, columns = np.nonzero(present != (scores.truth > 0))
    predicted, given = present[rows, columns], scores.scores[rows, columns]
    limits = thresholds[columns]
    errors = pd.DataFrame(
        {
            "sample": rows,
            "label": np.array(scores.labels)[columns],
            "kind": np.where(predicted, "predicted", "missed"),
            "score": given,
            "threshold": limits,
            "confidence": ratio(abs(given - limits), np.where(predicted, 1 - limits, limits)),
        }
    ).sort_values("confidence", ascending=False, kind="stable")
    found = []
    for row in errors.groupby("kind").head(most).to_dict("records"):
        n = row.pop("sample")
        said = words[n]
        of_sample = {
            "sample_id": scores.sample_ids[n],
            "group_id": scores.group_ids[n],
            "true": scores.true_labels(n),
            "words": None if said is None else " ".join(said),
        }
        found.append(ConfidentError.model_validate({**row, **of_sample}))
    return tuple(found)


def _buckets(
    judged: Judged, counted: np.ndarray, at: np.ndarray, settings: EvaluationSettings
) -> tuple[Bucket, ...]:
    """One bucket for each number that occurs in `at` (N,)."""
    present, found = decide(judged.scores.scores, judged.thresholds), []
    for b in np.unique(at):
        inside = np.flatnonzero(at == b)
        found.append(
            Bucket(
                least=counted[inside].min(),
                most=counted[inside].max(),
                samples=len(inside),
                labels_predicted=present[inside].sum(axis=1).mean(),
                intervals=_intervals(judged, inside, settings),
            )
        )
    return tuple(found)


def _intervals(
    judged: Judged, rows: np.ndarray, settings: EvaluationSettings
) -> dict[str, Interval]:
    """Headline figures of some of the samples."""
    scores = replace(
        judged.scores,
        scores=judged.scores.scores[rows],
        truth=judged.scores.truth[rows],
        sample_ids=tuple(judged.scores.sample_ids[n] for n in rows),
        group_ids=tuple(judged.scores.group_ids[n] for n in rows),
    )
    part = Judged(scores, judged.thresholds, judged.of_metric)
    if scores.groups.max() > 0:
        return headline_intervals([part], resamples=settings.resamples, seed=settings.seed)
    values = DecisionFigures(part).values(np.ones((1, 1)))[0]
    return {
        name: Interval(value=number(value), low=None, high=None, undefined=0)
        for name, value in zip(HEADLINE, values, strict=False)
    }
