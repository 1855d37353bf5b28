"""What each label looks at, in samples where it is predicted rightly and most confidently."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mmer.calibration.calibration import Calibration
from mmer.errors import InputError
from mmer.evaluation.failures import check_samples
from mmer.metrics.decisions import decide
from mmer.metrics.scores import Scores
from mmer.samples.batches import Samples
from mmer.schema import Record

Attention = Callable[[Samples, np.ndarray], Sequence[Mapping[str, np.ndarray]]]
"""Of samples by index: modality -> (T, L) for each; nothing at all if that is not known."""


class ModalityAttention(Record):
    """Of one modality, (L, T) weights whose rows sum to 1, and T words if they are known."""

    modality: str
    weights: tuple[tuple[float, ...], ...]
    words: tuple[str, ...] | None


class Explanation(Record):
    """What the labels look at in one sample.

    Attributes:
        chosen_for: The labels whose most confident correct prediction this is.
        true: The labels that it has.
    """

    sample_id: str
    chosen_for: tuple[str, ...]
    true: tuple[str, ...]
    scores: tuple[float, ...]
    modalities: tuple[ModalityAttention, ...]


class Explanations(Record):
    """Where a system looks; no examples of one that does not tell, or is never right."""

    model: str
    labels: tuple[str, ...]
    examples: tuple[Explanation, ...] = ()


def explain(
    attention: Attention,
    samples: Samples,
    words: Sequence[Sequence[str] | None],
    scores: Scores,
    calibration: Calibration,
) -> Explanations:
    """The attention in each label's most confident correct prediction.

    A sample's `words` are what the steps of its first modality stand for, and those of all
    modalities where they share their steps.

    Raises:
        InputError: The calibration belongs to another model, the scores to other samples, or a
            sample has another number of words than of steps.
    """
    calibration.check(scores.info.model, scores.info.fingerprint)
    check_samples(scores, samples)
    chosen = most_confident_correct(scores, np.array(calibration.thresholds))
    index = np.array(sorted(set(chosen.values())), np.int64)
    found = attention(samples, index) if len(index) else []
    examples = [
        Explanation(
            sample_id=scores.sample_ids[n],
            chosen_for=tuple(label for label, at in chosen.items() if at == n),
            true=tuple(np.array(scores.labels)[scores.truth[n] > 0].tolist()),
            scores=tuple(scores.scores[n].tolist()),
            modalities=_modalities(samples, int(n), looks, words[n]),
        )
        for n, looks in zip(index, found, strict=bool(found))
    ]
    return Explanations(model=scores.info.model, labels=scores.labels, examples=tuple(examples))


def most_confident_correct(scores: Scores, thresholds: np.ndarray) -> dict[str, int]:
    """Label -> the sample in which it is predicted rightly with the highest score, if there is."""
    right = decide(scores.scores, thresholds) & (scores.truth > 0)
    highest = np.where(right, scores.scores, -1.0).argmax(axis=0)
    columns = enumerate(zip(scores.labels, highest, strict=True))
    return {label: int(n) for column, (label, n) in columns if right[n, column]}


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
