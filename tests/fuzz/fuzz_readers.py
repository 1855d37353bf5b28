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
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import hostile
import look_alikes
import mutations
import numpy as np
import oracle

from mmer.corpora.formats.restricted_pickle import read_pickles
from mmer.corpora.formats.torch_archive import read_torch
from mmer.corpora.m3ed import M3edSettings, read_m3ed
from mmer.corpora.mmsa import MmsaSettings, read_mmsa
from mmer.corpora.noalign import read_noalign
from mmer.corpora.padded import PaddedSettings
from mmer.corpora.source import CorpusSource, check_disjoint
from mmer.corpora.tailor import read_tailor
from mmer.errors import InputError, UntrustedDataError
from mmer.samples.table import MODALITIES, SPLITS, open_table, write_table

_SECONDS_PER_FILE = 20
_MEGABYTES_PER_FILE = 300
_BYTES_OF_ADDRESSES = 12 << 30
_FILES_PER_WORKER = 250
_PLACE = "put it here"
_PADDED = PaddedSettings(widths=look_alikes.WIDTHS)
_MMSA_WITHOUT_WORDS = MmsaSettings(widths=look_alikes.WIDTHS, most_unjoined=0.9)
_MMSA = MmsaSettings(widths=look_alikes.WIDTHS)


class Corpora:
    """The good files, and the content that each is made from."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        words, videos = look_alikes.word_vectors(rng), look_alikes.labelled_videos(rng)
        self.m3ed = look_alikes.m3ed_content(rng)
        self.tailor = look_alikes.tailor_content(rng, words)
        self.noalign = look_alikes.noalign_content(rng, words)
        self.mmsa_aligned = look_alikes.mmsa_content(rng, videos, aligned=True)
        self.mmsa_unaligned = look_alikes.mmsa_content(rng, videos, aligned=False)
        self.emotions = look_alikes.write_torch(folder / "train_valid_test.pt", self.tailor)
        self.labels, self.words = look_alikes.write_label_files(folder, videos)


@dataclass(frozen=True)
class Format:
    """A format under test.

    Attributes:
        content: The objects of a good file.
        write: Writes objects to a path.
        read: Opens a file as a corpus.
        contents: The objects of a file as the readers get them.
        expected: The objects of a file as the library has them whose format it is.
    """

    content: object
    write: Callable[[Path, object], Path]
    read: Callable[[Path], CorpusSource]
    contents: Callable[[Path], object]
    expected: Callable[[Path], object]


def formats(corpora: Corpora) -> dict[str, Format]:
    pickled = {
        "m3ed": (corpora.m3ed, lambda p: read_m3ed(p, M3edSettings(), corpus="m3ed")),
        "noalign": (
            corpora.noalign,
            lambda p: read_noalign(p, corpora.emotions, _PADDED, corpus="mosei"),
        ),
        "mmsa_aligned": (
            corpora.mmsa_aligned,
            lambda p: read_mmsa(p, corpora.labels, _MMSA, corpus="mosei", words=corpora.words),
        ),
        "mmsa_unaligned": (
            corpora.mmsa_unaligned,
            lambda p: read_mmsa(p, corpora.labels, _MMSA_WITHOUT_WORDS, corpus="mosei"),
        ),
    }
    found = {
        name: Format(
            content, write_pickle, read, partial(read_pickles, most=10), oracle.read_pickles
        )
        for name, (content, read) in pickled.items()
    }
    for name, legacy in (("tailor", False), ("tailor_legacy", True)):
        found[name] = Format(
            corpora.tailor,
            partial(look_alikes.write_torch, legacy=legacy),
            lambda p: read_tailor(p, _PADDED, corpus="mosei"),
            read_torch,
            oracle.read_torch,
        )
    return found


def write_pickle(path: Path, content: object) -> Path:
    """As a pickle of the protocol that the file's number asks for."""
    return look_alikes.write_pickle(path, content, 2 + int(path.stem) % 4)


def make_case(
    form: Format, rng: np.random.Generator, number: int, folder: Path
) -> tuple[Path, bool]:
    """Write the broken file of this number, and say whether its contents are hand-written.

    The first numbers go through all hand-written contents.
    """
    path, canary = folder / f"{number}.broken", folder / "canary"
    written = {
        **hostile.that_run_code(canary),
        **hostile.that_ask_for_too_much(),
    }
    intruders = mutations.intruders(canary)
    if number < len(written):
        _place_bytes(form, path, rng, list(written.values())[number])
    elif number < len(written) + len(intruders):
        intruder = intruders[number - len(written)]
        form.write(path, mutations.break_objects(rng, form.content, intruder))
    elif rng.random() < 0.4:
        form.write(path, mutations.break_objects(rng, form.content))
    else:
        form.write(path, form.content)
        _break_bytes(path, rng)
    return path, number < len(written)


def _break_bytes(path: Path, rng: np.random.Generator) -> None:
    change = partial(mutations.break_bytes, rng)
    if rng.random() < 0.5 and zipfile.is_zipfile(path):
        _change_pickle(path, change)
    else:
        path.write_bytes(change(path.read_bytes()))


def _place_bytes(form: Format, path: Path, rng: np.random.Generator, content: bytes) -> None:
    """Put hand-written instructions in the place of some object, or of the whole file."""
    if rng.random() < 0.3:
        path.write_bytes(b"\x80\x04" + content + b".")
        return
    form.write(path, mutations.break_objects(rng, form.content, _PLACE))
    change = partial(_replace, content=content)
    if zipfile.is_zipfile(path):
        _change_pickle(path, change)
    else:
        path.write_bytes(change(path.read_bytes()))


def _replace(pickled: bytes, content: bytes) -> bytes:
    for header in (b"X\x0b\x00\x00\x00", b"\x8c\x0b"):
        pickled = pickled.replace(header + _PLACE.encode(), content)
    return pickled


def _change_pickle(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the pickle inside an archive, its check sum with it."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)


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


def compare(form: Format, path: Path) -> str:
    """What the library makes of a file that was read: "read", "read by us alone", or a finding."""
    try:
        expected = form.expected(path)
    except Exception:
        return "read by us alone"
    if oracle.same(form.contents(path), expected):
        return "read"
    return "other contents than the format's own library reads"


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
    every = formats(Corpora(folder))
    for number in numbers:
        print(json.dumps([number, "started"]), flush=True)
        rng = np.random.default_rng([seed, sorted(every).index(name), number])
        path, hand_written = make_case(every[name], rng, number, folder)
        signal.alarm(_SECONDS_PER_FILE)  # ends the process, whatever it is doing
        outcome = run_case(every[name], path)
        if outcome == "read" and not hand_written:  # those would cost the library too much
            outcome = compare(every[name], path)
        signal.alarm(0)
        print(json.dumps([number, outcome]), flush=True)
        path.unlink()


def keep(name: str, seed: int, number: int) -> None:
    """Write the file of one case to the current folder."""
    with tempfile.TemporaryDirectory() as folder:
        every = formats(Corpora(Path(folder)))
        rng = np.random.default_rng([seed, sorted(every).index(name), number])
        path, _ = make_case(every[name], rng, number, Path(folder))
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
        names = options.formats or sorted(formats(Corpora(Path(folder))))
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
