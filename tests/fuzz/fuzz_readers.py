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
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from broken_csd import CsdFormat
from broken_objects import Corpora, object_formats

from mmer.corpora.source import CorpusSource, check_disjoint
from mmer.errors import InputError, UntrustedDataError
from mmer.samples.table import MODALITIES, SPLITS, open_table, write_table

_SECONDS_PER_FILE = 20
_MEGABYTES_PER_FILE = 300
_BYTES_OF_ADDRESSES = 12 << 30
_FILES_PER_WORKER = 250


class Format(Protocol):
    """A format under test."""

    def make(self, rng: np.random.Generator, number: int, path: Path) -> bool:
        """Write the broken file of this number; say whether `compare` may be asked about it."""

    def read(self, path: Path) -> CorpusSource:
        """Open a file as a corpus."""

    def compare(self, path: Path) -> str:
        """What is to be said of a file that was read: "read", or a finding."""


def formats(folder: Path) -> dict[str, Format]:
    """Every format; their good files are written to `folder`."""
    return {
        **object_formats(Corpora(folder)),
        "csd": CsdFormat(folder / "plain", None),
        "csd_gzip": CsdFormat(folder / "gzip", "gzip"),
    }


def make_case(form: Format, name: str, seed: int, number: int, folder: Path) -> tuple[Path, bool]:
    path = folder / f"{number}.broken"
    rng = np.random.default_rng([seed, *name.encode(), number])
    return path, form.make(rng, number, path)


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
    for split in SPLITS:
        path = folder / f"{split}.arrow"
        rows = write_table(path, source.info, source.read(split))
        table = open_table(path)
        groups[split] = table["group_id"].to_pylist()
        if len(set(table["sample_id"].to_pylist())) < rows:
            return f"{split}: one sample twice"
        for row in table.to_pylist():
            if problem := _row_problem(row, source.info.alignment):
                return f"{split}, {row['sample_id']}: {problem}"
    check_disjoint("tables", groups)
    return ""


def _row_problem(row: dict, alignment: str) -> str:
    present = [row[m] for m in MODALITIES if row[m] is not None]
    if not present or any(len(steps) == 0 for steps in present):
        return "no features"
    if not all(np.isfinite(steps).all() for steps in present):
        return "features that are not finite"
    if not any(np.any(steps) for steps in present):
        return "nothing but zeros"
    if alignment != "none" and len({len(steps) for steps in present}) > 1:
        return "aligned modalities of different length"
    if (
        row["words"] is not None
        and row["text"] is not None
        and len(row["words"]) != len(row["text"])
    ):
        return "words that are not those of the text"
    return ""


def work(name: str, seed: int, numbers: range, folder: Path) -> None:
    """Run cases and print a line for each before and after it, so that a crash names its case."""
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES_OF_ADDRESSES, _BYTES_OF_ADDRESSES))
    form = formats(folder)[name]
    for number in numbers:
        print(json.dumps([number, "started"]), flush=True)
        path, comparable = make_case(form, name, seed, number, folder)
        signal.alarm(_SECONDS_PER_FILE)  # ends the process, whatever it is doing
        outcome = run_case(form, path)
        if outcome == "read" and comparable:
            outcome = form.compare(path)
        signal.alarm(0)
        print(json.dumps([number, outcome]), flush=True)
        path.unlink()


def keep(name: str, seed: int, number: int) -> None:
    """Write the file of one case to the current folder."""
    with tempfile.TemporaryDirectory() as folder:
        form = formats(Path(folder))[name]
        path, _ = make_case(form, name, seed, number, Path(folder))
        shutil.copy(path, path.name)


def outcomes(name: str, seed: int, files: int) -> Iterator[tuple[int, str]]:
    """Every case's outcome, from workers that are replaced when they end."""
    begin = 0
    while begin < files:
        end = min(begin + _FILES_PER_WORKER, files)
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--work", name, folder, str(begin), str(end)]
            command += ["--seed", str(seed)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        yield from ((number, outcome) for number, outcome in lines if outcome != "started")
        begin = end
        if done.returncode != 0:
            crashed = lines[-1][0] if lines else end
            yield crashed, f"the process ended with {done.returncode}: {done.stderr[-1500:]}"
            begin = crashed + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--files", type=int, default=1000, help="files of each format")
    parser.add_argument("--formats", nargs="*", help="only these")
    parser.add_argument("--only", help="<format>:<number>, one case, its file kept")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        name, folder, begin, end = options.work
        return work(name, options.seed, range(int(begin), int(end)), Path(folder))
    if options.only:
        name, number = options.only.split(":")
        return keep(name, options.seed, int(number))
    with tempfile.TemporaryDirectory() as folder:
        names = options.formats or sorted(formats(Path(folder)))
    report: dict[str, object] = {"seed": options.seed, "files of each format": options.files}
    for name in names:
        results = list(outcomes(name, options.seed, options.files))
        fine = ("read", "read by us alone", "refused", "untrusted")
        report[name] = {
            **Counter(outcome for _, outcome in results if outcome in fine),
            "findings": {f"{name}:{n}": outcome for n, outcome in results if outcome not in fine},
        }
    print(json.dumps(report, indent=2))
    return None


if __name__ == "__main__":
    main()
