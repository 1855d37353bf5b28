"""A synthetic M3ED in the official file: ten objects in one pickle.

Every utterance has one of seven emotions. It shows one emotion, mostly its own and else another at
random, and each emotion shows in some modalities only; where it does not, the features are noise. A
dialogue's labels are the emotions of all its utterances. So an utterance tells no more than what it
shows, utterances of a dialogue are independent, and the best possible score of a system that looks
at one dialogue follows from Bayes' rule. Some dialogues of a series go as its first one goes.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from mmer.corpora.bayes_optimal import bayes_optimal_scores
from mmer.corpora.m3ed.reader import EMOTIONS, FILES
from mmer.schema import Settings

FILE = FILES[-1]
WIDTHS = {"text": 768, "audio": 1024, "visual": 342}
_RATES = np.array([0.14, 0.42, 0.14, 0.07, 0.15, 0.03, 0.05])
_SHOWN_IN = {
    "text": ("Happy", "Neutral", "Disgust", "Surprise"),
    "audio": ("Sad", "Anger", "Fear"),
    "visual": ("Happy", "Disgust", "Fear", "Surprise"),
}
_STRENGTH = 6.0
_LONGEST = 70
_SERIES = (38, 7, 11)  # of the official splits
_DIALOGUES_OF_SERIES = 2  # at least, where that leaves two series in a split
_DIALOGUES_DRAWN = 5_000


class SyntheticM3ed(Settings):
    """Size and difficulty of the synthetic M3ED.

    Attributes:
        seed: The same seed gives the same bytes.
        train_dialogues: The first of them has 70 utterances, more than the reader keeps.
        utterances: Mean number of utterances in the others; half of it to one and a half times.
        noise: Share of utterances that show an emotion at random instead of their own.
        alike: Probability that a dialogue has, utterance by utterance, the emotions of the first
            one of its series, as far as that goes.
    """

    seed: NonNegativeInt = 1
    train_dialogues: PositiveInt = 500
    valid_dialogues: int = Field(default=120, ge=2)
    test_dialogues: int = Field(default=150, ge=2)
    utterances: int = Field(default=8, ge=2)
    noise: float = Field(default=0.2, ge=0, le=1)
    alike: float = Field(default=0.3, ge=0, le=1)


def write_synthetic(folder: Path, settings: SyntheticM3ed) -> dict[str, float]:
    """Write the pickle into an empty folder; returns the Bayes-optimal score."""
    (folder / FILE).write_bytes(pickle.dumps(_ten_objects(settings), protocol=4))
    return bayes_optimal(settings)


def bayes_optimal(settings: SyntheticM3ed) -> dict[str, float]:
    """Micro- and macro-F1 that no system exceeds in expectation, from many drawn dialogues.

    Of a dialogue by itself: what other dialogues of its series tell does not count.
    """
    rng = np.random.default_rng(0)
    absent = np.ones((_DIALOGUES_DRAWN, len(EMOTIONS)))
    for row, length in enumerate(_lengths(rng, settings.utterances, _DIALOGUES_DRAWN)):
        _, shown = _draw_utterances(rng, length, settings.noise)
        absent[row] = (1 - _posterior(settings.noise)[shown]).prod(axis=0)
    return bayes_optimal_scores(1 - absent)


def _posterior(noise: float) -> np.ndarray:
    """P(emotion | shown emotion), one row per shown emotion."""
    count = len(EMOTIONS)
    shows = (1 - noise) * np.eye(count) + noise / count
    joint = _RATES * shows.T
    return joint / joint.sum(axis=1, keepdims=True)


def _lengths(rng: np.random.Generator, mean: int, count: int) -> np.ndarray:
    return rng.integers(mean // 2, mean + mean // 2 + 1, count)


def _draw_utterances(
    rng: np.random.Generator, length: int, noise: float, like: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Emotion of each utterance, as in `like` as far as that goes, and the one that it shows."""
    emotions = rng.choice(len(EMOTIONS), length, p=_RATES)
    emotions[: len(like)] = like[:length]
    stray = rng.random(length) < noise
    return emotions, np.where(stray, rng.integers(len(EMOTIONS), size=length), emotions)


def _ten_objects(settings: SyntheticM3ed) -> list:
    """The objects in the order of the official file."""
    rng = np.random.default_rng(settings.seed)
    sizes = (settings.train_dialogues, settings.valid_dialogues, settings.test_dialogues)
    lengths = _lengths(rng, settings.utterances, sum(sizes))
    lengths[0] = _LONGEST
    names = _names(sizes)
    looks = {m: _looks(rng, m) for m in WIDTHS}
    resembling, records = np.random.default_rng((settings.seed, 1)), []
    first: dict[str, list[int]] = {}  # series -> emotions of its first dialogue
    for name, length in zip(names, lengths.tolist(), strict=True):
        series, alike = name.partition("_")[0], resembling.random() < settings.alike
        like = first.get(series, []) if alike else []
        emotions, shown = _draw_utterances(rng, length, settings.noise, like)
        first.setdefault(series, emotions.tolist())
        features = [
            (look[shown] + rng.normal(size=(length, WIDTHS[m]))).astype(np.float32)
            for m, look in looks.items()
        ]
        records.append(
            (
                [f"{name}_{t}" for t in range(length)],
                ["AB"[t % 2] for t in range(length)],
                emotions.tolist(),
                *features,
                [f"synthetic utterance {t}" for t in range(length)],
            )
        )
    objects = (dict(zip(names, column, strict=True)) for column in zip(*records, strict=True))
    edges = np.cumsum((0, *sizes)).tolist()
    return [*objects, *(names[a:b] for a, b in pairwise(edges))]


def _names(sizes: tuple[int, ...]) -> list[str]:
    """`<series>_<number>` of each dialogue; no series is in two splits."""
    names: list[str] = []
    first = 1
    for size, most in zip(sizes, _SERIES, strict=True):
        count = min(size, max(2, min(most, size // _DIALOGUES_OF_SERIES)))
        for series, dialogues in enumerate(np.array_split(np.arange(size), count), start=first):
            names += [f"synthetic{series}_{number + 1}" for number in range(len(dialogues))]
        first += count
    return names


def _looks(rng: np.random.Generator, modality: str) -> np.ndarray:
    """(7, D): what each emotion adds to a modality's features; 0 where it does not show."""
    directions = rng.normal(size=(len(EMOTIONS), WIDTHS[modality]))
    directions *= _STRENGTH / np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * np.isin(EMOTIONS, _SHOWN_IN[modality])[:, None]
