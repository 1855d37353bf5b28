"""How a synthetic MEmoR is drawn, and the best scores that are possible on it.

Each segment of a clip has a mood. A character on screen feels as the mood is with probability
`agreement`, and else by itself. It shows what it feels, or the opposite: that is its personality,
which stands in its traits. In each modality in which there is something of it in the segment, it
shows that, or with probability `noise` some emotion at random. One character speaks in each
segment (text and, mostly, audio); each is seen in half of the segments. So where a character is
neither heard nor seen, what it feels is told by the others, if by anything.

Where persons do not matter, everybody feels as the mood is and shows it; all else is the same.

What each feels is annotated in every segment of all who are on screen. What a character feels given
all that is shown follows from Bayes' rule, segment by segment, and so do the probabilities of all
sets of labels. Features show emotions so clearly that to see them is to know what was shown.

Shapes: N clips, K characters of a clip, S segments, M modalities, E emotions, L labels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from mmer.corpora.bayes_optimal import bayes_optimal_scores, with_subsets
from mmer.corpora.memor.annotations import CHARACTERS, EMOTIONS, Emotions
from mmer.schema import Settings

MODALITIES = ("text", "visual", "audio")
_TEXT, _VISUAL, _AUDIO = range(3)
# neutral joy anger disgust sadness surprise fear anticipation trust
RATES = np.array([0.18, 0.16, 0.12, 0.09, 0.12, 0.1, 0.08, 0.08, 0.07])
_OPPOSITE = np.array([0, 4, 6, 8, 1, 7, 2, 5, 3])
# Mild forms that only the fine-grained annotation tells apart: serenity is a mild joy, ..
_MILD = {"serenity": 1, "interest": 7, "annoyance": 2, "boredom": 3, "distraction": 5}
_MILD_RATE = 0.4
_FEWEST, _MOST = 2, 4  # characters of a clip, and segments
_SEEN, _AUDIO_MISSING = 0.5, 0.05
_CLIPS_DRAWN = 2000
CONTRARY = np.arange(len(CHARACTERS)) % 2 == 1
"""Of each character, whether it shows the opposite of what it feels."""


class SyntheticMemor(Settings):
    """Size and difficulty of the synthetic MEmoR.

    Attributes:
        seed: The same seed gives the same content.
        persons_matter: Whether characters differ in what they feel and in how they show it.
        noise: Probability that a modality shows an emotion at random.
        agreement: Probability that a character feels as the mood is.
        official_widths: Features as wide as the official ones, which takes a thousand times as
            much space on the disk.
    """

    seed: NonNegativeInt = 1
    train_clips: PositiveInt = 600
    test_clips: PositiveInt = 200
    persons_matter: bool = True
    noise: float = Field(default=0.15, ge=0, lt=1)
    agreement: float = Field(default=0.75, ge=0, le=1)
    official_widths: bool = False


class SyntheticImpersonal(SyntheticMemor):
    """The same in which persons do not matter."""

    persons_matter: bool = False


class Drawn(NamedTuple):
    """N clips; characters and segments that a clip does not have are behind those that it has.

    Attributes:
        characters: (N, K) index of each; -1 where there is none.
        speakers: (N, S) who of the K speaks; -1 behind the last segment.
        emotions: (N, K, S) what each feels.
        shown: (M, N, K, S) the emotion that each shows in each modality.
        there: (M, N, K, S) whether there is anything of it in the modality.
    """

    characters: np.ndarray
    speakers: np.ndarray
    emotions: np.ndarray
    shown: np.ndarray
    there: np.ndarray

    @property
    def cells(self) -> np.ndarray:
        """(N, K, S) whether the clip has the character and the segment."""
        return (self.characters >= 0)[:, :, None] & (self.speakers >= 0)[:, None, :]

    @property
    def contrary(self) -> np.ndarray:
        """(N, K) whether the character shows the opposite of what it feels, if persons matter."""
        return CONTRARY[self.characters] & (self.characters >= 0)


def draw(rng: np.random.Generator, count: int, settings: SyntheticMemor) -> Drawn:
    """Draw clips; whoever is on screen is heard or seen in one segment at least."""
    people, length = (rng.integers(_FEWEST, _MOST + 1, count)[:, None] for _ in range(2))
    each, position = np.arange(_MOST), np.arange(_MOST)
    known = np.arange(len(CHARACTERS))
    characters = rng.permuted(np.tile(known, (count, 1)), axis=1)[:, :_MOST]
    characters = np.where(each < people, characters, -1)
    speakers = rng.integers(0, np.broadcast_to(people, (count, _MOST)))
    speakers = np.where(position < length, speakers, -1)
    cells = (characters >= 0)[:, :, None] & (speakers >= 0)[:, None, :]
    speaks = speakers[:, None, :] == each[:, None]
    seen = rng.random(cells.shape) < _SEEN
    at_least = rng.integers(0, np.broadcast_to(length, (count, _MOST)))[:, :, None] == position
    seen |= at_least & ~(seen | speaks).any(axis=2, keepdims=True, where=cells)
    heard = rng.random(cells.shape) >= _AUDIO_MISSING
    moods = rng.choice(len(RATES), (count, 1, _MOST), p=RATES)
    agrees = rng.random(cells.shape) < (settings.agreement if settings.persons_matter else 1)
    emotions = np.where(agrees, moods, rng.choice(len(RATES), cells.shape, p=RATES))
    drawn = Drawn(
        characters,
        speakers,
        emotions,
        np.broadcast_to(emotions, (len(MODALITIES), *emotions.shape)),
        np.stack([speaks, seen, speaks & heard]) & cells,
    )
    turned = drawn.contrary[:, :, None] & settings.persons_matter
    shows = np.where(turned, _OPPOSITE[emotions], emotions)
    stray = rng.random(drawn.shown.shape) < settings.noise
    random = rng.integers(0, len(RATES), drawn.shown.shape)
    return drawn._replace(shown=np.where(stray, random, shows))


def bayes_optimal(settings: SyntheticMemor) -> dict[str, float]:
    """`<unit>, <labels>: <metric>` -> what no system exceeds in expectation, from drawn clips.

    Also micro-F1 with some modalities alone, and where a sample has one label, `single_accuracy`.
    """
    drawn = draw(np.random.default_rng(0), _CLIPS_DRAWN, settings)
    found: dict[str, float] = {}
    for labels in EMOTIONS:
        for unit in ("clip", "character", "moment"):

            def best(shown: tuple[str, ...], unit: str = unit, labels: Emotions = labels) -> dict:
                return bayes_optimal_scores(probabilities(drawn, settings, unit, labels, shown))

            scores = with_subsets(MODALITIES, best)
            if unit == "moment":
                known = probabilities(drawn, settings, unit, labels)
                scores["single_accuracy"] = float(known.max(axis=1).mean())
            found |= {f"{unit}, {labels}: {name}": score for name, score in scores.items()}
    return found


def probabilities(
    drawn: Drawn,
    settings: SyntheticMemor,
    unit: str,
    labels: Emotions,
    modalities: tuple[str, ...] = MODALITIES,
) -> np.ndarray:
    """(samples, L) P(label | all that the clip shows in these modalities), of all samples."""
    told = _told_by(drawn, settings, modalities)  # (N, K, S, E)
    kinds = _kinds(labels)  # (E, L)
    feels = _feels_given_mood(settings)  # (mood, E)
    given = told @ feels.T  # (N, K, S, mood): P(what is shown of one | mood)
    cells = drawn.cells
    if unit == "clip":
        whole = given.prod(axis=1) @ RATES  # (N, S)
        lacking = np.einsum("ve,nkse,el->nksvl", feels, told, 1 - kinds, optimize=True)
        ours = np.where(cells[..., None, None], lacking, given[..., None])
        absent = np.einsum("nsvl,v->nsl", ours.prod(axis=1), RATES) / whole[..., None]
        return 1 - absent.prod(axis=1)
    others = np.stack(
        [np.delete(given, k, axis=1).prod(axis=1) for k in range(given.shape[1])], axis=1
    )
    joint = told * ((others * RATES) @ feels)
    posterior = joint / joint.sum(axis=-1, keepdims=True)
    present = posterior @ kinds  # (N, K, S, L)
    if unit == "moment":
        return present[cells]
    absent = np.where(cells[..., None], 1 - present, 1).prod(axis=2)
    return (1 - absent)[drawn.characters >= 0]


def _told_by(drawn: Drawn, settings: SyntheticMemor, modalities: tuple[str, ...]) -> np.ndarray:
    """(N, K, S, E) P(what is shown of a character in these modalities | it feels so)."""
    count = len(RATES)
    shows = (1 - settings.noise) * np.eye(count) + settings.noise / count
    turned = (drawn.contrary & settings.persons_matter)[:, :, None]
    told = np.ones((*drawn.emotions.shape, count))
    for number, name in enumerate(MODALITIES):
        if name in modalities:
            shown = drawn.shown[number]
            feels = shows[np.where(turned, _OPPOSITE[shown], shown)]
            told *= np.where(drawn.there[number][..., None], feels, 1)
    return told


def _feels_given_mood(settings: SyntheticMemor) -> np.ndarray:
    """(E, E) P(a character feels so | the mood), a row for each mood."""
    agreement = settings.agreement if settings.persons_matter else 1
    return agreement * np.eye(len(RATES)) + (1 - agreement) * RATES


def _kinds(labels: Emotions) -> np.ndarray:
    """(E, L) P(annotated as the label | the primary emotion)."""
    names = EMOTIONS[labels]
    kinds = np.zeros((len(RATES), len(names)))
    kinds[:, : len(RATES)] = np.eye(len(RATES))
    for name, emotion in _MILD.items() if labels == "fine_grained" else ():
        kinds[emotion, emotion], kinds[emotion, names.index(name)] = 1 - _MILD_RATE, _MILD_RATE
    return kinds


def fine_grained(rng: np.random.Generator, emotions: np.ndarray) -> np.ndarray:
    """Fine-grained labels (indices) of primary emotions, of any shape."""
    names = EMOTIONS["fine_grained"]
    mild = {emotion: names.index(name) for name, emotion in _MILD.items()}
    milder = np.array([mild.get(emotion, emotion) for emotion in range(len(RATES))])
    return np.where(rng.random(emotions.shape) < _MILD_RATE, milder[emotions], emotions)
