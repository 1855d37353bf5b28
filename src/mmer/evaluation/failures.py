"""Where a system fails: by length, by number of labels, its surest mistakes, its co-occurrences."""

from __future__ import annotations

import numpy as np

from mmer.errors import InputError
from mmer.evaluation.metrics import decide, decision_metrics
from mmer.samples.scores import Scores


def by_length(
    scores: Scores, thresholds: np.ndarray, lengths: np.ndarray, buckets: int = 4
) -> list[dict]:
    """Metrics by quantiles of the samples' length.

    Args:
        scores: N samples by L labels.
        thresholds: (L,), one per label.
        lengths: (N,) steps of each sample.
        buckets: How many, of about equal size; fewer where many samples are of one length.

    Returns:
        One row per bucket: `from` and `to` (steps, both included), `samples`, `micro_f1`,
        `accuracy`, `macro_f1`.

    Raises:
        InputError: The lengths are not N numbers, or what `decide` refuses.
    """
    decisions, lengths = decide(scores, thresholds), np.asarray(lengths)
    if lengths.shape != (len(decisions),):
        where = f"{scores.system} on {scores.split}"
        raise InputError(where, "lengths", f"{len(decisions)} numbers", f"shape {lengths.shape}")
    edges = np.quantile(lengths, np.linspace(0, 1, buckets + 1), method="inverted_cdf")
    bucket = np.searchsorted(np.unique(edges[1:-1]), lengths)
    return [
        {
            "from": int(lengths[bucket == b].min()),
            "to": int(lengths[bucket == b].max()),
            **_row(scores.truth[bucket == b], decisions[bucket == b], "macro_f1"),
        }
        for b in np.unique(bucket)
    ]


def by_label_count(scores: Scores, thresholds: np.ndarray) -> list[dict]:
    """Metrics by how many labels a sample truly has.

    Where a sample has none, micro-F1 and accuracy can only be 0; `accuracy_empty_correct` is then
    the share of samples for which, rightly, nothing is predicted.

    Returns:
        One row per count that occurs: `labels`, `labels_predicted` (mean per sample), `samples`,
        `micro_f1`, `accuracy`, `accuracy_empty_correct`.

    Raises:
        InputError: What `decide` refuses.
    """
    decisions, count = decide(scores, thresholds), scores.truth.sum(axis=1)
    return [
        {
            "labels": int(n),
            "labels_predicted": float(decisions[count == n].sum(axis=1).mean()),
            **_row(scores.truth[count == n], decisions[count == n], "accuracy_empty_correct"),
        }
        for n in np.unique(count)
    ]


def surest_mistakes(scores: Scores, thresholds: np.ndarray, most: int = 10) -> list[dict]:
    """The mistakes in which the score lies farthest on the wrong side of its threshold.

    How far is measured as a share of the way from the threshold to the end of the scale, so that
    labels with low and with high thresholds, and both kinds of mistake, can be compared.

    Args:
        scores: N samples by L labels.
        thresholds: (L,), one per label.
        most: How many of each kind.

    Returns:
        Rows of `sample_id`, `group_id`, `label`, `mistake` ("predicted" though absent or "missed"
        though present), `score`, `threshold` and `sureness` in [0, 1], the surest first.

    Raises:
        InputError: What `decide` refuses.
    """
    decisions, thresholds = decide(scores, thresholds), np.asarray(thresholds, dtype=np.float64)
    above = (scores.scores - thresholds) / np.maximum(1 - thresholds, 1e-12)
    below = (thresholds - scores.scores) / np.maximum(thresholds, 1e-12)
    sureness = np.clip(np.where(decisions, above, below), 0, 1)
    rows = []
    for mistake, wrong in (
        ("predicted", (decisions == 1) & (scores.truth == 0)),
        ("missed", (decisions == 0) & (scores.truth == 1)),
    ):
        samples, labels = np.nonzero(wrong)
        order = np.argsort(-sureness[samples, labels], kind="stable")[:most]
        rows += [
            {
                "sample_id": scores.sample_ids[n],
                "group_id": scores.group_ids[n],
                "label": scores.labels[label],
                "mistake": mistake,
                "score": float(scores.scores[n, label]),
                "threshold": float(thresholds[label]),
                "sureness": float(sureness[n, label]),
            }
            for n, label in zip(samples[order], labels[order], strict=True)
        ]
    return sorted(rows, key=lambda row: -row["sureness"])


def co_occurrence(scores: Scores, thresholds: np.ndarray) -> dict:
    """How often two labels stand together, in truth and as predicted.

    Returns:
        `labels`, and `true` and `predicted`: (L, L) lists of counts, those of single labels on the
        diagonal.

    Raises:
        InputError: What `decide` refuses.
    """
    decisions = decide(scores, thresholds)
    return {
        "labels": list(scores.labels),
        "samples": len(decisions),
        "true": label_pairs(scores.truth).tolist(),
        "predicted": label_pairs(decisions).tolist(),
    }


def label_pairs(present: np.ndarray) -> np.ndarray:
    """(L, L) number of samples that have both labels, from (N, L) of 0 and 1."""
    counts = present.astype(np.int64)
    return counts.T @ counts


def _row(truth: np.ndarray, decisions: np.ndarray, third: str) -> dict:
    metrics = decision_metrics(truth, decisions)
    shown = {name: metrics[name] for name in ("micro_f1", "accuracy", third)}
    return {"samples": len(truth), **shown}
