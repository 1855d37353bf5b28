"""A synthetic CMU-MOSEI in the official files: computational sequences and folds by video.

It has the flaws of the real files: words that overlap or last no time, pauses, frames that are
missing or hold -inf, a video without FACET, one without labels, one in no fold, an id that is a
prefix of all others, segments out of time order, segments without an emotion.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from mmer.corpora.bayes_optimal import with_subsets
from mmer.corpora.mosei.csd import FILES, LABELS, WORDS
from mmer.corpora.mosei.features import MODALITIES, WIDTHS
from mmer.corpora.mosei.labels import LABEL_COLUMNS
from mmer.corpora.mosei.synthetic.evidence import bayes_optimal
from mmer.corpora.mosei.synthetic.features import (
    COVAREP,
    FACET,
    FrameKind,
    Vocabulary,
    cue_directions,
    frames,
)
from mmer.corpora.mosei.synthetic.timeline import FEWEST_WORDS, Timeline, draw_timeline
from mmer.formats.csd import write_csd
from mmer.schema import Settings

_NOTE = "Synthetic CMU-MOSEI: no recording stands behind these numbers."
_PAUSE = b"sp"
_STREAMS = ("timeline", "vocabulary", "text", "directions", "visual", "audio", "labels", "folds")
_WITHOUT_FACET, _WITHOUT_LABELS, _WITHOUT_FOLD = "synthetic_1", "synthetic_101", "synthetic_102"

Entry = tuple[str, np.ndarray, np.ndarray]


class SyntheticMosei(Settings):
    """Size of the synthetic CMU-MOSEI.

    Attributes:
        seed: The same seed gives the same bytes.
        train_videos, valid_videos, test_videos: Videos per fold that give samples. Three more,
            which lack FACET, labels or a fold, give none.
        segments_per_video: Labelled segments per video.
        words_per_segment: Mean number of words; two to four thirds of it occur.
        alike: Probability that a segment has the emotions of its video's first one.
    """

    seed: NonNegativeInt = 1
    train_videos: PositiveInt = 240
    valid_videos: PositiveInt = 50
    test_videos: PositiveInt = 70
    segments_per_video: PositiveInt = 8
    words_per_segment: int = Field(default=12, ge=3 * FEWEST_WORDS // 2)
    alike: float = Field(default=0.3, ge=0, le=1)


def write_synthetic(folder: Path, settings: SyntheticMosei) -> dict[str, float]:
    """Write five `.csd` files and `folds.json` into an empty folder.

    Returns:
        The Bayes-optimal score: what no system that looks at one segment exceeds but by chance.
    """
    corpus = _Corpus(settings)
    for file, entries, dimensions in (
        (WORDS, corpus.words(), ["word"]),
        (FILES["text"], corpus.word_vectors(), _numbered(WIDTHS["text"])),
        (FILES["audio"], corpus.frames(COVAREP), _numbered(WIDTHS["audio"])),
        (FILES["visual"], corpus.frames(FACET), _numbered(WIDTHS["visual"])),
        (LABELS, corpus.labels(), list(LABEL_COLUMNS)),
    ):
        compression = "gzip" if file is FILES["audio"] else None  # the others are small as they are
        write_csd(file.path(folder), file.root_name, entries, _NOTE, dimensions, compression)
    folds = json.dumps(corpus.folds(), indent=1) + "\n"
    (folder / "folds.json").write_text(folds, encoding="utf-8")
    return with_subsets(MODALITIES, bayes_optimal)


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
    def _videos(self) -> list[tuple[str, Timeline]]:
        """Ids and what happens; the first three are the videos that give no sample."""
        settings = self.settings
        count = settings.train_videos + settings.valid_videos + settings.test_videos
        names = [_WITHOUT_FACET, *(f"synthetic_{101 + i}" for i in range(count + 2))]
        size = (settings.segments_per_video, settings.words_per_segment, settings.alike)
        return [
            (name, draw_timeline(self._random("timeline", i), *size))
            for i, name in enumerate(names)
        ]

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.draw(self._random("vocabulary"))

    def folds(self) -> dict[str, list[str]]:
        """Video ids per fold, under the names that the corpus's own tool gives the folds."""
        settings = self.settings
        names = [name for name, _ in self._videos[3:]]
        shuffled = self._random("folds").permutation(names).tolist()
        train, valid = settings.train_videos, settings.train_videos + settings.valid_videos
        return {
            "standard_train_fold": [_WITHOUT_FACET, _WITHOUT_LABELS, *shuffled[:train]],
            "standard_valid_fold": shuffled[train:valid],
            "standard_test_fold": shuffled[valid:],
        }

    def words(self) -> Iterator[Entry]:
        """Words as spelt, and the pauses between them."""
        for index, (name, video) in enumerate(self._videos):
            spoken = self._vocabulary.words[self._spoken(index, video)]
            pause = np.flatnonzero(video.starts[1:] > video.ends[:-1])
            starts = np.append(video.starts, video.ends[pause])
            ends = np.append(video.ends, video.starts[pause + 1])
            order = np.argsort(starts, kind="stable")
            rows = np.append(spoken, np.full(len(pause), _PAUSE))[order, None]
            yield name, rows, np.stack([starts, ends], axis=1)[order]

    def word_vectors(self) -> Iterator[Entry]:
        for index, (name, video) in enumerate(self._videos):
            vectors = self._vocabulary.vectors[self._spoken(index, video)]
            yield name, vectors, np.stack([video.starts, video.ends], axis=1)

    def frames(self, kind: FrameKind) -> Iterator[Entry]:
        directions = cue_directions(self._random("directions"), kind.modality)
        for index, (name, video) in enumerate(self._videos):
            if not (kind is FACET and name == _WITHOUT_FACET):
                yield name, *frames(self._random(kind.modality, index), kind, directions, video)

    def labels(self) -> Iterator[Entry]:
        """Sentiment in [-3, 3] and emotions in [0, 3], in thirds; segments in no order."""
        for index, (name, video) in enumerate(self._videos):
            if name == _WITHOUT_LABELS:
                continue
            rng = self._random("labels", index)
            strength = video.labels * rng.integers(1, 7, size=video.labels.shape) / 3
            happy, rest = strength[:, 0], strength[:, 1:].max(axis=1)
            rows = np.column_stack([np.clip(happy - rest, -3, 3), strength]).astype(np.float32)
            order = rng.permutation(len(rows))
            yield name, rows[order], video.segments[order]

    def _spoken(self, index: int, video: Timeline) -> np.ndarray:
        return self._vocabulary.speak(self._random("text", index), video)

    def _random(self, stream: str, index: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, _STREAMS.index(stream), index])
