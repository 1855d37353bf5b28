"""What each label looks at, where it is predicted rightly and where wrongly, most confidently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from mmer.calibration.calibration import Calibration
from mmer.errors import InputError
from mmer.evaluation.assessment import EvaluationSettings
from mmer.evaluation.deletion import Attending, Deletion, measure_deletion
from mmer.evaluation.failures import check_samples
from mmer.metrics.decisions import decide
from mmer.metrics.scores import Scores
from mmer.samples.batches import Samples
from mmer.schema import Record

Kind = Literal["correct", "wrong"]


class ModalityAttention(Record):
    """Of one modality, (L, T) weights whose rows sum to 1, and T words if they are known."""

    modality: str
    weights: tuple[tuple[float, ...], ...]
    words: tuple[str, ...] | None


class Explanation(Record):
    """What the labels look at in one sample.

    Attributes:
        correct_for: The labels whose most confident correct prediction this is.
        wrong_for: The labels whose most confident wrong prediction this is.
        true: The labels that it has.
    """

    sample_id: str
    correct_for: tuple[str, ...]
    wrong_for: tuple[str, ...]
    true: tuple[str, ...]
    scores: tuple[float, ...]
    modalities: tuple[ModalityAttention, ...]


class Explanations(Record):
    """Where a system looks; no examples of one that does not tell, or predicts nothing.

    Attributes:
        deletion: Whether what it looks at matters, label by label.
    """

    model: str
    labels: tuple[str, ...]
    examples: tuple[Explanation, ...] = ()
    deletion: Deletion


def explain(
    system: Attending,
    samples: Samples,
    words: Sequence[Sequence[str] | None],
    scores: Scores,
    calibration: Calibration,
    settings: EvaluationSettings,
) -> Explanations:
    """The attention in each label's most confident prediction that is correct, and that is wrong.

    A sample's `words` are what the steps of its first modality stand for, and those of all
    modalities where they share their steps.

    Raises:
        InputError: The calibration belongs to another model, the scores to other samples, or a
            sample has another number of words than of steps.
    """
    calibration.check(scores.info.model, scores.info.fingerprint)
    check_samples(scores, samples)
    thresholds = np.array(calibration.thresholds)
    correct = most_confident(scores, thresholds, "correct")
    wrong = most_confident(scores, thresholds, "wrong")
    index = np.array(sorted({*correct.values(), *wrong.values()}), np.int64)
    found = system.attention(samples, index) if len(index) else []
    examples = [
        Explanation(
            sample_id=scores.sample_ids[n],
            correct_for=tuple(label for label, at in correct.items() if at == n),
            wrong_for=tuple(label for label, at in wrong.items() if at == n),
            true=scores.true_labels(n),
            scores=tuple(scores.scores[n].tolist()),
            modalities=_modalities(samples, int(n), looks, words[n]),
        )
        for n, looks in zip(index, found, strict=bool(found))
    ]
    return Explanations(
        model=scores.info.model,
        labels=scores.labels,
        examples=tuple(examples),
        deletion=measure_deletion(system, samples, scores, calibration, settings),
    )


def most_confident(scores: Scores, thresholds: np.ndarray, kind: Kind) -> dict[str, int]:
    """Label -> the sample in which it is predicted, rightly or wrongly, with the highest score."""
    predicted = decide(scores.scores, thresholds)
    there = predicted & ((scores.truth > 0) == (kind == "correct"))
    highest = np.where(there, scores.scores, -1.0).argmax(axis=0)
    columns = enumerate(zip(scores.labels, highest, strict=True))
    return {label: int(n) for column, (label, n) in columns if there[n, column]}


def _modalities(
    samples: Samples,
    sample: int,
    attention: Mapping[str, np.ndarray],
    words: Sequence[str] | None,
) -> tuple[ModalityAttention, ...]:
    found = []
    for modality in samples.modalities:
        steps = int(samples.host_lengths[modality][sample])
        if steps == 0 or modality not in attention:
            continue
        weights = np.asarray(attention[modality], np.float64)
        shape = (steps, len(samples.info.labels))
        if weights.shape != shape or not (weights >= 0).all():
            raise ValueError(
                f"attention to {modality} of {samples.sample_ids[sample]}: expected weights "
                f"of shape {shape}, steps by labels, at least 0"
            )
        named = modality == samples.modalities[0] or samples.info.alignment != "none"
        spoken = tuple(words) if named and words is not None else None
        if spoken is not None and len(spoken) != steps:
            where = f"{samples.info.corpus} sample {samples.sample_ids[sample]}"
            raise InputError(where, "words", f"one for each of {steps} steps", len(spoken))
        rows = tuple(map(tuple, weights.T.tolist()))
        found.append(ModalityAttention(modality=modality, weights=rows, words=spoken))
    return tuple(found)
