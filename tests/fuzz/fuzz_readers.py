"""Break files of every format by the thousand and see what the readers make of them.

Every run must end in an error of our own or in a correct read. What is looked for: another
exception, a crash, a file that takes long or much memory, code that was executed (a canary file
appears), a table that contradicts itself, and contents other than Python's own unpickling gives.

    python tests/fuzz/fuzz_readers.py --seed 1 --files 1000

prints JSON: per format how many files were read, refused and refused as untrusted, and the
findings. `--only <format>:<number>` writes the file of one case to the current folder.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from broken_csd import CsdFormat
from broken_objects import OBJECT_FILES, object_format

from mmer.corpora.corpus import CorpusSource
from mmer.corpora.ingestion import check_disjoint
from mmer.errors import InputError, UntrustedDataError
from mmer.samples.table import TableInfo, write_table

_SECONDS_PER_FILE = 20  # of processor time: others may be busy on the machine
_SECONDS_BLOCKED = 300
_MEGABYTES_PER_FILE = 300
_BYTES_OF_ADDRESSES = 12 << 30
_FILES_PER_WORKER = 250
_FINE = ("read", "read by us alone", "refused", "untrusted")

Case = tuple[str, int]
"""Format and number."""


class Format(Protocol):
    """A format under test."""

    def make(self, rng: np.random.Generator, number: int, path: Path) -> bool:
        """Write the broken file of this number; say whether `compare` may be asked about it."""

    def read(self, path: Path) -> CorpusSource:
        """Open a file as a corpus."""

    def compare(self, path: Path) -> str:
        """What is to be said of a file that was read: "read", or a finding."""


FORMATS = (*OBJECT_FILES, "csd", "csd_gzip")


@cache
def good_files(name: str, folder: Path) -> Format:
    """The format of this name; its good files are written to a folder in `folder`."""
    folder = folder / name
    folder.mkdir()
    if name in OBJECT_FILES:
        return object_format(name, folder)
    return CsdFormat(folder, "gzip" if name == "csd_gzip" else None)


def make_case(case: Case, seed: int, folder: Path) -> tuple[Path, bool]:
    name, number = case
    path = folder / f"{number}.broken"
    rng = np.random.default_rng([seed, *name.encode(), number])
    return path, good_files(name, folder).make(rng, number, path)


def run_case(form: Format, path: Path) -> str:
    """What became of a file: "read", "refused", "untrusted", or a finding."""
    canary = path.with_name("canary")
    before = _peak_megabytes()
    try:
        source = form.read(path)
        outcome = _contradiction(source, path.parent) or "read"
    except UntrustedDataError as error:
        outcome = "untrusted" if str(error) else "an error without words"
    except InputError as error:
        outcome = "refused" if str(error) else "an error without words"
    except BaseException:
        outcome = traceback.format_exc()
    if _peak_megabytes() - before > _MEGABYTES_PER_FILE:
        outcome = f"{_peak_megabytes() - before:.0f} MB more, then {outcome}"
    if canary.exists():
        canary.unlink()
        outcome = "code was executed"
    return outcome


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _contradiction(source: CorpusSource, folder: Path) -> str:
    """Write the tables; say what is wrong with them."""
    groups = {}
    for split in source.groups:
        info = TableInfo(
            corpus="broken",
            split=split,
            labels=source.labels,
            features=source.features,
            alignment=source.alignment,
            synthetic=True,
            fingerprint="broken",
        )
        table = write_table(folder / f"{split}.arrow", info, source.read(split)).arrow()
        groups[split] = table["group_id"].to_pylist()
        if not set(groups[split]) <= set(source.groups[split]):
            return f"{split}: groups that the source did not announce"
        if len(set(table["sample_id"].to_pylist())) < len(table):
            return f"{split}: one sample twice"
        for row in table.to_pylist():
            if problem := _row_problem(row, info):
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
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES_OF_ADDRESSES, _BYTES_OF_ADDRESSES))
    for case in cases:
        print(json.dumps([case, "started"]), flush=True)
        path, comparable = make_case(case, seed, folder)
        form = good_files(case[0], folder)
        # Either ends the process, whatever it is doing.
        signal.setitimer(signal.ITIMER_PROF, _SECONDS_PER_FILE)
        signal.alarm(_SECONDS_BLOCKED)
        outcome = run_case(form, path)
        if outcome == "read" and comparable:
            outcome = form.compare(path)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        print(json.dumps([case, outcome]), flush=True)
        path.unlink()


def keep(case: Case, seed: int) -> None:
    """Write the file of one case to the current folder."""
    with tempfile.TemporaryDirectory() as folder:
        path, _ = make_case(case, seed, Path(folder))
        shutil.copy(path, path.name)


def outcomes(cases: list[Case], seed: int) -> Iterator[tuple[Case, str]]:
    """Every case's outcome, from workers that are replaced when they end."""
    while cases:
        now = cases[:_FILES_PER_WORKER]
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--seed", str(seed), "--work", folder]
            done = subprocess.run(
                command,
                input=json.dumps(now),
                capture_output=True,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                check=False,
            )
        lines = [
            ((name, n), outcome) for (name, n), outcome in map(json.loads, done.stdout.splitlines())
        ]
        yield from (line for line in lines if line[1] != "started")
        if done.returncode != 0:
            crashed = lines[-1][0] if lines else now[-1]
            yield crashed, f"the process ended with {done.returncode}: {done.stderr[-1500:]}"
            now = now[: now.index(crashed) + 1]
        cases = cases[len(now) :]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=1000, help="files of each format")
    parser.add_argument("--every", type=int, default=1, help="only every so many of them")
    parser.add_argument("--formats", nargs="*", default=FORMATS, choices=FORMATS)
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
    results = list(outcomes(cases, options.seed))
    report: dict[str, object] = {"seed": options.seed, "files of each format": len(numbers)}
    for name in options.formats:
        found = {case[1]: outcome for case, outcome in results if case[0] == name}
        report[name] = {
            **Counter(outcome for outcome in found.values() if outcome in _FINE),
            "findings": {f"{name}:{n}": o for n, o in found.items() if o not in _FINE},
        }
    print(json.dumps(report, indent=2))
    return None


if __name__ == "__main__":
    main()
