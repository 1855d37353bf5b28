"""Feature rows of a synthetic video: word vectors, and frames of face and voice.

A cue is a step along a fixed direction of its modality's feature space. Along the same directions
videos differ (what they are about; the face and the voice at rest) and so do words, such that one
word tells a cue apart and the mean over a segment's words hardly does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmer.corpora.synthetic.evidence import CUES
from mmer.corpora.synthetic.timeline import CUE_COLUMNS, Timeline

_STEP = 5.0
_VIDEO_SPREAD = 0.6
_WORD_SPREAD = 0.3
_GAIN_SPREAD = 1.0
_WORD_NOISE = 4.0
_FRAME_NOISE = 2.0
_NEUTRAL_WORDS = 2000
_CUE_WORDS = {
    "happy": "wonderful delighted cheerful joyful thrilled lovely smiling grateful",
    "surprise": "unexpected astonishing suddenly unbelievable shocking amazed stunned incredible",
    "disgust": "revolting gross nasty sickening filthy rotten disgusting vile",
    "fear": "terrified frightened scary afraid anxious dreadful panicking nervous",
}
_GRID = 16


@dataclass(frozen=True)
class FrameKind:
    """What a frame-wise sequence is like.

    Attributes:
        modality: "visual" or "audio".
        width: Features per frame.
        rate: Frames per second.
        hold: Frames with the same noise: an analysis window may be longer than its step.
        gap_rate: Share of videos in which half a second or more of frames is missing.
        infinite_rate: Share of frames in which one value is -inf.
    """

    modality: str
    width: int
    rate: int
    hold: int
    gap_rate: float
    infinite_rate: float


FACET = FrameKind("visual", width=35, rate=30, hold=1, gap_rate=0.3, infinite_rate=0.0)
COVAREP = FrameKind("audio", width=74, rate=100, hold=10, gap_rate=0.1, infinite_rate=1e-3)
GLOVE_WIDTH = 300


def cue_directions(rng: np.random.Generator, modality: str, width: int) -> np.ndarray:
    """Orthonormal directions of a modality's cues, (cues of the modality, width)."""
    count = len(CUE_COLUMNS[modality])
    return np.linalg.qr(rng.standard_normal((width, count)))[0].T


def frames(
    rng: np.random.Generator, kind: FrameKind, directions: np.ndarray, video: Timeline
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, width) float32 and intervals (n, 2) of a video's frames, gaps left out."""
    count = int(video.segments[-1, 1] * kind.rate)
    times = np.arange(count) / kind.rate
    carries = video.carries[:, CUE_COLUMNS[kind.modality]]
    at_rest = _VIDEO_SPREAD * rng.standard_normal(len(directions))
    coordinates = _STEP * carries + _WORD_SPREAD * rng.standard_normal(carries.shape)
    spoken = coordinates @ directions + _noise(rng, _WORD_NOISE, len(carries), kind.width)
    levels = np.vstack([spoken, np.zeros((1, kind.width))]) + at_rest @ directions
    gain = np.append(rng.lognormal(sigma=_GAIN_SPREAD, size=len(spoken)), 0.3)
    word = video.word_at(times)  # -1 in a pause: the last row
    noise = _noise(rng, _FRAME_NOISE, count // kind.hold + 1, kind.width)
    rows = gain[word, None] * (levels[word] + noise.repeat(kind.hold, axis=0)[:count])
    rows = _rounded(rows)
    infinite = np.flatnonzero(rng.random(count) < kind.infinite_rate)
    rows[infinite, rng.integers(kind.width, size=len(infinite))] = -np.inf
    kept = np.ones(count, dtype=bool)
    if rng.random() < kind.gap_rate:
        first, length = rng.uniform(0, times[-1]), rng.uniform(0.5, 1.5)
        in_gap = (times >= first) & (times < first + length)
        # A lost cue would make the ceiling a bound that no system can reach.
        kept = ~in_gap | np.append(carries.any(axis=1), False)[word]
    intervals = np.stack([times, times + 1 / kind.rate], axis=1)
    return rows[kept], intervals[kept]


@dataclass(frozen=True)
class Vocabulary:
    """Invented words and their vectors: the cue words of each emotion, then the neutral words.

    Attributes:
        words: All words, as bytes.
        vectors: (words, 300) float32.
        cue_words: Column of CUES -> indices of its words.
        coordinates: (neutral words, text cues), how far each neutral word leans to each cue.
    """

    words: np.ndarray
    vectors: np.ndarray
    cue_words: dict[int, np.ndarray]
    coordinates: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Vocabulary:
        """Draw the vectors, and names for the neutral words."""
        columns = CUE_COLUMNS["text"]
        directions = cue_directions(rng, "text", GLOVE_WIDTH)
        cue_words = [_CUE_WORDS[CUES[column][0]].split() for column in columns]
        counts = [len(words) for words in cue_words]
        syllables = np.array([c + v for c in "bdfgklmnprstvz" for v in "aeiou"])
        pairs = np.array([first + second for first in syllables for second in syllables])
        neutral = rng.choice(pairs, _NEUTRAL_WORDS, replace=False)
        coordinates = rng.standard_normal((_NEUTRAL_WORDS, len(columns)))
        steps = np.repeat(np.eye(len(columns)), counts, axis=0)
        vectors = np.vstack([_STEP * steps, _WORD_SPREAD * coordinates]) @ directions
        vectors += _noise(rng, _WORD_NOISE, *vectors.shape)
        vectors *= rng.lognormal(sigma=_GAIN_SPREAD, size=(len(vectors), 1))
        indices = np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
        return cls(
            words=np.array([word for words in cue_words for word in words] + list(neutral)).astype(
                np.bytes_
            ),
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
    return norm / np.sqrt(width) * rng.standard_normal((count, width), dtype=np.float32)


def _rounded(rows: np.ndarray) -> np.ndarray:
    """To a coarse grid, which compresses well: gzip would not shrink full-precision noise."""
    return (np.rint(rows * _GRID) / _GRID).astype(np.float32)
