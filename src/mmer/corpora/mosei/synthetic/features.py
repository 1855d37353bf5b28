"""Feature rows of a synthetic video: word vectors, and frames of face and voice.

A cue is a step along a fixed direction of its modality's feature space, in all that belongs to its
word. A single word tells it apart. The mean over a segment hardly does: words differ in magnitude
(loudness of a voice, norm of a word vector), so that a few strong ones without a cue make up most
of the mean, and videos differ along the cues' directions (what they are about; face and voice at
rest).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mmer.corpora.mosei.features import WIDTHS, Modality
from mmer.corpora.mosei.synthetic.evidence import CUES
from mmer.corpora.mosei.synthetic.timeline import CUE_COLUMNS, Timeline

# Lengths in one unit, before a word's magnitude multiplies them. Noise is given by its norm over
# all features, so that it hides a cue equally in 35 and in 300 of them.
_STEP = 5.0
_VIDEO_SPREAD = 0.3
_WORD_SPREAD = 0.4
_WORD_NOISE = 4.0
_FRAME_NOISE = 2.0
_MAGNITUDE_SPREAD = 1.0  # of the magnitude's logarithm
_PAUSE_MAGNITUDE = 0.3
_NEUTRAL_WORDS = 2000
_CUE_WORDS = {
    "happy": "wonderful delighted cheerful joyful thrilled lovely smiling grateful",
    "surprise": "unexpected astonishing suddenly unbelievable shocking amazed stunned incredible",
    "disgust": "revolting gross nasty sickening filthy rotten disgusting repulsive",
    "fear": "terrified frightened scary afraid anxious dreadful panicking nervous",
}


@dataclass(frozen=True)
class FrameKind:
    """What a frame-wise sequence is like.

    Attributes:
        rate: Frames per second.
        hold: Frames with the same noise: an analysis window may be longer than its step.
        gap_rate: Share of videos in which half a second or more of frames is missing.
        infinite_rate: Share of frames in which one value is -inf.
    """

    modality: Modality
    rate: int
    hold: int
    gap_rate: float
    infinite_rate: float


FACET = FrameKind("visual", rate=30, hold=1, gap_rate=0.3, infinite_rate=0.0)
COVAREP = FrameKind("audio", rate=100, hold=10, gap_rate=0.1, infinite_rate=1e-3)


def cue_directions(rng: np.random.Generator, modality: Modality) -> np.ndarray:
    """Orthonormal directions of a modality's cues, (cues of the modality, D)."""
    count = len(CUE_COLUMNS[modality])
    return np.linalg.qr(rng.standard_normal((WIDTHS[modality], count)))[0].T


def frames(
    rng: np.random.Generator, kind: FrameKind, directions: np.ndarray, video: Timeline
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, D) float32 and intervals (n, 2) of a video's frames, gaps left out."""
    count = int(video.segments[-1, 1] * kind.rate)
    times = np.arange(count) / kind.rate
    word = video.word_at(times)  # -1, so the last row of what follows, in a pause
    carries = video.carries[:, CUE_COLUMNS[kind.modality]]
    noise = _noise(rng, _FRAME_NOISE, count // kind.hold + 1, WIDTHS[kind.modality])
    rows = _levels(rng, carries, directions)[word] + noise.repeat(kind.hold, axis=0)[:count]
    magnitude = np.append(_magnitudes(rng, len(carries)), _PAUSE_MAGNITUDE)
    rows = _rounded(rows * magnitude[word, None])
    infinite = np.flatnonzero(rng.random(count) < kind.infinite_rate)
    rows[infinite, rng.integers(rows.shape[1], size=len(infinite))] = -np.inf
    # A cue in a gap would be lost, and the Bayes-optimal score a bound that no system can reach.
    kept = ~_gap(rng, kind, times) | np.append(carries.any(axis=1), False)[word]
    intervals = np.stack([times, times + 1 / kind.rate], axis=1)
    return rows[kept], intervals[kept]


def _levels(rng: np.random.Generator, carries: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """What the frames of each word have in common, and in the last row those of a pause."""
    at_rest = _VIDEO_SPREAD * rng.standard_normal(len(directions))
    coordinates = at_rest + _STEP * carries + _WORD_SPREAD * rng.standard_normal(carries.shape)
    words = coordinates @ directions + _noise(rng, _WORD_NOISE, len(carries), directions.shape[1])
    return np.vstack([words, at_rest @ directions]).astype(np.float32)


def _gap(rng: np.random.Generator, kind: FrameKind, times: np.ndarray) -> np.ndarray:
    """Whether each frame falls into the video's gap, of half a second to one and a half."""
    if rng.random() >= kind.gap_rate:
        return np.zeros(len(times), dtype=bool)
    first, length = rng.uniform(0, times[-1]), rng.uniform(0.5, 1.5)
    return (times >= first) & (times < first + length)


@dataclass(frozen=True)
class Vocabulary:
    """Words and their vectors: first those that are cues, then neutral ones, which are invented.

    Attributes:
        cue_words: Index of a cue in CUES -> the words that carry it.
        coordinates: (neutral words, text cues), how far each neutral word leans to each cue.
    """

    words: np.ndarray  # (words,) bytes
    vectors: np.ndarray  # (words, 300) float32
    cue_words: dict[int, np.ndarray]
    coordinates: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Vocabulary:
        """Draw the vectors, and names for the neutral words."""
        columns = CUE_COLUMNS["text"]
        directions = cue_directions(rng, "text")
        cue_words = [_CUE_WORDS[CUES[column][0]].split() for column in columns]
        counts = [len(words) for words in cue_words]
        words = [word for words in cue_words for word in words]
        syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
        invented = [first + second for first in syllables for second in syllables]
        words += list(rng.choice(invented, _NEUTRAL_WORDS, replace=False))
        coordinates = rng.standard_normal((_NEUTRAL_WORDS, len(columns)))
        steps = np.repeat(np.eye(len(columns)), counts, axis=0)
        vectors = np.vstack([_STEP * steps, _WORD_SPREAD * coordinates]) @ directions
        vectors += _noise(rng, _WORD_NOISE, *vectors.shape)
        vectors *= _magnitudes(rng, len(vectors))[:, None]
        indices = np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
        return cls(
            words=np.array(words).astype(np.bytes_),
            vectors=_rounded(vectors),
            cue_words=dict(zip(columns, indices, strict=True)),
            coordinates=coordinates,
        )

    def speak(self, rng: np.random.Generator, video: Timeline) -> np.ndarray:
        """Indices of a video's words: cue words where a cue is carried, else words of its topic."""
        topic = _VIDEO_SPREAD / _WORD_SPREAD * rng.standard_normal(self.coordinates.shape[1])
        weight = np.exp(self.coordinates @ topic)
        first = len(self.words) - len(weight)
        spoken = first + rng.choice(len(weight), len(video.starts), p=weight / weight.sum())
        for column, choices in self.cue_words.items():
            carriers = np.flatnonzero(video.carries[:, column])
            spoken[carriers] = rng.choice(choices, len(carriers))
        return spoken


def _noise(rng: np.random.Generator, norm: float, count: int, width: int) -> np.ndarray:
    """Rows of isotropic noise, (count, width), whose norm is `norm` in the root mean square."""
    return norm / math.sqrt(width) * rng.standard_normal((count, width), dtype=np.float32)


def _magnitudes(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.lognormal(sigma=_MAGNITUDE_SPREAD, size=count).astype(np.float32)


def _rounded(rows: np.ndarray) -> np.ndarray:
    """To half precision, which gzip shrinks further than noise in all of float32's digits."""
    return rows.astype(np.float16).astype(np.float32)
