"""The files of a synthetic MEmoR, in the official layout.

An emotion that is shown adds a direction of its own to noise. Segments are of different lengths and
follow each other; the clip starts within its episode. Characters who are not seen in a segment have
a few faces in it, as many as the reader ignores. A clip with ten faces or fewer has none of the
three files of visual features.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from mmer.corpora.memor.annotations import (
    ANNOTATIONS,
    CHARACTERS,
    CLIPS,
    EMOTIONS,
    TEST_IDS,
    TRAIN_IDS,
)
from mmer.corpora.memor.cells import (
    AUDIO,
    ENVIRONMENT,
    FACE_NAMES,
    FACES,
    FRAMES_PER_SECOND,
    MOST_FACES_IGNORED,
    OBJECTS,
    TEXT,
)
from mmer.corpora.memor.reader import TRAITS
from mmer.corpora.memor.synthetic import (
    CONTRARY,
    MODALITIES,
    RATES,
    Drawn,
    SyntheticMemor,
    bayes_optimal,
    draw,
    fine_grained,
)

_SMALL = {TEXT: 24, AUDIO: 32, FACES: 20, OBJECTS: 6, ENVIRONMENT: 8, TRAITS: 16}
_OFFICIAL = {TEXT: 1024, AUDIO: 6373, FACES: 1024, OBJECTS: 1230, ENVIRONMENT: 2048, TRAITS: 118}
_STRENGTH = 10.0
_SECONDS = (1.2, 1.8)  # of a segment
_FACES_OF_SEEN = (11, 20)
_FACES_OF_UNSEEN = (0, 3)
_DECIMALS = 3


def write_synthetic(folder: Path, settings: SyntheticMemor) -> dict[str, float]:
    """Write the files into an empty folder; returns the Bayes-optimal score of each task."""
    write_files(folder, settings)
    return bayes_optimal(settings)


def write_files(folder: Path, settings: SyntheticMemor) -> None:
    """Write the files into an empty folder."""
    rng = np.random.default_rng(settings.seed)
    drawn = draw(rng, settings.train_clips + settings.test_clips, settings)
    names = [f"synthetic{number + 1}" for number in range(len(drawn.characters))]
    widths = _OFFICIAL if settings.official_widths else _SMALL
    for part in (FACE_NAMES, FACES, OBJECTS, ENVIRONMENT):
        (folder / part).mkdir(parents=True)
    _write_traits(folder / TRAITS, np.random.default_rng((settings.seed, 1)), widths[TRAITS])
    rng = np.random.default_rng((settings.seed, 2))
    clips = {name: _clip(rng, drawn, n) for n, name in enumerate(names)}
    _write_json(folder / CLIPS, clips)
    _write_annotations(folder, rng, drawn, clips, settings.train_clips)
    _write_heard(folder, rng, drawn, clips, widths)
    _write_seen(folder, rng, drawn, clips, widths)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_traits(path: Path, rng: np.random.Generator, width: int) -> None:
    """Answers from 1 to 5; half of the questions tell who is contrary."""
    answers = rng.uniform(1, 5, (len(CHARACTERS), width))
    answers[:, ::2] = np.where(CONTRARY[:, None], 5, 1) + rng.uniform(
        -0.5, 0.5, answers[:, ::2].shape
    )
    lines = (",".join(f"{answer:.{_DECIMALS}f}" for answer in row) for row in answers)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _clip(rng: np.random.Generator, drawn: Drawn, number: int) -> dict:
    """What `data.json` says of a clip."""
    characters, speakers = drawn.characters[number], drawn.speakers[number]
    count = int((speakers >= 0).sum())
    start = round(float(rng.uniform(0, 1200)), _DECIMALS)
    ends = start + np.concatenate([[0], rng.uniform(*_SECONDS, count).cumsum()])
    times = [round(time, _DECIMALS) for time in ends.tolist()]
    first = int(rng.integers(1, 300))
    return {
        "on_character": characters[characters >= 0].tolist(),
        "seg_start": times[:-1],
        "seg_end": times[1:],
        "start": start,
        "speakers": characters[speakers[:count]].tolist(),
        "seg_ori_ind": list(range(first, first + count)),
    }


def _write_annotations(
    folder: Path, rng: np.random.Generator, drawn: Drawn, clips: dict[str, dict], train: int
) -> None:
    """Both lists and the ids: everybody in every segment."""
    emotions = {"primary": drawn.emotions, "fine_grained": fine_grained(rng, drawn.emotions)}
    lists: dict[str, list[dict]] = {kind: [] for kind in EMOTIONS}
    of_clip: list[int] = []
    for number, (name, clip) in enumerate(clips.items()):
        for k, character in enumerate(clip["on_character"]):
            for s, times in enumerate(zip(clip["seg_start"], clip["seg_end"], strict=True)):
                moment = round(float(rng.uniform(times[0], times[1] - 0.1)), _DECIMALS)
                of_clip.append(number)
                for kind, known in EMOTIONS.items():
                    emotion = known[emotions[kind][number, k, s]]
                    what = {"clip": name, "character": character, "moment": moment}
                    lists[kind].append({**what, "emotion": emotion})
    _write_json(folder / ANNOTATIONS, lists)
    positions = np.arange(len(of_clip))
    for_training = np.array(of_clip) < train
    for name, ids in ((TRAIN_IDS, positions[for_training]), (TEST_IDS, positions[~for_training])):
        (folder / name).write_text("".join(f"{one}\n" for one in ids), encoding="utf-8")


def _directions(rng: np.random.Generator, width: int) -> np.ndarray:
    """(E, D), at right angles to each other: what each emotion adds."""
    return _STRENGTH * np.linalg.qr(rng.normal(size=(width, len(RATES))))[0].T


def _write_heard(
    folder: Path,
    rng: np.random.Generator,
    drawn: Drawn,
    clips: dict[str, dict],
    widths: dict[str, int],
) -> None:
    """Text by position of the segment, audio by its original number."""
    for path, modality in ((TEXT, "text"), (AUDIO, "audio")):
        m, looks = MODALITIES.index(modality), _directions(rng, widths[path])
        with (folder / path).open("w", encoding="utf-8") as file:
            separator = "{"
            for number, (name, clip) in enumerate(clips.items()):
                for s, original in enumerate(clip["seg_ori_ind"]):
                    cell = m, number, drawn.speakers[number, s], s
                    values = looks[drawn.shown[cell]] + rng.normal(size=looks.shape[1])
                    if drawn.there[cell]:
                        key = f"{name}+{s if modality == 'text' else original}"
                        vector = json.dumps(values.round(_DECIMALS).tolist())
                        file.write(f"{separator}{json.dumps(key)}: {vector}")
                        separator = ", "
            file.write("}")


def _write_seen(
    folder: Path,
    rng: np.random.Generator,
    drawn: Drawn,
    clips: dict[str, dict],
    widths: dict[str, int],
) -> None:
    """Names of faces, and where there are enough of them, features of faces and scene."""
    import torch

    looks = _directions(rng, widths[FACES])
    for number, (name, clip) in enumerate(clips.items()):
        faces = sorted(_faces(rng, drawn, number, clip))
        named = "\t".join(f"{frame:05}_{CHARACTERS[who].title()}.jpg" for frame, who, _ in faces)
        (folder / FACE_NAMES / f"{name}.txt").write_text(f"{named}\n", encoding="utf-8")
        if len(faces) <= MOST_FACES_IGNORED:
            continue
        shown = np.array([emotion for _, _, emotion in faces])
        rows = {FACES: looks[shown] + rng.normal(size=(len(faces), widths[FACES]))}
        frames = int((clip["seg_end"][-1] - clip["start"]) * FRAMES_PER_SECOND) + 1
        rows |= {part: rng.normal(size=(frames, widths[part])) for part in (OBJECTS, ENVIRONMENT)}
        for part, values in rows.items():
            tensor = torch.from_numpy(values.astype(np.float32))
            torch.save(tensor, folder / part / f"{name}.pt")


def _faces(
    rng: np.random.Generator, drawn: Drawn, number: int, clip: dict
) -> Iterator[tuple[int, int, int]]:
    """Frame, character and shown emotion of each face of a clip, inside of its segment."""
    m = MODALITIES.index("visual")
    edges = [*clip["seg_start"], clip["seg_end"][-1]]
    at = [int((time - clip["start"]) * FRAMES_PER_SECOND) for time in edges]
    for s, (begin, end) in enumerate(pairwise(at)):
        for k, character in enumerate(clip["on_character"]):
            fewest, most = _FACES_OF_SEEN if drawn.there[m, number, k, s] else _FACES_OF_UNSEEN
            count = int(rng.integers(fewest, most + 1))
            for frame in rng.choice(np.arange(begin + 1, end), count, replace=False).tolist():
                yield frame, character, int(drawn.shown[m, number, k, s])
