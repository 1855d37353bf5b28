"""Which words each emotion attends to, for chosen samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmer.errors import InputError
from mmer.evaluation.metrics import decide
from mmer.samples.scores import Scores


def telling_samples(scores: Scores, thresholds: np.ndarray) -> dict[str, int]:
    """For each label the sample in which it is predicted most surely, and rightly.

    Args:
        scores: N samples by L labels.
        thresholds: (L,), one per label.

    Returns:
        Label -> position of the sample; without the labels that are never predicted rightly.

    Raises:
        InputError: What `decide` refuses.
    """
    right = (decide(scores, thresholds) == 1) & (scores.truth == 1)
    surest = np.where(right, scores.scores, -1.0).argmax(axis=0)
    columns = enumerate(zip(scores.labels, surest, strict=True))
    return {label: int(n) for column, (label, n) in columns if right[n, column]}


def attended_words(
    scores: Scores, sample: int, attention: np.ndarray, words: Sequence[str]
) -> dict:
    """What the label attention of one sample looks at.

    Args:
        scores: Where the sample's name, truth and scores stand.
        sample: Position of the sample among them.
        attention: (T, L) weights of the text's label attention, each column summing to 1
            (CARAT, label-specific features).
        words: T words.

    Returns:
        What JSON can hold: `sample_id`, `true` (labels present), `scores` (label -> score),
        `words`, and `attention` (label -> T weights).

    Raises:
        InputError: The attention is not one row per word and one column per label, or not weights.
    """
    where = f"label attention of {scores.sample_ids[sample]}"
    attention = np.asarray(attention, dtype=np.float64)
    expected = (len(words), len(scores.labels))
    if attention.shape != expected:
        raise InputError(where, "shape", f"{expected}, words by labels", attention.shape)
    if not (attention >= 0).all():
        raise InputError(where, "", "weights of at least 0", attention.min())
    truth = scores.truth[sample]
    return {
        "sample_id": scores.sample_ids[sample],
        "true": [label for label, present in zip(scores.labels, truth, strict=True) if present],
        "scores": dict(
            zip(scores.labels, scores.scores[sample].astype(float).tolist(), strict=True)
        ),
        "words": list(words),
        "attention": dict(zip(scores.labels, attention.T.tolist(), strict=True)),
    }
