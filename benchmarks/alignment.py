"""Alignment of CMU-MOSEI beside the corpus's tool's arithmetic, and its files to the sample table.

Videos are as long as MOSEI's (72 s, 200 words, 7 segments, COVAREP at 100 and FACET at 30 frames a
second). The tool's arithmetic is that of `plain_alignment`, which is timed in turn with ours on the
same videos in memory, one thread each, after their results have been compared bit for bit. As ours
is much the shorter, it goes over the videos many times in each repeat. Files are read from the page
cache: a disk's own speed is not measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter
from timeit import timeit

import numpy as np
import plain_alignment
from measure import peak_memory_mb, show

from mmer.alignment.video import TimedFeatures, align_words
from mmer.corpora.corpus import CorpusSource, RawCorpus
from mmer.corpora.ingestion import aligned_table, open_corpus
from mmer.corpora.mosei import CORPUS, MoseiIngestion
from mmer.corpora.mosei.csd import FILES, LABELS, CsdOptions
from mmer.formats.csd import write_csd
from mmer.samples.table import Sample, TableInfo, write_table

SECONDS, WORDS, SEGMENTS, REFERENCE = 72, 200, 7, "text"
FRAMES_PER_SECOND = {"visual": 30, "audio": 100}
READING = CsdOptions(folds="folds.json")
Videos = tuple[plain_alignment.Dataset, dict[str, TimedFeatures]]
"""Modality -> video -> features and intervals, and video -> labels and segments."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=100, help="videos read from files")
    parser.add_argument("--long", type=int, default=400, help="videos of the larger memory run")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--processes", type=int, default=2, help="that make the table side by side")
    parser.add_argument("--table-of", type=Path, help="only make the table of this folder")
    arguments = parser.parse_args()
    if arguments.table_of:
        _write_whole(arguments.table_of)
        print(peak_memory_mb())
        return
    repeats = arguments.repeats
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        counts = {
            count: _corpus(folder / str(count), count, None) for count in (20, arguments.long)
        }
        plain = _corpus(folder / "plain", arguments.videos, None)
        packed = _corpus(folder / "gzip", arguments.videos // 4, "gzip")
        show(
            "alignment",
            alignment_in_memory=_beside_plain(_videos(plain, 10), repeats),
            files_to_table={
                "uncompressed": _files_to_table(plain, repeats),
                "gzip": _files_to_table(packed, repeats),
            },
            pipeline={
                f"{processes} processes": _pipeline(counts[arguments.long], processes)
                for processes in (1, arguments.processes)
            },
            peak_memory_mb={count: _peak_memory(path) for count, path in counts.items()},
        )


def _corpus(folder: Path, videos: int, compression: str | None) -> Path:
    random = np.random.default_rng(0)
    names = [f"video{number:04d}" for number in range(videos)]
    words = np.sort(random.uniform(0, SECONDS - 1, WORDS))
    words = np.stack([words, words + random.uniform(0.1, 0.6, WORDS)], axis=1)
    borders = np.linspace(0, SECONDS, SEGMENTS + 1)
    intervals = {REFERENCE: words, "labels": np.stack([borders[:-1], borders[1:]], axis=1)}
    for modality, rate in FRAMES_PER_SECOND.items():
        starts = np.arange(SECONDS * rate) / rate
        if modality == "visual":  # the face is out of sight for a while
            starts = starts[(starts < SECONDS / 3) | (starts > SECONDS / 2)]
        intervals[modality] = np.stack([starts, starts + 1 / rate], axis=1)

    def entries(key: str, width: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for video in names:
            rows = random.uniform(0, 3, (len(intervals[key]), width)).astype(np.float32)
            yield video, rows, intervals[key]

    for key, file in (*FILES.items(), ("labels", LABELS)):
        rows = entries(key, file.width or 0)
        write_csd(file.path(folder), file.root_name, rows, "random numbers", None, compression)
    folds = {"train": names[2:], "valid": names[:1], "test": names[1:2]}
    (folder / "folds.json").write_text(json.dumps(folds))
    return folder


def _videos(folder: Path, count: int) -> Videos:
    with ExitStack() as opened:
        files = {m: opened.enter_context(file.open(folder)) for m, file in FILES.items()}
        labels = opened.enter_context(LABELS.open(folder))
        ids = labels.ids[:count]
        sequences = {m: {v: file.read(v) for v in ids} for m, file in files.items()}
        return sequences, {v: labels.read(v) for v in ids}


def _ours(sequences: plain_alignment.Dataset, labels: dict[str, TimedFeatures]) -> dict:
    """Segment -> modality -> rows; none for segments that lack a modality."""
    found = {}
    for video, (_, segments) in labels.items():
        entries = {modality: entries[video] for modality, entries in sequences.items()}
        aligned = align_words(entries, segments, reference=REFERENCE)
        for number in range(len(segments)):
            if rows := aligned.segment(number, in_step=False):
                found[f"{video}[{number}]"] = {m: aligned.features[m][rows[m]] for m in rows}
    return found


def _beside_plain(videos: Videos, repeats: int, passes: int = 20) -> dict[str, object]:
    """Milliseconds per video of both, one after the other in each repeat, and their ratio."""
    found, expected = _ours(*videos), plain_alignment.align(*videos, REFERENCE)
    assert list(found) == list(expected["labels"])
    for segment, modalities in found.items():
        for modality, rows in modalities.items():
            theirs, _ = expected[modality][segment]
            # Zeros imputed for a word make all rows of a video float64 there, without a new value.
            assert rows.tobytes() == theirs.astype(rows.dtype).tobytes()
            assert (theirs == theirs.astype(rows.dtype)).all()
    ways: list[tuple[Callable[[], object], int]] = [
        (lambda: plain_alignment.align(*videos, REFERENCE), 1),
        (lambda: _ours(*videos), passes),
    ]
    times = np.array(
        [[timeit(way, number=number) / number for way, number in ways] for _ in range(repeats)]
    )
    plain, ours = times.T / len(videos[1]) * 1e3
    return {
        "videos": len(videos[1]),
        "equal_results": True,
        "plain_ms_per_video": _spread(plain),
        "ms_per_video": _spread(ours),
        "times_as_fast_as_plain": _spread(plain / ours)
        | {"of_least": _rounded(min(plain) / min(ours))},
    }


def _files_to_table(folder: Path, repeats: int) -> dict[str, object]:
    """Videos per second of the whole way, and milliseconds per video of its beginning and end."""
    source = _open(folder)
    samples = list(_read(source))
    count = len(source.groups["train"])

    def ms(function: Callable[[], object]) -> np.ndarray:
        seconds = [timeit(function, number=1) for _ in range(repeats)]
        return np.array(seconds) / count * 1e3

    whole = ms(lambda: _write(folder, source, _read(source)))
    return {
        "videos": count,
        "videos_per_second": _spread(1e3 / whole),
        "ms_per_video": _spread(whole),
        "of_it_reading": _spread(ms(lambda: _videos(folder, count))),
        "of_it_writing": _spread(ms(lambda: _write(folder, source, samples))),
    }


def _pipeline(folder: Path, processes: int, repeats: int = 3) -> dict[str, object]:
    """Seconds that the stages take, their processes' start and checks of the files included."""
    settings = MoseiIngestion(csd=READING, processes=processes)
    raw = RawCorpus(path=folder, synthetic=True)
    opening, aligning = [], []
    for _ in range(repeats):
        begin = perf_counter()
        manifest = open_corpus("mosei", raw, settings)
        opening.append(perf_counter() - begin)
        with tempfile.TemporaryDirectory() as tables:
            begin = perf_counter()
            aligned_table(manifest, "train", Path(tables))
            aligning.append(perf_counter() - begin)
    return {
        "videos": len(manifest.splits["train"]),
        "opening_s": _spread(opening),
        "aligning_s": _spread(aligning),
    }


def _open(folder: Path) -> CorpusSource:
    return CORPUS.readers["csd"](folder, READING)


def _read(source: CorpusSource) -> Iterator[Sample]:
    return source.read("train", source.groups["train"])


def _write(folder: Path, source: CorpusSource, samples: Iterable[Sample]) -> None:
    info = TableInfo(
        corpus="random numbers",
        split="train",
        labels=source.labels,
        features=source.features,
        alignment=source.alignment,
        synthetic=True,
        fingerprint="benchmark",
    )
    write_table(folder / "train.arrow", info, samples)


def _write_whole(folder: Path) -> None:
    source = _open(folder)
    _write(folder, source, _read(source))


def _spread(values: Iterable[float]) -> dict[str, float]:
    values = list(values)
    numbers = {"median": median(values), "least": min(values), "most": max(values)}
    return {name: _rounded(value) for name, value in numbers.items()}


def _rounded(value: float) -> float:
    return round(float(value), 2)


def _peak_memory(folder: Path) -> float:
    command = [sys.executable, __file__, "--table-of", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return round(float(done.stdout), 1)


if __name__ == "__main__":
    main()
