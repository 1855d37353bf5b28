"""Metrics of multi-label recognition, under the names that the field gives them.

scikit-learn computes whatever it has. A figure that is undefined (the recall of a label that never
occurs) is None, and `notes` says why; averages over labels leave such labels out.
"""

from __future__ import annotations

import numpy as np
from sklearn import metrics as sk

from mmer.errors import InputError
from mmer.samples.scores import Scores

AVERAGES = ("micro", "macro", "weighted")


def decide(scores: Scores, thresholds: np.ndarray) -> np.ndarray:
    """Labels that are present by the decision rule score > threshold.

    Args:
        scores: N samples by L labels.
        thresholds: (L,), one per label.

    Returns:
        (N, L) uint8.

    Raises:
        InputError: There is no sample, or the thresholds are not L finite numbers.
    """
    where = f"{scores.system} on {scores.split}"
    if not scores.sample_ids:
        raise InputError(where, "", "at least one sample", "none")
    thresholds = np.asarray(thresholds, dtype=np.float64)
    if thresholds.shape != (len(scores.labels),):
        expected = f"one for each of {len(scores.labels)} labels"
        raise InputError(where, "thresholds", expected, f"shape {thresholds.shape}")
    if not np.isfinite(thresholds).all():
        raise InputError(where, "thresholds", "finite numbers", thresholds)
    return (scores.scores > thresholds).astype(np.uint8)


def evaluate(scores: Scores, thresholds: np.ndarray) -> dict:
    """All metrics of one system on one split.

    Accuracy is the intersection over union of true and predicted labels, averaged over samples. As
    the field does, a sample with no true label counts 0, even if nothing is predicted for it;
    `accuracy_empty_correct` counts an empty prediction for such a sample as 1. Precision is the
    share of predicted labels that are true and recall the share of true labels that are predicted.

    Args:
        scores: N samples by L labels.
        thresholds: (L,), one per label; a label is present if its score exceeds it.

    Returns:
        What JSON can hold: what was evaluated (`system`, `split`, `weights`, `synthetic`,
        `samples`, `groups`, `labels`, `thresholds`), one number or None per metric, `per_label`
        (label -> metric -> number or None) and `notes` (what is undefined, and why).

    Raises:
        InputError: There is no sample, or the thresholds are not L finite numbers.
    """
    decisions = decide(scores, thresholds)
    per_label, notes = _per_label(scores, decisions)
    ranked, ranking_notes = _ranking(scores)
    result = {
        "system": scores.system,
        "split": scores.split,
        "weights": scores.weights,
        "synthetic": scores.synthetic,
        "samples": len(scores.sample_ids),
        "groups": len(set(scores.group_ids)),
        "labels": list(scores.labels),
        "thresholds": dict(zip(scores.labels, map(float, thresholds), strict=True)),
        **decision_metrics(scores.truth, decisions),
        **{f"macro_{m}": _mean(per_label, m) for m in ("average_precision", "auroc")},
        "weighted_accuracy": _mean(per_label, "weighted_accuracy"),
        **ranked,
        "per_label": per_label,
    }
    if undefined := [name for name, value in result.items() if value is None]:
        notes = [f"undefined: {', '.join(undefined)}", *notes]
    return {**result, "notes": [*notes, *ranking_notes]}


def decision_metrics(truth: np.ndarray, decisions: np.ndarray) -> dict[str, float | None]:
    """The metrics that look at decisions alone, not at scores.

    Args:
        truth: (N, L) of 0 and 1, N > 0.
        decisions: (N, L) of 0 and 1.

    Returns:
        Accuracy in its variants, Hamming loss, and precision, recall and F1 in each average; None
        where undefined. See `evaluate` for what they are.
    """
    # scikit-learn takes a single column for a binary problem; an empty second one changes nothing
    # in metrics that are averaged over `labels` or that only look at labels present.
    padding = ((0, 0), (0, int(truth.shape[1] == 1)))
    true, predicted = np.pad(truth, padding), np.pad(decisions, padding)
    result = {
        "accuracy": sk.jaccard_score(true, predicted, average="samples", zero_division=0.0),
        "accuracy_empty_correct": sk.jaccard_score(
            true, predicted, average="samples", zero_division=1.0
        ),
        "subset_accuracy": sk.accuracy_score(truth, decisions),
        "hamming_loss": sk.hamming_loss(truth, decisions),
        "labels_per_sample_true": truth.sum(axis=1).mean(),
        "labels_per_sample_predicted": decisions.sum(axis=1).mean(),
    }
    for average in AVERAGES:
        values = sk.precision_recall_fscore_support(
            true,
            predicted,
            labels=range(truth.shape[1]),
            average=average,
            zero_division=np.nan,
        )
        names = (f"{average}_precision", f"{average}_recall", f"{average}_f1")
        result |= dict(zip(names, values[:3], strict=True))
    return {name: _number(value) for name, value in result.items()}


def _per_label(
    scores: Scores, decisions: np.ndarray
) -> tuple[dict[str, dict[str, float | int | None]], list[str]]:
    per_label, notes = {}, []
    for column, label in enumerate(scores.labels):
        truth, decided = scores.truth[:, column], decisions[:, column]
        support, predicted = int(truth.sum()), int(decided.sum())
        precision, recall, f1, _ = sk.precision_recall_fscore_support(
            truth, decided, labels=[1], zero_division=np.nan
        )
        result = {"precision": precision[0], "recall": recall[0], "f1": f1[0]}
        result |= _ranked_and_balanced(truth, decided, scores.scores[:, column])
        per_label[label] = {
            "support": support,
            "predicted": predicted,
            **{name: _number(value) for name, value in result.items()},
        }
        notes += _undefined(label, per_label[label], len(truth))
    return per_label, notes


def _ranked_and_balanced(
    truth: np.ndarray, decided: np.ndarray, scores: np.ndarray
) -> dict[str, float]:
    """Metrics of one label that need positives, or both classes, to exist."""
    positives, both = truth.any(), truth.any() and not truth.all()
    return {
        "average_precision": sk.average_precision_score(truth, scores) if positives else np.nan,
        "auroc": sk.roc_auc_score(truth, scores) if both else np.nan,
        "weighted_accuracy": sk.balanced_accuracy_score(truth, decided) if both else np.nan,
    }


def _undefined(label: str, row: dict[str, float | int | None], samples: int) -> list[str]:
    """What is undefined for one label, and why."""
    names = [name for name, value in row.items() if value is None and name != "precision"]
    notes = []
    if row["precision"] is None:
        notes.append(f"{label} is never predicted: precision is undefined")
    if names:
        having = "no" if row["support"] == 0 else "every"
        verb = "is" if len(names) == 1 else "are"
        notes.append(f"{having} sample has {label}: {', '.join(names)} {verb} undefined")
    return notes


def _ranking(scores: Scores) -> tuple[dict[str, float | None], list[str]]:
    """Ranking loss and coverage error, and what has to be said of them."""
    labels, present = len(scores.labels), scores.truth.sum(axis=1)
    empty, full = int((present == 0).sum()), int((present == labels).sum())
    samples, many = len(present), labels > 1
    ranked, covered = many and empty + full < samples, many and empty < samples
    result = {
        "ranking_loss": sk.label_ranking_loss(scores.truth, scores.scores) if ranked else None,
        "coverage_error": sk.coverage_error(scores.truth, scores.scores) if covered else None,
    }
    notes = [] if many else ["one label: there is nothing to rank"]
    if empty and covered:
        notes.append(f"{empty} samples without a label count 0 in ranking loss and coverage error")
    if full and ranked:
        notes.append(f"{full} samples with every label count 0 in ranking loss")
    return result, notes


def _mean(per_label: dict[str, dict], metric: str) -> float | None:
    values = [row[metric] for row in per_label.values() if row[metric] is not None]
    return float(np.mean(values)) if values else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
