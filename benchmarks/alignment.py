"""Official CMU-MOSEI files to the sample table: videos per second on one core, and peak memory.

Videos are as long as MOSEI's (72 s, 200 words, 7 segments, COVAREP at 100 and FACET at 30 frames a
second). Files are read from the page cache: a disk's own speed is not measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from measure import best_of, machine, peak_memory_mb

from mmer.alignment.video import align_words
from mmer.formats.csd import write_csd
from mmer.corpora.mosei import FILES, LABELS, MoseiSettings, read_mosei, read_segment_labels
from mmer.samples.table import write_table

SECONDS, WORDS, SEGMENTS = 72, 200, 7
FRAMES_PER_SECOND = {"visual": 30, "audio": 100}
SDK_VIDEOS_PER_SECOND = 6
SETTINGS = MoseiSettings(folds="folds.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=100, help="videos that are timed")
    parser.add_argument("--long", type=int, default=400, help="videos of the larger memory run")
    parser.add_argument("--table-of", type=Path, help="only make the table of this folder")
    arguments = parser.parse_args()
    if arguments.table_of:
        _make_table(arguments.table_of)
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
            "uncompressed": _timed(plain),
            "gzip": _timed(packed),
            "peak_memory_mb": memory,
        }
    print(json.dumps(report, indent=1))


def _corpus(folder: Path, videos: int, compression: str | None) -> Path:
    random = np.random.default_rng(0)
    names = [f"video{number:04d}" for number in range(videos)]
    words = np.sort(random.uniform(0, SECONDS - 1, WORDS))
    words = np.stack([words, words + random.uniform(0.1, 0.6, WORDS)], axis=1)
    borders = np.linspace(0, SECONDS, SEGMENTS + 1)
    intervals = {"text": words, "labels": np.stack([borders[:-1], borders[1:]], axis=1)}
    for modality, rate in FRAMES_PER_SECOND.items():
        starts = np.arange(SECONDS * rate) / rate
        intervals[modality] = np.stack([starts, starts + 1 / rate], axis=1)

    def entries(key: str, width: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for video in names:
            rows = random.uniform(0, 3, (len(intervals[key]), width)).astype(np.float32)
            yield video, rows, intervals[key]

    for key, file in (*FILES.items(), ("labels", LABELS)):
        rows = entries(key, file.width or 0)
        write_csd(folder / file.name, file.root_name, rows, "random numbers", None, compression)
    folds = {"train": names[2:], "valid": names[:1], "test": names[1:2]}
    (folder / "folds.json").write_text(json.dumps(folds))
    return folder


def _make_table(folder: Path) -> None:
    source = read_mosei(folder, SETTINGS, synthetic=True)
    write_table(folder / "train.arrow", source.info, source.read("train"))


def _timed(folder: Path) -> dict[str, object]:
    """Milliseconds per video of the whole way, and of its parts one by one."""
    source = read_mosei(folder, SETTINGS, synthetic=True)
    table, samples = folder / "train.arrow", list(source.read("train"))
    count = len(samples) // SEGMENTS
    whole = best_of(lambda: write_table(table, source.info, source.read("train")))
    reading, alignment = np.min([_read_and_align(folder) for _ in range(5)], axis=0)
    seconds = {
        "all": whole,
        "reading": reading,
        "of it the bytes alone, without HDF5": best_of(lambda: _read_bytes(folder)),
        "alignment": alignment,
        "writing": best_of(lambda: write_table(table, source.info, samples)),
    }
    return {
        "videos_per_second": round(count / whole, 1),
        "times_the_sdk": round(count / whole / SDK_VIDEOS_PER_SECOND, 1),
        "ms_per_video": {part: round(s / count * 1e3, 2) for part, s in seconds.items()},
    }


def _read_and_align(folder: Path) -> tuple[float, float]:
    """Seconds of each, one video after the other as in the real stream."""
    reading = alignment = 0.0
    segments = read_segment_labels(folder / LABELS.name)
    with ExitStack() as opened:
        files = {m: opened.enter_context(file.open(folder)) for m, file in FILES.items()}
        for video in list(segments)[2:]:
            begin = time.perf_counter()
            sequences = {modality: file.read(video) for modality, file in files.items()}
            middle = time.perf_counter()
            aligned = align_words(sequences, segments[video].intervals)
            for number in range(SEGMENTS):
                rows = aligned.segment(number, in_step=True)
                _ = {m: aligned.features[m][chosen] for m, chosen in rows.items()}
            reading += middle - begin
            alignment += time.perf_counter() - middle
    return reading, alignment


def _read_bytes(folder: Path) -> None:
    for file in FILES.values():
        with (folder / file.name).open("rb", buffering=0) as handle:
            while handle.read(1 << 21):
                pass


def _peak_memory(folder: Path) -> float:
    command = [sys.executable, __file__, "--table-of", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return round(float(done.stdout), 1)


if __name__ == "__main__":
    main()
