"""M3ED in its feature pickles: ten objects, in the layout of DialogueRNN.

Position 0 holds the utterances of each dialogue, 1 speakers, 2 a class per utterance, 3 text, 4
audio, 5 visual (one row per utterance each), 6 sentences, and 7, 8, 9 the dialogues for training,
validation and test. A dialogue is a sample; its labels are the set of its utterances' classes.

The published conversion calls position 4 visual and position 5 audio. By the widths
(1024 of wav2vec 2.0, 342 of DenseFace) and by the order of DialogueRNN it is the other way round,
which is what is read here unless `published_swap` is set.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import PositiveInt

from mmer.corpora.corpus import CorpusSource, LabelNames
from mmer.errors import InputError
from mmer.formats.plain import as_float32, describe, is_numeric, text, texts
from mmer.formats.restricted_pickle import read_pickles
from mmer.samples.table import SPLITS, Features, Sample, Split
from mmer.schema import Settings

EMOTIONS = ("Happy", "Neutral", "Sad", "Disgust", "Anger", "Fear", "Surprise")
_OBJECTS = 10
_UTTERANCES, _CLASSES, _SENTENCES, _FIRST_SPLIT = 0, 2, 6, 7
# A<audio>-V<visual>-L<text>.pkl; others put a "_" after each letter
_FILE_NAME = re.compile(r"A_?(?P<p4>.+)-V_?(?P<p5>.+)-L_?(?P<p3>.+)")
FILES = (
    "AIS10_norm-Vsent_avg_affectdenseface-Lsent_cls_robert_wwm_base_chinese4chmed.pkl",
    "Asent_avg_wav2vec_zh-Vsent_avg_affectdenseface-Lsent_avg_robert_base_wwm_chinese.pkl",
    "Asent_wav2vec_zh2chmed2e5last-Vsent_avg_affectdenseface-Lsent_avg_robert_base_wwm_chinese.pkl",
    "Asent_wav2vec_zh2chmed2e5last-Vsent_avg_affectdenseface-"
    "Lsent_cls_robert_wwm_base_chinese4chmed.pkl",
)
"""The published files. The published conversion reads the last."""
# Extractors of the published files
_WIDTHS = {
    "IS10_norm": 1582,
    "sent_avg_wav2vec_zh": 1024,
    "sent_wav2vec_zh2chmed2e5last": 1024,
    "sent_avg_affectdenseface": 342,
    "sent_avg_robert_base_wwm_chinese": 768,
    "sent_cls_robert_wwm_base_chinese4chmed": 768,
}


class M3edOptions(Settings):
    """How the ten-object pickles are read.

    Attributes:
        file: Name of the file, in a folder that has several.
        labels: Names of classes 0, 1, ... and of the table's columns.
        max_length: Utterances kept of each dialogue, from its start.
        labels_of_whole_dialogue: Whether emotions of utterances behind `max_length` count, as
            published, or only those of utterances that are kept.
        published_swap: Take position 4 for visual and 5 for audio, as the published conversion.
        group_pattern: What a whole dialogue id matches; its group 1, or the match if it has no
            groups, is what must not stand in two splits. By default that is the series where ids
            are `<series>_<number>`, as in the published files, and else the whole id.
            "(.*)_w[0-9]+" makes one group of all windows `<video>_w<number>` of a video.
    """

    file: str | None = None
    labels: LabelNames[str] = EMOTIONS
    max_length: PositiveInt = 60
    labels_of_whole_dialogue: bool = True
    published_swap: bool = False
    group_pattern: re.Pattern[str] = re.compile("(.+?)(?:_[0-9]+)?")

    @property
    def positions(self) -> dict[str, int]:
        """Modality -> where its features stand."""
        visual, audio = (4, 5) if self.published_swap else (5, 4)
        return {"text": 3, "visual": visual, "audio": audio}


class _Dialogue(NamedTuple):
    dialogue_id: str
    group_id: str
    features: dict[str, np.ndarray]  # (n, D) as stored
    classes: np.ndarray  # (n,)
    sentences: list[str]


def read_pkl(path: Path, options: M3edOptions) -> CorpusSource:
    """Open the ten objects of a pickle, or of one in a folder; offer a sample per dialogue.

    Raises:
        InputError: The file is missing, damaged or not of this layout, a dialogue's parts differ
            in length, a class is unknown, features are not as wide as those of the extractor that
            the file's name names, or splits share a group.
        UntrustedDataError: The file asks for code to be run.
    """
    path = _in_folder(path, options.file) if path.is_dir() else path
    objects = _ten_objects(path)
    splits: dict[Split, list[_Dialogue]] = {
        split: [_dialogue(path, objects, options, i) for i in _ids(path, objects, position)]
        for position, split in enumerate(SPLITS, start=_FIRST_SPLIT)
    }
    _check_groups(path, options, splits)
    return CorpusSource(
        labels=options.labels,
        features=_features(path, options, [d for split in SPLITS for d in splits[split]]),
        alignment="utterance",
        files=(path,),
        groups={split: tuple(d.group_id for d in ds) for split, ds in splits.items()},
        read=lambda split, groups: (
            _sample(d, options) for d in splits[split] if d.group_id in groups
        ),
    )


def _in_folder(folder: Path, name: str | None) -> Path:
    """The folder's pickle of this name, or its only one."""
    found = sorted(file.name for file in folder.glob("*.pkl"))
    if name is None and len(found) == 1:
        [name] = found
    if name is None or name not in found:
        expected = f"the file {name}" if name else "one .pkl file, or the name of one"
        remedy = "Choose one by its name: --params=m3ed.ingestion.pkl.file=NAME"
        raise InputError(folder, "", expected, ", ".join(found) or "none", remedy if found else "")
    return folder / name


def _ten_objects(path: Path) -> list:
    """The ten objects, from one pickle of all or ten pickles after each other."""
    pickles = read_pickles(path, most=_OBJECTS)
    objects = pickles[0] if len(pickles) == 1 else pickles
    if not isinstance(objects, list | tuple) or len(objects) != _OBJECTS:
        raise InputError(path, "", f"a sequence of {_OBJECTS} objects", describe(objects))
    for position, content in enumerate(objects[:_FIRST_SPLIT]):
        if not isinstance(content, dict):
            expected = "a mapping from dialogues"
            raise InputError(path, f"position {position}", expected, describe(content))
    return list(objects)


def _ids(path: Path, objects: list, position: int) -> list[str | int]:
    """The dialogues of a split, in the file's order, each of which exists once."""
    key, ids = f"position {position}", objects[position]
    if isinstance(ids, set):
        ids = sorted(ids, key=str)
    if not isinstance(ids, list | tuple) or len(ids) == 0:
        raise InputError(path, key, "a list of dialogues", describe(ids))
    for dialogue in ids:
        if not isinstance(dialogue, str | int) or dialogue not in objects[_UTTERANCES]:
            raise InputError(path, key, "dialogues of position 0", describe(dialogue))
    if repeated := len(ids) - len(set(map(str, ids))):
        raise InputError(path, key, "each dialogue once", f"{repeated} repeated")
    return list(ids)


def _dialogue(path: Path, objects: list, options: M3edOptions, key: str | int) -> _Dialogue:
    name = text(path, "dialogue id", str(key))
    parts = {}
    for position in (_UTTERANCES, _CLASSES, _SENTENCES, *options.positions.values()):
        if key not in objects[position]:
            raise InputError(path, f"position {position}", f"dialogue {name}", "no entry for it")
        parts[position] = objects[position][key]
    where, utterances = f"dialogue {name}, position", parts[_UTTERANCES]
    if not isinstance(utterances, list | tuple) or len(utterances) == 0:
        expected = "a list of utterances"
        raise InputError(path, f"{where} {_UTTERANCES}", expected, describe(utterances))
    count, known = len(utterances), len(options.labels)
    return _Dialogue(
        name,
        _group(path, options.group_pattern, name),
        {m: _rows(path, f"{where} {p}", parts[p], count) for m, p in options.positions.items()},
        _classes(path, f"{where} {_CLASSES}", parts[_CLASSES], count, known),
        texts(path, f"{where} {_SENTENCES}", parts[_SENTENCES], count),
    )


def _rows(path: Path, key: str, value: object, count: int) -> np.ndarray:
    """(n, D) features, from an array or one vector per utterance."""
    if isinstance(value, list | tuple) and len(value) == count:
        vectors = all(is_numeric(v) and v.ndim == 1 and len(v) == len(value[0]) for v in value)
        value = np.stack(value) if vectors else value
    if not is_numeric(value) or value.ndim != 2 or len(value) != count or value.shape[1] == 0:
        expected = f"a vector for each of {count} utterances"
        raise InputError(path, key, expected, describe(value))
    return value


def _classes(path: Path, key: str, value: object, count: int, known: int) -> np.ndarray:
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.shape == (count,):
        value = value.tolist()
    if not isinstance(value, list | tuple) or len(value) != count:
        raise InputError(path, key, f"a class for each of {count} utterances", describe(value))
    for one in value:
        if type(one) is not int or not 0 <= one < known:
            raise InputError(path, key, f"classes 0 to {known - 1}", describe(one))
    return np.array(value)


def _group(path: Path, pattern: re.Pattern[str], name: str) -> str:
    match = pattern.fullmatch(name)
    group = match and (match[1] if pattern.groups else match[0])
    if not group:
        expected = f"ids that match group_pattern {pattern.pattern!r}"
        raise InputError(path, "dialogue id", expected, describe(name))
    return group


def _check_groups(path: Path, options: M3edOptions, splits: dict[Split, list[_Dialogue]]) -> None:
    split_of: dict[str, str] = {}
    for split, dialogues in splits.items():
        for dialogue in dialogues:
            other = split_of.setdefault(dialogue.group_id, split)
            if other != split:
                raise InputError(
                    path,
                    f"splits {other} and {split}",
                    "no series in both",
                    describe(dialogue.group_id),
                    f"Is that no series? group_pattern, now {options.group_pattern.pattern}, says "
                    "which part of a dialogue's id must not stand in two splits.",
                )


def _features(path: Path, options: M3edOptions, dialogues: list[_Dialogue]) -> dict[str, Features]:
    """Widths, which all dialogues share, and the extractors as the file's name has them."""
    named, features = _FILE_NAME.fullmatch(path.stem), {}
    for modality, position in options.positions.items():
        width = dialogues[0].features[modality].shape[1]
        for dialogue in dialogues:
            if (found := dialogue.features[modality].shape[1]) != width:
                key = f"dialogue {dialogue.dialogue_id}, {modality}"
                raise InputError(path, key, f"rows of width {width}, as before", found)
        extractor = named[f"p{position}"] if named else "unnamed"
        if (expected := _WIDTHS.get(extractor, width)) != width:
            key = f"position {position}"
            raise InputError(path, key, f"rows of width {expected}, of {extractor}", width)
        features[modality] = Features(name=extractor, width=width)
    return features


def _sample(dialogue: _Dialogue, options: M3edOptions) -> Sample:
    kept = slice(options.max_length)
    classes = dialogue.classes[slice(None) if options.labels_of_whole_dialogue else kept]
    labels = np.zeros(len(options.labels), np.uint8)
    labels[classes] = 1
    return Sample(
        sample_id=dialogue.dialogue_id,
        group_id=dialogue.group_id,
        features={m: as_float32(rows[kept]) for m, rows in dialogue.features.items()},
        labels=labels,
        words=dialogue.sentences[kept],
    )
