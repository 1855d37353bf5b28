"""Small files in the official formats, with the flaws of the official ones.

-inf in audio, an empty set of emotions, padding on one side or the other, ids that are prefixes of
others, segments out of time order, a dialogue longer than what is kept of it. Widths are small so
that changing a byte more often changes the structure than a feature.
"""

from __future__ import annotations

import argparse
import json
import pickle
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mmer.corpora import CORPORA
from mmer.corpora.corpus import CorpusSource
from mmer.corpora.memor.synthetic import SyntheticMemor
from mmer.corpora.memor.synthetic_files import write_files as write_memor_files
from mmer.corpora.mosei.csd import FILES, LABELS, WORDS
from mmer.formats.csd import write_csd
from mmer.samples.table import Sample, Split
from mmer.schema import Settings

WIDTHS = {"text": 4, "visual": 3, "audio": 2}
EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
COUNTS = {"train": 4, "valid": 2, "test": 2}
M3ED_LABELS = ("Happy", "Neutral", "Sad", "Disgust", "Anger", "Fear", "Surprise")


def padded(rows: np.ndarray, steps: int, side: str) -> np.ndarray:
    """Rows (T, D) with zeros before ("left") or behind ("right") them up to `steps`."""
    missing = steps - len(rows)
    return np.pad(rows, ((missing, 0) if side == "left" else (0, missing), (0, 0)))


def features(rng: np.random.Generator, modality: str, steps: int) -> np.ndarray:
    """(T, D) float32 without a zero row; -inf in audio."""
    rows = rng.normal(size=(steps, WIDTHS[modality])).astype(np.float32)
    if modality == "audio":
        rows[0, 0] = -np.inf
    return rows


def label_sets(rng: np.random.Generator, count: int) -> list[list[int]]:
    """Columns of present emotions per sample; the first has none, and each is in another."""
    dealt = np.array_split(rng.permutation(6), count - 1)
    return [[], *(sorted({*columns.tolist(), int(rng.integers(6))}) for columns in dealt)]


def tailor_content(
    rng: np.random.Generator, words: dict[str, list[np.ndarray]], side: str = "right"
) -> dict:
    """Content of `train_valid_test.pt`, its text rows being `words` of each split."""
    content: dict = {
        "dict": {
            "src": None,
            "tgt": {"<blank>": 0, "<unk>": 1, "<s>": 2, "</s>": 3}
            | {name: i for i, name in enumerate(EMOTIONS, start=4)},
        },
        "settings": argparse.Namespace(
            max_text_seq_len=6, max_visual_seq_len=6, max_audio_seq_len=6
        ),
    }
    for split, count in COUNTS.items():
        rows = {
            m: [features(rng, m, len(words[split][i])) for i in range(count)]
            for m in ("visual", "audio")
        } | {"text": words[split]}
        content[split] = {f"src-{m}": [padded(one, 6, side) for one in rows[m]] for m in rows} | {
            "tgt": [[2, *(4 + c for c in labels), 3] for labels in label_sets(rng, count)]
        }
    return content


def word_vectors(rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Text of every sample: (T, D) with T from 2 to 5."""
    return {
        split: [features(rng, "text", int(rng.integers(2, 6))) for _ in range(count)]
        for split, count in COUNTS.items()
    }


def noalign_content(
    rng: np.random.Generator, words: dict[str, list[np.ndarray]], side: str = "left"
) -> dict:
    """Content of `mosei_senti_data_noalign.pkl` whose text rows are `words`."""
    content = {}
    for split, count in COUNTS.items():
        content[split] = {
            "text": np.stack([padded(one, 6, side) for one in words[split]]),
            "vision": np.stack([padded(features(rng, "visual", 5), 8, side) for _ in range(count)]),
            "audio": np.stack([padded(features(rng, "audio", 7), 9, side) for _ in range(count)]),
            "labels": rng.normal(size=(count, 1, 1)),
            "id": np.array([[f"{split}_video_{i}", f"{i}.5", f"{i + 3}.25"] for i in range(count)]),
        }
    return content


def labelled_videos(rng: np.random.Generator) -> dict[str, list[dict]]:
    """Per split a video of each id with its segments in order of time, some of equal sentiment."""
    videos: dict[str, list[dict]] = {}
    for split, count in COUNTS.items():
        videos[split] = []
        for number in range(count):
            starts = np.cumsum(rng.uniform(2, 5, size=3))
            videos[split].append(
                {
                    "id": f"{split}" + "x" * number,
                    "intervals": np.stack([starts, starts + 1.5], axis=1),
                    "labels": np.column_stack(
                        [rng.integers(-9, 10, 3) / 3, rng.integers(0, 3, (3, 6)) / 3]
                    ).astype(np.float32),
                    "words": [[f"{split}{number}{s}{w}" for w in "abc"] for s in range(3)],
                }
            )
    return videos


def write_label_files(folder: Path, videos: dict[str, list[dict]]) -> tuple[Path, Path]:
    """The label file, its segments out of order, and the file of words."""
    labels, words = LABELS.path(folder), WORDS.path(folder)
    every = [video for split in videos.values() for video in split]
    order = [2, 0, 1]
    entries = [(v["id"], v["labels"][order], v["intervals"][order]) for v in every]
    write_csd(labels, "All Labels", entries, "look-alike", ["sentiment", *EMOTIONS], None)
    spoken = []
    for video in every:
        # a pause, then the segment's three words, each 0.4 s
        times = np.concatenate(
            [i[0] + 0.3 * np.arange(4)[:, None] + [0, 0.3] for i in video["intervals"]]
        )
        texts = [[w] for s in video["words"] for w in ("sp", *s)]
        spoken.append((video["id"], np.array(texts, "S12"), times))
    write_csd(words, "words", spoken, "look-alike", None, None)
    return labels, words


def mmsa_content(
    rng: np.random.Generator, videos: dict[str, list[dict]], aligned: bool = True
) -> dict:
    """Content of `aligned_50.pkl` or `unaligned_50.pkl`: two of three segments of each video."""
    content: dict = {}
    steps = (
        {"text": 6, "vision": 6, "audio": 6} if aligned else {"text": 6, "vision": 7, "audio": 9}
    )
    for split, members in videos.items():
        clips = [(video, s) for video in members for s in (0, 2)]
        count = len(clips)
        content[split] = {
            # numbers count transcribed segments: neither 0, 1, .. nor rows of the label file
            "id": [f"{video['id']}$_${4 + 3 * s}" for video, s in clips],
            "raw_text": [" ".join(video["words"][s]).upper() for video, s in clips],
            "regression_labels": np.array([video["labels"][s, 0] for video, s in clips]),
            "annotations": ["Neutral"] * count,
            "text": np.stack([features(rng, "text", 6) for _ in range(count)]),
            "text_bert": np.tile(
                np.array([[7, 7, 7, 7, 0, 0], [1, 1, 1, 1, 0, 0], [0] * 6], np.float32),
                (count, 1, 1),
            ),
            "vision": np.stack(
                [padded(features(rng, "visual", 3), steps["vision"], "right") for _ in clips]
            ),
            "audio": np.stack(
                [padded(features(rng, "audio", 4), steps["audio"], "right") for _ in clips]
            ),
        }
        if not aligned:
            content[split] |= {"vision_lengths": [5] * count, "audio_lengths": [4] * count}
    return content


def tensors_content(rng: np.random.Generator, side: str = "left") -> list[dict]:
    """Content of `tensors.pkl`, a list of folds: two segments of each video, words averaged."""
    folds = []
    for split, count in COUNTS.items():
        lengths = rng.integers(2, 6, count).tolist()
        rows = {m: [features(rng, m, length) for length in lengths] for m in WIDTHS}
        labels = np.zeros((count, 7))
        for row, present in zip(labels, label_sets(rng, count), strict=True):
            row[[1 + column for column in present]] = rng.integers(1, 10, len(present)) / 3
        names = {"text": "glove_vectors", "visual": "FACET 4.2", "audio": "COAVAREP"}
        folds.append(
            {
                name: np.stack([padded(one, 6, side) for one in rows[m]]).astype(np.float64)
                for m, name in names.items()
            }
            | {
                "All Labels": labels[:, None],
                "All Labels id": np.array([[f"{split}{i // 2}[{i % 2}]"] for i in range(count)]),
            }
        )
    return folds


def m3ed_content(rng: np.random.Generator) -> list:
    """The ten objects; the first dialogue is longer than 4 utterances."""
    names = [f"series{i}_{d}" for i in range(6) for d in (1, 11)]
    sizes = dict(zip(names, [6, 2, 3, 1, 2, 4, 2, 3, 2, 1, 3, 2], strict=True))
    classes = iter(np.resize(rng.permutation(7), sum(sizes.values())).tolist())
    return [
        OrderedDict((n, [f"{n}_{u}" for u in range(k)]) for n, k in sizes.items()),
        OrderedDict((n, ["A"] * k) for n, k in sizes.items()),
        OrderedDict((n, [next(classes) for _ in range(k)]) for n, k in sizes.items()),
        *(
            OrderedDict((n, features(rng, m, k)) for n, k in sizes.items())
            for m in ("text", "audio", "visual")
        ),
        OrderedDict((n, [f"words of {n} {u}" for u in range(k)]) for n, k in sizes.items()),
        names[:4],
        names[4:8],
        names[8:],
    ]


VIDEOS = {"train": ["2869", "286943"], "valid": ["b"], "test": ["c"]}


def write_csd_folder(
    folder: Path, rng: np.random.Generator, compression: str | None = None
) -> None:
    """Four videos of two segments of three words, at few frames a second; widths are official."""
    (folder / "folds.json").write_text(json.dumps(VIDEOS))
    videos = [video for split in VIDEOS.values() for video in split]
    spans = {"text": (6, 1.0), "visual": (18, 1 / 3), "audio": (30, 0.2)}
    times = {}
    for modality, (count, step) in spans.items():
        begins = step * np.arange(count)[:, None]
        times[modality] = np.hstack([begins, begins + step])
    for modality, file in FILES.items():
        entries = []
        for video in videos:
            rows = rng.normal(size=(len(times[modality]), file.width)).astype(np.float32)
            rows[0, 0] = -np.inf if modality == "audio" else 1
            entries.append((video, rows, times[modality]))
        write_csd(file.path(folder), file.root_name, entries, "", None, compression)
    segments = np.array([[3.0, 6.0], [0.0, 3.0]])
    labels = [(v, rng.integers(0, 4, (2, 7)).astype(np.float32), segments) for v in videos]
    write_csd(LABELS.path(folder), LABELS.root_name, labels, "", None, compression)
    words = np.array([[b"one"], [b"sp"], [b"two"], [b"three"], [b"sp"], [b"four"]])
    entries = [(video, words, times["text"]) for video in videos]
    write_csd(WORDS.path(folder), WORDS.root_name, entries, "", None, compression)


def write_tailor_folder(folder: Path, rng: np.random.Generator, legacy: bool = False) -> dict:
    """Returns the file's content, as do the next four."""
    content = tailor_content(rng, word_vectors(rng))
    write_torch(folder / "train_valid_test.pt", content, legacy)
    return content


def write_noalign_folder(folder: Path, rng: np.random.Generator) -> dict:
    words = word_vectors(rng)
    write_torch(folder / "train_valid_test.pt", tailor_content(rng, words))
    content = noalign_content(rng, words)
    write_pickle(folder / "mosei_senti_data_noalign.pkl", content)
    return content


def write_mmsa_folder(folder: Path, rng: np.random.Generator, aligned: bool = True) -> dict:
    videos = labelled_videos(rng)
    write_label_files(folder, videos)
    content = mmsa_content(rng, videos, aligned)
    write_pickle(folder / ("aligned_50.pkl" if aligned else "unaligned_50.pkl"), content)
    return content


def write_tensors_folder(folder: Path, rng: np.random.Generator) -> list[dict]:
    content = tensors_content(rng)
    write_pickle(folder / "tensors.pkl", content)
    return content


def write_m3ed_folder(folder: Path, rng: np.random.Generator) -> list:
    content = m3ed_content(rng)
    write_pickle(folder / "A_audio-V_visual-L_text.pkl", content)
    return content


def write_probe_folder(folder: Path, rng: np.random.Generator) -> None:
    sizes = {f"{split}_samples": 24 for split in ("train", "valid", "test")}
    corpus = CORPORA["probe_mean"]
    corpus.write_synthetic(folder, corpus.synthetic(seed=int(rng.integers(100)), **sizes))


def write_memor_folder(folder: Path, rng: np.random.Generator) -> None:
    sizes = {"train_clips": 30, "test_clips": 10}
    write_memor_files(folder, SyntheticMemor(seed=int(rng.integers(100)), **sizes))


FOLDERS: dict[tuple[str, str], Callable[[Path, np.random.Generator], object]] = {
    ("mosei", "csd"): write_csd_folder,
    ("mosei", "tensors_pkl"): write_tensors_folder,
    ("mosei", "tailor_pt"): write_tailor_folder,
    ("mosei", "noalign_pkl"): write_noalign_folder,
    ("mosei", "mmsa_aligned"): write_mmsa_folder,
    ("mosei", "mmsa_unaligned"): partial(write_mmsa_folder, aligned=False),
    ("m3ed", "pkl"): write_m3ed_folder,
    ("memor", "official"): write_memor_folder,
    ("probe_mean", "parquet"): write_probe_folder,
}
"""Corpus and reader -> writes a whole small corpus in its layout into a folder."""


def readers() -> list[tuple[str, str]]:
    """Corpus and name of every reader that there is; of corpora that share one, the first."""
    first: dict[object, tuple[str, str]] = {}
    for name, corpus in CORPORA.items():
        for reader, function in corpus.readers.items():
            first.setdefault((reader, function), (name, reader))
    return list(first.values())


def options(corpus: str, reader: str) -> Settings:
    """The reader's, as these folders need them."""
    known = CORPORA[corpus].ingestion().model_copy(update={"reader": reader}).options
    given = {"folds": "folds.json", "widths": WIDTHS}
    return type(known)(**{k: v for k, v in given.items() if k in type(known).model_fields})


def samples(source: CorpusSource, split: Split) -> list[Sample]:
    """All samples of a split."""
    return list(source.read(split, source.groups[split]))


def write_pickle(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def write_torch(path: Path, content: object, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path
