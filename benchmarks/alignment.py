"""Alignment of CMU-MOSEI beside the corpus's tool's arithmetic, and its files to the sample table.

Videos are as long as MOSEI's (72 s, 200 words, 7 segments, COVAREP at 100 and FACET at 30 frames a
second). The tool's arithmetic is that of `plain_alignment`, which is timed in turn with ours on the
same videos in memory, one thread each, after their results have been compared. Files are read from
the page cache: a disk's own speed is not measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from timeit import timeit

import numpy as np
import plain_alignment
from measure import machine, peak_memory_mb

from mmer.alignment.video import TimedFeatures, align_words
from mmer.corpora.corpus import CorpusSource
from mmer.corpora.mosei.csd import FILES, LABELS, CsdOptions, read_csd
from mmer.formats.csd import write_csd
from mmer.samples.table import Sample, TableInfo, write_table

SECONDS, WORDS, SEGMENTS, REFERENCE = 72, 200, 7, "text"
FRAMES_PER_SECOND = {"visual": 30, "audio": 100}
Video = tuple[dict[str, TimedFeatures], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=100, help="videos read from files")
    parser.add_argument("--long", type=int, default=400, help="videos of the larger memory run")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--table-of", type=Path, help="only make the table of this folder")
    arguments = parser.parse_args()
    if arguments.table_of:
        source = _open(arguments.table_of)
        _write(arguments.table_of, source, source.read("train"))
        print(peak_memory_mb())
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # First, while this process is small: a child's peak begins at its parent's size.
        memory = {
            count: _peak_memory(_corpus(folder / str(count), count, None))
            for count in (20, arguments.long)
        }
        plain = _corpus(folder / "plain", arguments.videos, None)
        packed = _corpus(folder / "gzip", arguments.videos // 4, "gzip")
        report = {
            "machine": machine(),
            "alignment_in_memory": _beside_plain(_videos(plain, 10), arguments.repeats),
            "files_to_table": {
                "uncompressed": _files_to_table(plain, arguments.repeats),
                "gzip": _files_to_table(packed, arguments.repeats),
            },
            "peak_memory_mb": memory,
        }
    print(json.dumps(report, indent=1))


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


def _videos(folder: Path, count: int) -> list[Video]:
    with ExitStack() as opened:
        files = {m: opened.enter_context(file.open(folder)) for m, file in FILES.items()}
        labels = opened.enter_context(LABELS.open(folder))
        return [
            ({m: tuple(file.read(v)) for m, file in files.items()}, labels.read(v).intervals)
            for v in labels.ids[:count]
        ]


def _ours(sequences: dict[str, TimedFeatures], segments: np.ndarray) -> list:
    aligned = align_words(sequences, segments, reference=REFERENCE)
    rows = [aligned.segment(number, in_step=False) for number in range(len(segments))]
    return [r and {m: aligned.features[m][chosen] for m, chosen in r.items()} for r in rows]


def _plain(sequences: dict[str, TimedFeatures], segments: np.ndarray) -> list:
    return plain_alignment.align(sequences, segments, REFERENCE)


def _beside_plain(videos: list[Video], repeats: int) -> dict[str, object]:
    """Milliseconds per video of both, one after the other in each repeat, and their ratio."""
    for sequences, segments in videos:
        for found, expected in zip(
            _ours(sequences, segments), _plain(sequences, segments), strict=True
        ):
            assert (found is None) == (expected is None)
            for modality, values in (expected or {}).items():
                np.testing.assert_array_equal(found[modality], values)

    def every(way: Callable[[dict[str, TimedFeatures], np.ndarray], list]) -> None:
        for video in videos:
            way(*video)

    times = np.array(
        [[timeit(partial(every, w), number=1) for w in (_plain, _ours)] for _ in range(repeats)]
    )
    plain, ours = times.T / len(videos) * 1e3
    return {
        "videos": len(videos),
        "equal_results": True,
        "plain_ms_per_video": _spread(plain),
        "ms_per_video": _spread(ours),
        "times_as_fast_as_plain": _spread(plain / ours),
    }


def _files_to_table(folder: Path, repeats: int) -> dict[str, object]:
    """Videos per second of the whole way, and milliseconds per video of its beginning and end."""
    source = _open(folder)
    samples = list(source.read("train"))
    count = len(source.groups["train"])

    def ms(function: Callable[[], object]) -> np.ndarray:
        seconds = [timeit(function, number=1) for _ in range(repeats)]
        return np.array(seconds) / count * 1e3

    whole = ms(lambda: _write(folder, source, source.read("train")))
    return {
        "videos": count,
        "videos_per_second": _spread(1e3 / whole),
        "ms_per_video": _spread(whole),
        "of_it_reading": _spread(ms(lambda: _videos(folder, count))),
        "of_it_writing": _spread(ms(lambda: _write(folder, source, samples))),
    }


def _open(folder: Path) -> CorpusSource:
    return read_csd(folder, CsdOptions(folds="folds.json"))


def _write(folder: Path, source: CorpusSource, samples: Iterator[Sample] | list[Sample]) -> None:
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


def _spread(values: np.ndarray) -> dict[str, float]:
    numbers = {"median": median(values), "lowest": min(values), "highest": max(values)}
    return {name: round(float(value), 2) for name, value in numbers.items()}


def _peak_memory(folder: Path) -> float:
    command = [sys.executable, __file__, "--table-of", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return round(float(done.stdout), 1)


if __name__ == "__main__":
    main()
