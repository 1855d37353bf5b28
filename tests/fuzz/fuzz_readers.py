"""Break files of every format by the thousand and see what the readers make of them.

Every file is read as users read it, by `open_corpus` and `aligned_table`, and must end in an error
of our own or in a correct table. What is looked for: another exception, a crash, a file that takes
long or much memory, code that was executed (a canary file appears), a table that contradicts
itself, contents other than Python's own unpickling gives, and labels other than the whole file has.

    python tests/fuzz/fuzz_readers.py --seed 1 --files 2000

prints JSON: how many files executed code or changed labels in silence, the most memory that the
process which asked took beyond 10 x file + 200 MB, the longest time beyond 10 s + 1 s per MB, and
per format how many files were read, refused and refused as untrusted, and the findings.
`--only <format>:<number>` writes the file of one case to the current folder. `--log FILE` keeps a
line for each file that was read; started again with it, the run goes on where it ended.

"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from queue import Queue
from typing import Protocol

import numpy as np
import pandas as pd  # noqa: F401 - or pyarrow imports it in every process that is forked
from broken_csd import CsdFormat
from broken_folder import FolderFormat
from broken_objects import OBJECT_FILES, object_format
from rich.console import Console
from rich.progress import track

from mmer import confined
from mmer.confined import Limits
from mmer.corpora.corpus import Ingestion, RawCorpus
from mmer.corpora.ingestion import aligned_table, open_corpus
from mmer.corpora.splits import check_disjoint
from mmer.errors import InputError, UntrustedDataError
from mmer.samples.table import SampleTable, TableInfo

_FILES_PER_WORKER = 100
_SHARE_OF_SECONDS = 1.05  # the child has all that is allowed, and some time passes here
_FINE = ("read", "read by us alone", "refused", "untrusted")
_EXECUTED, _CHANGED = "code was executed", "labels were changed"

Case = tuple[str, int]
"""Format and number."""


class Format(Protocol):
    """A format under test."""

    def make(self, rng: np.random.Generator, number: int, path: Path) -> bool:
        """Write the broken file of this number; say whether `compare` may be asked about it."""

    @property
    def corpus(self) -> str:
        """Key in CORPORA."""

    @property
    def settings(self) -> Ingestion:
        """Of the reader."""

    def put(self, path: Path | None) -> Path:
        """The corpus with this file in its place, or without any broken one."""

    def labels_are_known(self, path: Path) -> bool:
        """Whether nothing that was broken can change what labels a sample has."""

    def name_of(self, row: dict) -> str | None:
        """What its labels are known by: its text, or its own name."""

    def compare(self, path: Path) -> str:
        """What is to be said of a file that was read: "read", or a finding."""


FORMATS = (*OBJECT_FILES, "csd", "csd_gzip", "memor")


@cache
def good_files(name: str, folder: Path) -> Format:
    """The format of this name; its good files are written to a folder in `folder`."""
    folder = folder / name
    folder.mkdir()
    if name == "memor":
        return FolderFormat(folder)
    if name in OBJECT_FILES:
        return object_format(name, folder)
    return CsdFormat(folder, "gzip" if name == "csd_gzip" else None)


def make_case(case: Case, seed: int, folder: Path) -> tuple[Path, bool]:
    name, number = case
    path = folder / f"{number}.broken"
    rng = np.random.default_rng([seed, *name.encode(), number])
    return path, good_files(name, folder).make(rng, number, path)


def run_case(form: Format, path: Path, good: dict) -> dict:
    """What became of a file, "read", "refused", "untrusted", or a finding; and what it cost."""
    canary, corpus = path.with_name("canary"), form.put(path)
    limits = Limits.of(RawCorpus(path=corpus).size)
    before, begin = _memory(), _seconds()
    try:
        tables = _tables(form, corpus, path.parent / "tables")
        outcome = _contradiction(tables) or "read"
        if form.labels_are_known(path) and _labels_differ(form, tables, good):
            outcome = _CHANGED
    except UntrustedDataError as error:
        outcome = "untrusted" if str(error) else "an error without words"
    except InputError as error:
        outcome = "refused" if str(error) else "an error without words"
    except BaseException:
        outcome = traceback.format_exc()
    finally:
        shutil.rmtree(path.parent / "tables", ignore_errors=True)
    memory = (_memory(peak=True) - before) / limits.memory
    seconds = (_seconds() - begin) / limits.seconds
    if canary.exists():
        canary.unlink()
        outcome = _EXECUTED
    if memory > 1 or seconds > _SHARE_OF_SECONDS:
        outcome = f"{memory:.1%} of memory and {seconds:.1%} of time allowed, then {outcome}"
    return {"outcome": outcome, "memory": memory, "seconds": seconds}


def _memory(peak: bool = False) -> int:
    """Bytes of this process in memory now, after which the peak starts anew; or the peak."""
    if not peak:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    name = "VmHWM:" if peak else "VmRSS:"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise OSError(name)


def _seconds() -> float:
    """Processor time that this process and those that read for it have taken."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    with confined._nursery() as nursery:
        reading = Path(f"/proc/{nursery._process.pid}/stat").read_text().rpartition(")")[2]
    ticks = sum(map(int, reading.split()[11:15]))  # its own, and its children's
    return time.process_time() + ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def _tables(form: Format, corpus: Path, folder: Path) -> dict[str, SampleTable]:
    """As users get them."""
    manifest = open_corpus(form.corpus, RawCorpus(path=corpus), form.settings)
    return {split: aligned_table(manifest, split, folder) for split in manifest.splits}


def _known_labels(tables: dict[str, SampleTable]) -> dict:
    """Labels by sample, and by text where that is known."""
    known = {}
    for table in tables.values():
        for row in table.arrow().to_pylist():
            known[row["sample_id"]] = row["labels"]
            known[str(row["text"])] = row["labels"]
    return known


def _labels_differ(form: Format, tables: dict[str, SampleTable], good: dict) -> bool:
    rows = [row for table in tables.values() for row in table.arrow().to_pylist()]
    named = [(form.name_of(row), row["labels"]) for row in rows]
    return any(good.get(name, labels) != labels for name, labels in named if name is not None)


def _contradiction(tables: dict[str, SampleTable]) -> str:
    """What is wrong with the tables."""
    groups = {}
    for split, table in tables.items():
        rows = table.arrow().to_pylist()
        groups[split] = [row["group_id"] for row in rows]
        if len({row["sample_id"] for row in rows}) < len(rows):
            return f"{split}: one sample twice"
        for row in rows:
            if problem := _row_problem(row, table.info):
                return f"{split}, {row['sample_id']}: {problem}"
    check_disjoint("tables", groups)
    return ""


def _row_problem(row: dict, info: TableInfo) -> str:
    present = [row[m] for m in info.modalities if row[m] is not None]
    if not present or any(len(steps) == 0 for steps in present):
        return "no features"
    if not all(np.isfinite(steps).all() for steps in present):
        return "features that are not finite"
    if not any(np.any(steps) for steps in present):
        return "nothing but zeros"
    if info.alignment != "none" and len({len(steps) for steps in present}) > 1:
        return "aligned modalities of different length"
    if (
        row["words"] is not None
        and row["text"] is not None
        and len(row["words"]) != len(row["text"])
    ):
        return "words that are not those of the text"
    return ""


def work(cases: list[Case], seed: int, folder: Path) -> None:
    """Run cases and print a line for each before and after it, so that a crash names its case."""
    logging.disable()
    good: dict[str, dict] = {}
    for case in cases:
        print(json.dumps([case, "started"]), flush=True)
        form = good_files(case[0], folder)
        if case[0] not in good:
            good[case[0]] = _known_labels(_tables(form, form.put(None), folder / "good tables"))
        path, comparable = make_case(case, seed, folder)
        result = run_case(form, path, good[case[0]])
        if result["outcome"] == "read" and comparable:
            result["outcome"] = form.compare(path)
        print(json.dumps([case, result]), flush=True)
        path.unlink()


def keep(case: Case, seed: int) -> None:
    """Write the file of one case to the current folder."""
    with tempfile.TemporaryDirectory() as folder:
        path, _ = make_case(case, seed, Path(folder))
        shutil.copy(path, path.name)


def results(cases: list[Case], seed: int) -> Iterator[tuple[Case, dict]]:
    """What became of every case, from workers that are replaced when they end."""
    while cases:
        now = cases[:_FILES_PER_WORKER]
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--seed", str(seed), "--work", folder]
            done = subprocess.run(
                command,
                input=json.dumps(now),
                capture_output=True,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                check=False,
            )
        lines = [
            ((name, n), result)
            for (name, n), result in map(json.loads, done.stdout.split("\n")[:-1])
        ]
        yield from (line for line in lines if line[1] != "started")
        if done.returncode != 0:
            crashed = lines[-1][0] if lines else now[-1]
            outcome = f"the process ended with {done.returncode}: {done.stderr[-1500:]}"
            yield crashed, {"outcome": outcome, "memory": 0, "seconds": 0}
            now = now[: now.index(crashed) + 1]
        cases = cases[len(now) :]


def logged(path: Path | None, seed: int) -> dict[Case, dict]:
    """What became of the cases that an earlier run of this seed has written down."""
    if path is None or not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {(name, n): result for s, (name, n), result in lines if s == seed}


def run(parts: list[list[Case]], seed: int, log: Path | None) -> Iterator[tuple[Case, dict]]:
    """What became of every case; the parts run side by side, each result is written down."""
    done: Queue[tuple[Case, dict] | None] = Queue()

    def work_off(part: list[Case]) -> None:
        try:
            for found in results(part, seed):
                done.put(found)
        finally:
            done.put(None)

    with ThreadPoolExecutor(len(parts)) as threads:
        running = [threads.submit(work_off, part) for part in parts]
        while running:
            if (found := done.get()) is None:
                running.pop()
                continue
            if log is not None:
                with log.open("a") as file:
                    file.write(json.dumps([seed, *found]) + "\n")
            yield found


def summary(found: list[tuple[Case, dict]], formats: list[str]) -> dict[str, object]:
    """What stands in front, and what became of the files of each format."""
    outcomes = [result["outcome"] for _, result in found]
    report: dict[str, object] = {
        "executed": outcomes.count(_EXECUTED),
        "silently_changed_labels": outcomes.count(_CHANGED),
    }
    for what, name in (("memory", "peak_of_parent"), ("seconds", "longest")):
        case, result = max(found, key=lambda pair: pair[1][what])
        report[name] = {"share_of_allowed": round(result[what], 3), "file": f"{case[0]}:{case[1]}"}
    for name in formats:
        of_format = {case[1]: result["outcome"] for case, result in found if case[0] == name}
        report[name] = {
            **Counter(outcome for outcome in of_format.values() if outcome in _FINE),
            "findings": {f"{name}:{n}": o for n, o in of_format.items() if o not in _FINE},
        }
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=2000, help="files of each format")
    parser.add_argument("--every", type=int, default=1, help="only every so many of them")
    parser.add_argument("--processes", type=int, default=1, help="formats that run side by side")
    parser.add_argument("--formats", nargs="*", default=FORMATS, choices=FORMATS)
    parser.add_argument("--log", type=Path, help="of what became of each file, to go on with")
    parser.add_argument("--only", help="<format>:<number>, one case, its file kept")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        cases = [(name, number) for name, number in json.load(sys.stdin)]
        return work(cases, options.seed, Path(options.work))
    if options.only:
        name, number = options.only.split(":")
        return keep((name, int(number)), options.seed)
    numbers = range(0, options.files, options.every)
    cases = [(name, number) for name in options.formats for number in numbers]
    before = logged(options.log, options.seed)
    left = [case for case in cases if case not in before]
    parts = [part for n in range(options.processes) if (part := left[n :: options.processes])]
    now = run(parts, options.seed, options.log)
    shown = track(now, "Broken files", len(left), console=Console(stderr=True)) if left else ()
    found = {case: before[case] for case in cases if case in before} | dict(shown)
    report = {"seed": options.seed, "files of each format": len(numbers)}
    print(json.dumps({**report, **summary(list(found.items()), options.formats)}, indent=2))
    return None


if __name__ == "__main__":
    main()
