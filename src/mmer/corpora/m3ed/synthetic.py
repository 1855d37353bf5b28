"""A synthetic M3ED in the official file: ten objects in one pickle, and `synthetic.json` beside it.

Every utterance has one of seven emotions. It shows one emotion, mostly its own and else another at
random, and each emotion shows in some modalities only; where it does not, the features are noise. A
dialogue's labels are the emotions of all its utterances. So an utterance tells no more than what it
shows, utterances are independent, and the best possible score follows from Bayes' rule.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np

from mmer.corpora.m3ed import M3edSettings
from mmer.corpora.synthetic.evidence import best_f1
from mmer.corpora.synthetic.folder import appearing_whole
from mmer.errors import InputError

FILE = "A_wav2vec_zh-V_denseface-L_bert_base_zh.pkl"
WIDTHS = {"text": 768, "audio": 1024, "visual": 342}
EMOTIONS = M3edSettings().labels
_RATES = np.array([0.14, 0.42, 0.14, 0.07, 0.15, 0.03, 0.05])
_SHOWN_IN = {
    "text": ("Happy", "Neutral", "Disgust", "Surprise"),
    "audio": ("Sad", "Anger", "Fear"),
    "visual": ("Happy", "Disgust", "Fear", "Surprise"),
}
_STRENGTH = 6.0
_LONGEST = 70
_CEILING_DRAWS = 5_000


@dataclass(frozen=True)
class SyntheticM3ed:
    """Size and difficulty of the synthetic M3ED.

    Attributes:
        seed: The same seed gives the same bytes.
        train_dialogues, valid_dialogues, test_dialogues: Dialogues per split. The first one of
            training has 70 utterances, more than the readers keep.
        utterances: Mean number of utterances in the others; half of it to one and a half times.
        noise: Share of utterances that show an emotion at random instead of their own.

    Raises:
        InputError: A number is out of range.
    """

    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    seed: int = 1
    train_dialogues: int = 500
    valid_dialogues: int = 120
    test_dialogues: int = 150
    utterances: int = 8
    noise: float = 0.2

    def __post_init__(self) -> None:
        least = {
            "seed": 0,
            "train_dialogues": 1,
            "valid_dialogues": 2,
            "test_dialogues": 2,
            "utterances": 2,
        }
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InputError("synthetic M3ED", name, f"at least {lowest}", getattr(self, name))
        if not 0 <= self.noise <= 1:
            raise InputError("synthetic M3ED", "noise", "a number from 0 to 1", self.noise)


def write_synthetic_m3ed(folder: Path, settings: SyntheticM3ed) -> None:
    """Write the pickle and `synthetic.json`; the folder appears when it is whole, or not at all.

    Raises:
        InputError: The folder exists and is not empty; it is left as it is.
    """
    description = {
        "synthetic": True,
        "note": "Synthetic: no recording stands behind these numbers.",
        "settings": asdict(settings),
        "ceiling": ceiling(settings),
    }
    with appearing_whole(folder) as partial:
        (partial / FILE).write_bytes(pickle.dumps(_ten_objects(settings), protocol=4))
        (partial / "synthetic.json").write_text(json.dumps(description, indent=1) + "\n")


def ceiling(settings: SyntheticM3ed) -> dict[str, float]:
    """Micro- and macro-F1 that no system exceeds in expectation, from many drawn dialogues."""
    rng = np.random.default_rng(0)
    absent = np.ones((_CEILING_DRAWS, len(EMOTIONS)))
    for row, length in enumerate(_lengths(rng, settings.utterances, _CEILING_DRAWS)):
        _, shown = _draw_utterances(rng, length, settings.noise)
        absent[row] = (1 - _posterior(settings.noise)[shown]).prod(axis=0)
    probability, weight = 1 - absent, np.ones_like(absent)
    per_label = [best_f1(column, np.ones(len(column))) for column in probability.T]
    return {
        "micro_f1": best_f1(probability.ravel(), weight.ravel()),
        "macro_f1": float(np.mean(per_label)),
    }


def _posterior(noise: float) -> np.ndarray:
    """P(emotion | shown emotion), one row per shown emotion."""
    count = len(EMOTIONS)
    shows = (1 - noise) * np.eye(count) + noise / count
    joint = _RATES * shows.T
    return joint / joint.sum(axis=1, keepdims=True)


def _lengths(rng: np.random.Generator, mean: int, count: int) -> np.ndarray:
    return rng.integers(mean // 2, mean + mean // 2 + 1, count)


def _draw_utterances(
    rng: np.random.Generator, length: int, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Emotion of each utterance, and the one that it shows."""
    emotions = rng.choice(len(EMOTIONS), length, p=_RATES)
    stray = rng.random(length) < noise
    return emotions, np.where(stray, rng.integers(len(EMOTIONS), size=length), emotions)


def _ten_objects(settings: SyntheticM3ed) -> list:
    """The objects in the order of the official file."""
    rng = np.random.default_rng(settings.seed)
    sizes = (settings.train_dialogues, settings.valid_dialogues, settings.test_dialogues)
    lengths = _lengths(rng, settings.utterances, sum(sizes))
    lengths[0] = _LONGEST
    names = [f"synthetic_{number}" for number in range(len(lengths))]
    looks = {m: _looks(rng, m) for m in WIDTHS}
    objects: list = [{} for _ in range(7)]
    for name, length in zip(names, lengths.tolist(), strict=True):
        emotions, shown = _draw_utterances(rng, length, settings.noise)
        utterances = [f"{name}_{t}" for t in range(length)]
        features = {
            m: (look[shown] + rng.normal(size=(length, WIDTHS[m]))).astype(np.float32)
            for m, look in looks.items()
        }
        record = (
            utterances,
            ["AB"[t % 2] for t in range(length)],
            emotions.tolist(),
            features["text"],
            features["audio"],
            features["visual"],
            [f"synthetic utterance {t}" for t in range(length)],
        )
        for mapping, value in zip(objects, record, strict=True):
            mapping[name] = value
    edges = np.cumsum((0, *sizes)).tolist()
    return [*objects, *(names[a:b] for a, b in pairwise(edges))]


def _looks(rng: np.random.Generator, modality: str) -> np.ndarray:
    """(7, D): what each emotion adds to a modality's features; 0 where it does not show."""
    directions = rng.normal(size=(len(EMOTIONS), WIDTHS[modality]))
    directions *= _STRENGTH / np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * np.isin(EMOTIONS, _SHOWN_IN[modality])[:, None]
