"""Kill a training at random moments, and see that nothing of it is lost or changed.

    python tests/faults/kill_training.py --kills 50

A small CARAT is trained on a small synthetic corpus, its thresholds are chosen and its test samples
scored, as the nodes of the pipeline do. The process is killed at a random moment, every other time
while a file is being written, and started again until it ends; then model, history (but for times),
thresholds and scores must be those of a run that was left alone, bit for bit. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path

from mmer.calibration.settings import CalibrationSettings
from mmer.corpora import CORPORA
from mmer.corpora.ingestion import aligned_table, open_corpus
from mmer.datasets.files import FittedSystemFile, RecordFile, ScoresTable
from mmer.datasets.raw_corpus import RawFiles
from mmer.pipelines.calibration.nodes import calibrate_scores, score_valid
from mmer.pipelines.evaluation.nodes import score_test
from mmer.pipelines.training.nodes import fit_system
from mmer.samples.table import SPLITS, SampleTable
from mmer.systems import SYSTEMS
from mmer.training.checkpoints import CheckpointSettings
from mmer.training.history import History

CORPUS, SYSTEM = "m3ed", "carat"
NETWORK = {
    "hidden": 32,
    "latent": 16,
    "heads": 4,
    "feed_forward": 64,
    "layers": {"text": 1, "visual": 1, "audio": 1},
    "queue": 512,
}
TRAINING = {"epochs": 6, "batch_size": 32, "modality_dropout": 0.2, "device": "cpu"}
KEPT = CheckpointSettings(seconds=0)
RESULTS = ("model.safetensors", "calibration.json", "valid.parquet", "test.parquet")


def make_tables(folder: Path) -> None:
    """What the first two stages do."""
    raw = RawFiles(corpus=CORPUS, synthetic={"path": str(folder / "raw")}).load()
    manifest = open_corpus(CORPUS, raw, CORPORA[CORPUS].ingestion())
    for split in SPLITS:
        aligned_table(manifest, split, folder / "aligned").path.rename(folder / f"{split}.arrow")


def run(tables: Path, folder: Path) -> None:
    """What the stages after them do."""
    train, valid, test = (SampleTable(tables / f"{split}.arrow") for split in SPLITS)
    settings = SYSTEMS[SYSTEM].settings.model_validate({"network": NETWORK, "training": TRAINING})
    fitted, history = fit_system(train, valid, settings, KEPT, folder / "checkpoints", SYSTEM)
    valid_scores = score_valid(fitted, valid)
    calibration = calibrate_scores(valid_scores, CalibrationSettings())
    kept = {
        "model.safetensors": (FittedSystemFile, fitted, {}),
        "history.json": (RecordFile, history, {"record": "mmer.training.history.History"}),
        "calibration.json": (
            RecordFile,
            calibration,
            {"record": "mmer.calibration.calibration.Calibration"},
        ),
        "valid.parquet": (ScoresTable, valid_scores, {}),
        "test.parquet": (ScoresTable, score_test(fitted, test), {}),
    }
    for name, (kind, content, options) in kept.items():
        kind(filepath=str(folder / name), **options).save(content)
    (folder / "done").touch()


def start(tables: Path, folder: Path) -> subprocess.Popen:
    """Another process that does it."""
    command = [sys.executable, __file__, "--run", str(tables), str(folder)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE)


def results(folder: Path) -> dict[str, object]:
    """Digest of each file that a run leaves; of the history what is no time."""
    digests = {name: sha256((folder / name).read_bytes()).hexdigest() for name in RESULTS}
    history = History.read(folder / "history.json").model_dump()
    del history["earlier_seconds"]
    epochs = [{k: v for k, v in one.items() if k != "seconds"} for one in history.pop("epochs")]
    return {**digests, "history": [history, epochs]}


def wait_for_writing(folder: Path, process: subprocess.Popen) -> bool:
    """Whether a file is being written before the process ends."""
    while process.poll() is None:
        if list(folder.rglob(".*.partial")):
            return True
        time.sleep(0.0005)
    return False


def kill_once(
    tables: Path, folder: Path, longest: float, rng: random.Random, found: Counter[str]
) -> None:
    """Start a run and kill it, unless it ends before."""
    process = start(tables, folder)
    time.sleep(rng.uniform(0, longest))
    writing = rng.random() < 0.5 and wait_for_writing(folder, process)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        found["kills"] += 1
        found["of these while a file was written"] += writing
    _, said = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), said.decode()
    found["runs that went on from a checkpoint"] += b"goes on after" in said
    found["partial files left behind"] += len(list(folder.rglob(".*.partial")))


def kill_often(kills: int, seed: int) -> dict[str, object]:
    """What was seen; an error if an interrupted training ended otherwise than an undisturbed."""
    rng, found = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        tables, undisturbed = Path(place), Path(place, "undisturbed")
        make_tables(tables)
        begin = time.monotonic()
        process = start(tables, undisturbed)
        _, said = process.communicate()
        assert process.returncode == 0, said.decode()
        longest, expected = time.monotonic() - begin, results(undisturbed)
        number = 0
        while found["kills"] < kills:
            number += 1
            folder = Path(place, f"killed_{number}")
            while not (folder / "done").exists():
                if found["kills"] < kills:
                    kill_once(tables, folder, longest, rng, found)
                else:
                    assert start(tables, folder).wait() == 0
            assert results(folder) == expected, "it ended otherwise than undisturbed"
            found["trainings that ended as the undisturbed one"] += 1
            print(dict(found), file=sys.stderr)
    return {"seed": seed, "seconds of an undisturbed run": round(longest, 1), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", type=Path, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        import logging

        logging.basicConfig(level=logging.INFO)
        run(*given.run)
    else:
        print(json.dumps(kill_often(given.kills, given.seed), indent=2))


if __name__ == "__main__":
    main()
