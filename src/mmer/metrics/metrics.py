"""Metrics of multi-label recognition, under the names that the field gives them.

scikit-learn computes whatever it has, and is imported where it computes: a model that is served
needs this module's names alone. A figure that is undefined (the recall of a label that never
occurs) is None, and `Metrics.notes` says why.
"""

from __future__ import annotations

import numpy as np

from mmer.metrics.decisions import decide
from mmer.metrics.scores import Scores
from mmer.schema import Record

HEADLINE = {"micro_f1": "micro-F1", "macro_f1": "macro-F1", "accuracy": "accuracy"}
"""The metrics that systems are compared by, with their names for readers."""


class LabelMetrics(Record):
    """One label's metrics; those that need what does not occur are None.

    Attributes:
        support: Samples that have it.
        predicted: Samples that are given it.
        average_precision: Area under the precision-recall curve, as a sum of steps.
        auroc: Area under the ROC curve.
        balanced_accuracy: Mean of the recall of the samples with and without it.
    """

    label: str
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None
    auroc: float | None
    balanced_accuracy: float | None


class Metrics(Record):
    """All metrics of one system on one split.

    Accuracy is the intersection over union of true and predicted labels, averaged over samples. As
    the field does, a sample without a true label counts 0, even if nothing is predicted for it;
    `accuracy_empty_correct` counts an empty prediction for such a sample as 1.

    Macro and weighted precision, recall and F1 are means over the same labels: those that occur or
    are predicted. Among these a label that is never predicted has precision 0, and one that never
    occurs recall 0. The other means over labels leave out the labels where they are undefined.

    Attributes:
        subset_accuracy: Share of samples whose labels are all decided rightly.
        hamming_loss: Share of wrong decisions.
        ranking_loss: Share of pairs of a true and another label in the wrong order.
        coverage_error: How many labels, from the highest score down, hold all true ones.
        single_accuracy, single_macro_f1, single_weighted_f1: Where every sample has one label: of
            the label with the highest score, as programs report that choose one. None elsewhere.
        notes: What is undefined, and why.
    """

    samples: int
    groups: int
    accuracy: float | None
    accuracy_empty_correct: float | None
    subset_accuracy: float | None
    hamming_loss: float | None
    labels_per_sample_true: float | None
    labels_per_sample_predicted: float | None
    micro_precision: float | None
    micro_recall: float | None
    micro_f1: float | None
    macro_precision: float | None
    macro_recall: float | None
    macro_f1: float | None
    weighted_precision: float | None
    weighted_recall: float | None
    weighted_f1: float | None
    macro_average_precision: float | None
    macro_auroc: float | None
    balanced_accuracy: float | None
    ranking_loss: float | None
    coverage_error: float | None
    single_accuracy: float | None = None
    single_macro_f1: float | None = None
    single_weighted_f1: float | None = None
    per_label: tuple[LabelMetrics, ...]
    notes: tuple[str, ...]


def evaluate(scores: Scores, thresholds: np.ndarray) -> Metrics:
    """All metrics of one system on one split, under thresholds (L,).

    Raises:
        InputError: The thresholds are not L finite numbers.
    """
    decisions = decide(scores.scores, thresholds).astype(np.uint8)
    per_label = _per_label(scores, decisions)
    ranking, ranking_notes = _ranking(scores)
    values: dict[str, float | None] = {
        **_of_decisions(scores.truth, decisions),
        "macro_average_precision": _mean([row.average_precision for row in per_label]),
        "macro_auroc": _mean([row.auroc for row in per_label]),
        "balanced_accuracy": _mean([row.balanced_accuracy for row in per_label]),
        **ranking,
    }
    undefined = [name for name, value in values.items() if value is None]
    notes = [f"undefined: {', '.join(undefined)}"] if undefined else []
    for row in per_label:
        notes += _undefined(row)
    return Metrics(
        samples=len(scores.truth),
        groups=len(set(scores.group_ids)),
        per_label=per_label,
        notes=(*notes, *ranking_notes),
        **values,
        **(_of_single_label(scores) if scores.info.one_label else {}),
    )


def _of_decisions(truth: np.ndarray, decisions: np.ndarray) -> dict[str, float | None]:
    """The metrics that look at decisions alone, not at scores; both are (N, L) of 0 and 1."""
    from sklearn import metrics as sk

    true, predicted = _columns(truth), _columns(decisions)
    values = {
        "accuracy": sk.jaccard_score(true, predicted, average="samples", zero_division=0.0),
        "accuracy_empty_correct": sk.jaccard_score(
            true, predicted, average="samples", zero_division=1.0
        ),
        "subset_accuracy": sk.accuracy_score(truth, decisions),
        "hamming_loss": sk.hamming_loss(truth, decisions),
        "labels_per_sample_true": truth.sum(axis=1).mean(),
        "labels_per_sample_predicted": decisions.sum(axis=1).mean(),
    }
    met = np.flatnonzero((truth | decisions).any(axis=0))  # labels that occur or are predicted
    for average in ("micro", "macro", "weighted"):
        found: tuple = (np.nan,) * 3
        if len(met) and (average != "weighted" or truth.any()):
            undefined = np.nan if average == "micro" else 0.0
            found = sk.precision_recall_fscore_support(
                true, predicted, labels=met, average=average, zero_division=undefined
            )
        for name, value in zip(("precision", "recall", "f1"), found, strict=False):
            values[f"{average}_{name}"] = value
    return {name: number(value) for name, value in values.items()}


def _of_single_label(scores: Scores) -> dict[str, float]:
    """Of the label with the highest score, the first of several; one is true of each sample.

    Means over labels are over those that are true of a sample or chosen for one.
    """
    from sklearn import metrics as sk

    true, chosen = scores.truth.argmax(axis=1), scores.scores.argmax(axis=1)
    return {
        "single_accuracy": float(sk.accuracy_score(true, chosen)),
        "single_macro_f1": float(sk.f1_score(true, chosen, average="macro")),
        "single_weighted_f1": float(sk.f1_score(true, chosen, average="weighted")),
    }


def _columns(labels: np.ndarray) -> np.ndarray:
    """At least two columns, the second empty: scikit-learn takes one for a binary problem."""
    return np.pad(labels, ((0, 0), (0, int(labels.shape[1] == 1))))


def _per_label(scores: Scores, decisions: np.ndarray) -> tuple[LabelMetrics, ...]:
    from sklearn import metrics as sk

    precision, recall, f1, support = sk.precision_recall_fscore_support(
        _columns(scores.truth), _columns(decisions), average=None, zero_division=np.nan
    )
    rows = []
    for column, label in enumerate(scores.labels):
        truth, values, decided = (x[:, column] for x in (scores.truth, scores.scores, decisions))
        some, both = truth.any(), truth.any() and not truth.all()
        rows.append(
            LabelMetrics(
                label=label,
                support=support[column],
                predicted=decided.sum(),
                precision=number(precision[column]),
                recall=number(recall[column]),
                f1=number(f1[column]),
                average_precision=sk.average_precision_score(truth, values) if some else None,
                auroc=sk.roc_auc_score(truth, values) if both else None,
                balanced_accuracy=sk.balanced_accuracy_score(truth, decided) if both else None,
            )
        )
    return tuple(rows)


def _undefined(row: LabelMetrics) -> list[str]:
    """What is undefined for one label, and why."""
    notes = []
    if row.precision is None:
        # a label that does not occur either is in no mean
        counts = ", and 0 in the means over labels" if row.support else ""
        notes.append(f"{row.label} is never predicted: precision is undefined{counts}")
    values = row.model_dump(exclude={"precision"})
    if names := [name for name, value in values.items() if value is None]:
        having = "no" if row.support == 0 else "every"
        verb = "is" if len(names) == 1 else "are"
        notes.append(f"{having} sample has {row.label}: {', '.join(names)} {verb} undefined")
    return notes


def _ranking(scores: Scores) -> tuple[dict[str, float | None], list[str]]:
    """Ranking loss, which needs a pair to rank, and coverage error, which needs a label to find."""
    from sklearn import metrics as sk

    values: dict[str, float | None] = {"ranking_loss": None, "coverage_error": None}
    (samples, labels), notes = scores.truth.shape, []
    if labels == 1:
        return values, ["one label: there is nothing to rank"]
    empty, full = (~scores.truth.any(axis=1)).sum(), scores.truth.all(axis=1).sum()
    if empty < samples:
        values["coverage_error"] = sk.coverage_error(scores.truth, scores.scores)
        if empty:
            notes = [f"{empty} samples without a label count 0 in ranking loss and coverage error"]
    if empty + full < samples:
        values["ranking_loss"] = sk.label_ranking_loss(scores.truth, scores.scores)
        if full:
            notes.append(f"{full} samples with every label count 0 in ranking loss")
    return values, notes


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def number(value: float) -> float | None:
    """A figure as records hold it: None where it is undefined."""
    return None if np.isnan(value) else float(value)
