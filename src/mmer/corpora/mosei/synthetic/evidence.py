"""Which emotions a synthetic segment has and which cues show them: the only link to its features.

A segment's label set Y has a pairwise log-linear distribution whose rates are CMU-MOSEI's. Each
emotion then shows, or fails to show, in its own modalities: a cue bit per emotion and modality,
drawn from a table P(bits | emotion present or not). Everything else in the corpus (words, frames,
gaps) is drawn from the cue bits and noise alone, so P(Y | cue bits) bounds what any system can
know. It is computed here exactly: 64 label sets times 1024 cue patterns.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np

from mmer.corpora.bayes_optimal import bayes_optimal_scores
from mmer.corpora.mosei.features import MODALITIES
from mmer.corpora.mosei.labels import EMOTIONS, Emotion

_RATES = np.array([0.53, 0.24, 0.23, 0.09, 0.17, 0.08])
_COUPLINGS: dict[tuple[Emotion, Emotion], float] = {
    ("happy", "sad"): -0.8,
    ("happy", "anger"): -1.0,
    ("happy", "disgust"): -1.0,
    ("anger", "disgust"): 1.4,
    ("sad", "fear"): 0.7,
    ("surprise", "fear"): 0.8,
}
_LABEL_SETS = np.array(list(product((0, 1), repeat=len(EMOTIONS))))  # (64, L)


class Evidence(NamedTuple):
    """How one emotion shows: P(cue bits | absent) and P(cue bits | present).

    The bits stand in the order of `modalities`; with two modalities the four probabilities are
    those of neither, the second alone, the first alone, both.
    """

    modalities: tuple[str, ...]
    absent: tuple[float, ...]
    present: tuple[float, ...]


# Sad and surprise show in one modality; happy, anger and fear in either of two. Disgust shows in
# both of two at once; either alone is common without it, so neither modality tells by itself.
EVIDENCE = {
    "happy": Evidence(("text", "visual"), (0.82, 0.12, 0.05, 0.01), (0.12, 0.26, 0.18, 0.44)),
    "sad": Evidence(("audio",), (0.94, 0.06), (0.25, 0.75)),
    "anger": Evidence(("visual", "audio"), (0.90, 0.05, 0.045, 0.005), (0.16, 0.22, 0.22, 0.40)),
    "surprise": Evidence(("text",), (0.98, 0.02), (0.27, 0.73)),
    "disgust": Evidence(("text", "visual"), (0.67, 0.15, 0.15, 0.03), (0.12, 0.07, 0.07, 0.74)),
    "fear": Evidence(("text", "audio"), (0.96, 0.02, 0.018, 0.002), (0.20, 0.20, 0.20, 0.40)),
}
CUES = tuple((emotion, m) for emotion in EMOTIONS for m in EVIDENCE[emotion].modalities)
_TABLES = [np.array([EVIDENCE[e].absent, EVIDENCE[e].present]) for e in EMOTIONS]  # (2, 2^bits)


def draw(rng: np.random.Generator, count: int, alike: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels (count, L) and cue bits (count, len(CUES)), both 0 or 1, of one video's segments.

    Each segment but the first has the first one's labels with probability `alike`, else labels of
    its own. So segments of a video resemble each other, while what one segment's cues tell of its
    own labels is the same as without.
    """
    sets = rng.choice(len(_LABEL_SETS), count, p=_label_set_probabilities())
    labels = _LABEL_SETS[np.where(rng.random(count) < alike, sets[0], sets)]
    bits = []
    for index, table in enumerate(_TABLES):
        edges = np.cumsum(table, axis=1)[labels[:, index]]  # (count, 2^bits)
        pattern = (rng.random((count, 1)) > edges[:, :-1]).sum(axis=1)
        width = table.shape[1].bit_length() - 1
        bits.append(pattern[:, None] >> np.arange(width)[::-1] & 1)
    return labels, np.concatenate(bits, axis=1)


def label_probabilities(cues: np.ndarray) -> np.ndarray:
    """P(emotion present | cue bits): cues (N, len(CUES)) -> (N, L)."""
    joint = _joint(cues)
    return joint @ _LABEL_SETS / joint.sum(axis=1, keepdims=True)


def bayes_optimal(modalities: tuple[str, ...] = MODALITIES) -> dict[str, float]:
    """Micro- and macro-F1 of the best decisions on what the cues of these modalities tell.

    Of a segment by itself: what other segments of its video tell does not count.
    """
    cues = np.array(list(product((0, 1), repeat=len(CUES))))
    shown = cues[:, [m in modalities for _, m in CUES]]
    # Patterns that look alike with the others hidden are one case.
    _, case = np.unique(shown, axis=0, return_inverse=True)
    joint = np.zeros((case.max() + 1, len(_LABEL_SETS)))
    np.add.at(joint, case, _joint(cues))
    weight = joint.sum(axis=1)
    return bayes_optimal_scores(joint @ _LABEL_SETS / weight[:, None], weight)


def _joint(cues: np.ndarray) -> np.ndarray:
    """P(label set, cue bits): (N, len(CUES)) -> (N, 64)."""
    joint = np.tile(_label_set_probabilities(), (len(cues), 1))
    first = 0
    for index, table in enumerate(_TABLES):
        width = table.shape[1].bit_length() - 1
        pattern = cues[:, first : first + width] @ (1 << np.arange(width)[::-1])
        joint *= table[:, pattern].T[:, _LABEL_SETS[:, index]]
        first += width
    return joint


@cache
def _label_set_probabilities() -> np.ndarray:
    """P(Y) over the 64 label sets: the couplings above, biases such that the rates come out."""
    coupling = np.zeros((len(EMOTIONS), len(EMOTIONS)))
    for (one, other), strength in _COUPLINGS.items():
        coupling[EMOTIONS.index(one), EMOTIONS.index(other)] = strength
    pairs = np.einsum("si,ij,sj->s", _LABEL_SETS, coupling, _LABEL_SETS)
    bias = np.log(_RATES / (1 - _RATES))
    for _ in range(20):  # Newton's method: 6 to 8 steps reach the last bit
        weight = np.exp(_LABEL_SETS @ bias + pairs)
        probability = weight / weight.sum()
        rates = probability @ _LABEL_SETS
        covariance = (_LABEL_SETS.T * probability) @ _LABEL_SETS - np.outer(rates, rates)
        bias += np.linalg.solve(covariance, _RATES - rates)
    return probability
