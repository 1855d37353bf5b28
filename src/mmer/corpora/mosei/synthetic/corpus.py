"""A synthetic CMU-MOSEI in the official files: computational sequences and folds by video.

It has the flaws of the real files: words that overlap or last no time, pauses, frames that are
missing or hold -inf, a video without FACET, one without labels, one in no fold, an id that is a
prefix of all others, segments out of time order, segments without an emotion.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from mmer.corpora.formats.csd import write_csd
from mmer.corpora.synthetic.evidence import EMOTIONS, EmotionModel
from mmer.corpora.synthetic.features import (
    COVAREP,
    FACET,
    GLOVE_WIDTH,
    FrameKind,
    Vocabulary,
    cue_directions,
    frames,
)
from mmer.corpora.synthetic.folder import appearing_whole
from mmer.corpora.synthetic.timeline import FEWEST_WORDS, Timeline, draw_timeline
from mmer.errors import InputError

_GENERATOR_VERSION = 1
_NOTE = "Synthetic stand-in for CMU-MOSEI: no recording stands behind these numbers."
_PAUSE = b"sp"
_STREAMS = ("timeline", "vocabulary", "text", "directions", "visual", "audio", "labels", "folds")
_WITHOUT_FACET, _WITHOUT_LABELS, _WITHOUT_FOLD = "synthetic_1", "synthetic_101", "synthetic_102"

Entry = tuple[str, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class SyntheticMosei:
    """Size and difficulty of the synthetic CMU-MOSEI.

    Attributes:
        seed: The same seed gives the same bytes.
        train_videos, valid_videos, test_videos: Videos per fold that give samples. Three more,
            which lack FACET, labels or a fold, give none.
        segments_per_video: Labelled segments per video.
        words_per_segment: Mean number of words; two to four thirds of it occur.
        noise: How far the cues miss and mislead: 0 not at all, 1 fully (see `ceiling`).

    Raises:
        InputError: A number is out of range.
    """

    __pydantic_config__: ClassVar[dict] = {"extra": "forbid"}

    seed: int = 1
    train_videos: int = 240
    valid_videos: int = 50
    test_videos: int = 70
    segments_per_video: int = 8
    words_per_segment: int = 12
    noise: float = 1.0

    def __post_init__(self) -> None:
        least = {
            "seed": 0,
            "train_videos": 1,
            "valid_videos": 1,
            "test_videos": 1,
            "segments_per_video": 1,
            "words_per_segment": 3 * FEWEST_WORDS // 2,
        }
        for name, lowest in least.items():
            value = getattr(self, name)
            if value < lowest:
                raise InputError("synthetic MOSEI", name, f"at least {lowest}", value)
        if not 0 <= self.noise <= 1:
            raise InputError("synthetic MOSEI", "noise", "a number from 0 to 1", self.noise)


def ceiling(settings: SyntheticMosei) -> dict[str, float]:
    """Micro- and macro-F1 that no system exceeds on this corpus, apart from chance."""
    return EmotionModel(settings.noise).ceiling()


def write_synthetic_mosei(folder: Path, settings: SyntheticMosei) -> None:
    """Write five `.csd` files, `folds.json` and `synthetic.json`, which says what they are.

    The folder appears when it is whole, or not at all.

    Raises:
        InputError: The folder exists and is not empty; it is left as it is.
    """
    with appearing_whole(folder) as partial:
        _write_files(partial, _Corpus(settings))


def _write_files(folder: Path, corpus: _Corpus) -> None:
    settings = corpus.settings
    for name, root, entries, dimensions in (
        ("TimestampedWords", "words", corpus.words(), ["word"]),
        ("TimestampedWordVectors", "glove_vectors", corpus.word_vectors(), _numbered(GLOVE_WIDTH)),
        ("COVAREP", "COVAREP", corpus.frames(COVAREP), _numbered(COVAREP.width)),
        ("VisualFacet42", "FACET 4.2", corpus.frames(FACET), _numbered(FACET.width)),
        ("Labels", "All Labels", corpus.labels(), ["sentiment", *EMOTIONS]),
    ):
        compression = "gzip" if name == "COVAREP" else None  # the others are small as they are
        path = folder / f"CMU_MOSEI_{name}.csd"
        write_csd(path, root, entries, _NOTE, dimensions, compression)
    description = {
        "synthetic": True,
        "note": _NOTE,
        "generator_version": _GENERATOR_VERSION,
        "settings": asdict(settings),
        "ceiling": ceiling(settings),
    }
    for name, record in (("folds.json", corpus.folds()), ("synthetic.json", description)):
        (folder / name).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _numbered(width: int) -> list[str]:
    return [f"synthetic {column}" for column in range(width)]


@dataclass(frozen=True)
class _Corpus:
    """The videos of one setting, and what each file holds of them.

    Every file draws from its own random streams, one per video, so that they can be written one
    after the other without the features of all videos in memory.
    """

    settings: SyntheticMosei

    @cached_property
    def _names(self) -> list[str]:
        """Video ids; the first three are the videos that give no sample."""
        settings = self.settings
        count = settings.train_videos + settings.valid_videos + settings.test_videos
        return [_WITHOUT_FACET, *(f"synthetic_{101 + i}" for i in range(count + 2))]

    @cached_property
    def _timelines(self) -> list[Timeline]:
        settings, model = self.settings, EmotionModel(self.settings.noise)
        size = (settings.segments_per_video, settings.words_per_segment)
        return [
            draw_timeline(self._random("timeline", i), model, *size)
            for i in range(len(self._names))
        ]

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.draw(self._random("vocabulary"))

    def folds(self) -> dict[str, list[str]]:
        """Video ids per fold, under the names that the corpus's own tool gives the folds."""
        settings = self.settings
        shuffled = [str(name) for name in self._random("folds").permutation(self._names[3:])]
        train, valid = settings.train_videos, settings.train_videos + settings.valid_videos
        return {
            "standard_train_fold": [_WITHOUT_FACET, _WITHOUT_LABELS, *shuffled[:train]],
            "standard_valid_fold": shuffled[train:valid],
            "standard_test_fold": shuffled[valid:],
        }

    def words(self) -> Iterator[Entry]:
        """Words as spelt, and the pauses between them."""
        for index, name in enumerate(self._names):
            video = self._timelines[index]
            spoken = self._vocabulary.words[self._spoken(index)]
            pause = np.flatnonzero(video.starts[1:] > video.ends[:-1])
            starts = np.append(video.starts, video.ends[pause])
            ends = np.append(video.ends, video.starts[pause + 1])
            order = np.argsort(starts, kind="stable")
            rows = np.append(spoken, np.full(len(pause), _PAUSE))[order, None]
            yield name, rows, np.stack([starts, ends], axis=1)[order]

    def word_vectors(self) -> Iterator[Entry]:
        for index, name in enumerate(self._names):
            video = self._timelines[index]
            vectors = self._vocabulary.vectors[self._spoken(index)]
            yield name, vectors, np.stack([video.starts, video.ends], axis=1)

    def frames(self, kind: FrameKind) -> Iterator[Entry]:
        directions = cue_directions(self._random("directions"), kind.modality, kind.width)
        for index, name in enumerate(self._names):
            if not (kind is FACET and name == _WITHOUT_FACET):
                rng = self._random(kind.modality, index)
                yield name, *frames(rng, kind, directions, self._timelines[index])

    def labels(self) -> Iterator[Entry]:
        """Sentiment in [-3, 3] and emotions in [0, 3], in thirds; segments in no order."""
        for index, name in enumerate(self._names):
            if name == _WITHOUT_LABELS:
                continue
            rng, video = self._random("labels", index), self._timelines[index]
            strength = video.labels * rng.integers(1, 7, size=video.labels.shape) / 3
            happy, rest = strength[:, 0], strength[:, 1:].max(axis=1)
            rows = np.column_stack([np.clip(happy - rest, -3, 3), strength]).astype(np.float32)
            order = rng.permutation(len(rows))
            yield name, rows[order], video.segments[order]

    def _spoken(self, index: int) -> np.ndarray:
        return self._vocabulary.speak(self._random("text", index), self._timelines[index])

    def _random(self, stream: str, index: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, _STREAMS.index(stream), index])
