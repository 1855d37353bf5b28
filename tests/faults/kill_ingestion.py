"""Kill ingestion and alignment at random moments, and see that nothing half is taken for whole.

    python tests/faults/kill_ingestion.py --kills 100

Runs write a small synthetic corpus, open it and align it, by turns in one process and in two. Each
is killed with all its processes; one that ends before does not count. After every kill, every file
that is there under its own name is compared with that of an undisturbed run; after every tenth and
at the end, a run that is left alone must make exactly the undisturbed tables. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from hashlib import sha256
from itertools import count
from pathlib import Path

from mmer.corpora import CORPORA
from mmer.corpora.corpus import Manifest
from mmer.corpora.ingestion import aligned_table, open_corpus
from mmer.datasets.files import RecordFile
from mmer.datasets.raw_corpus import RawFiles
from mmer.datasets.sample_tables import SampleTableFile
from mmer.samples.table import SPLITS, SampleTable

CORPUS = "mosei"
SIZE = {"train_videos": 70, "valid_videos": 4, "test_videos": 4, "segments_per_video": 1}
LEFT_ALONE_EVERY = 10


def run(folder: Path, processes: int) -> None:
    """What a `kedro run` of the first two stages does."""
    synthetic = {"path": str(folder / "raw"), "settings": SIZE}
    raw = RawFiles(corpus=CORPUS, synthetic=synthetic).load()
    settings = CORPORA[CORPUS].ingestion.model_validate(
        {"processes": processes, "csd": {"folds": "folds.json"}}
    )
    manifest = open_corpus(CORPUS, raw, settings)
    kept = RecordFile(record="mmer.corpora.corpus.Manifest", filepath=str(folder / "manifest.json"))
    kept.save(manifest)
    for split in SPLITS:
        table = aligned_table(manifest, split, folder / "aligned")
        SampleTableFile(filepath=str(folder / "tables" / f"{split}.arrow")).save(table)


def start(folder: Path, processes: int) -> subprocess.Popen:
    """Another process that does it; it has begun when this returns."""
    command = [sys.executable, __file__, "--run", str(folder), "--processes", str(processes)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    return process


def wholes(folder: Path) -> dict[str, str]:
    """Name -> digest of files under their own names, but for shards, locks and manifests."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.suffix != ".lock"
        and path.name != "manifest.json"
        and not any(part.endswith((".partial", ".shards")) for part in path.parts)
    }


def manifests_are_whole(folder: Path) -> bool:
    return all(Manifest.read(path).files for path in folder.rglob("manifest.json"))


def left_alone(folder: Path) -> float:
    """Seconds that an undisturbed run takes; it must end well."""
    begin = time.monotonic()
    process = start(folder, processes=2)
    assert process.wait() == 0, "a run after a kill failed"
    return time.monotonic() - begin


def shards_are_whole(folder: Path) -> int:
    """How many shards there are; an InputError if one is not as it was written."""
    shards = list(folder.rglob("*.shards/[0-9]*.arrow"))
    for shard in shards:
        SampleTable(shard).arrow()
    return len(shards)


def kill_often(kills: int, seed: int) -> dict[str, object]:
    """What was seen; an error if a half was, or would be, taken for a whole."""
    rng, found = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        reference, folder = Path(place, "undisturbed"), Path(place, "killed")
        from_nothing = left_alone(reference)
        expected = wholes(reference)
        for made in ("aligned", "tables"):
            shutil.rmtree(reference / made)
        aligning = left_alone(reference)
        for number in count():
            if number % LEFT_ALONE_EVERY == 0:
                shutil.rmtree(folder, ignore_errors=True)
            process = start(folder, processes=1 + number % 2)
            has_files = bool(list(folder.glob("raw/[!.]*")))
            time.sleep(rng.uniform(0, aligning if has_files else from_nothing))
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                found["killed at work"] += 1
            process.wait()
            there = wholes(folder)
            assert there.items() <= expected.items(), "a half under its own name"
            assert manifests_are_whole(folder), "half a manifest"
            found["files found whole"] += len(there)
            found["shards found whole"] += shards_are_whole(folder)
            found["partial files found"] += len(list(folder.rglob(".*.partial")))
            if (number + 1) % LEFT_ALONE_EVERY == 0 or found["killed at work"] == kills:
                left_alone(folder)
                assert wholes(folder) == expected, "other tables than undisturbed"
                found["runs left alone that made the undisturbed tables"] += 1
                print(dict(found), file=sys.stderr)
            if (folder / "tables" / f"{SPLITS[-1]}.arrow").exists():
                for made in ("aligned", "tables"):
                    shutil.rmtree(folder / made)
            if found["killed at work"] == kills:
                break
    seconds = {"from nothing": round(from_nothing, 1), "aligning": round(aligning, 1)}
    return {"seed": seed, "seconds of a run": seconds, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        print("begun", flush=True)
        run(given.run, given.processes)
    else:
        print(json.dumps(kill_often(given.kills, given.seed), indent=2))


if __name__ == "__main__":
    main()
