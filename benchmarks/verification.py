"""What it costs to see that a sample table is as it was written, beside the start of a training.

A project of its own is made in a temporary folder, its table of training samples is repeated to the
size asked for, and `kedro run` trains on it. The start is what passes between the command and the
first step. The table's bytes are in the system's cache, which is the worst case: from a disk, what
the verification has read need not be read again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from measure import show

PROJECT = Path(__file__).resolve().parents[1]
RUN = ["run", "--pipelines=train_m3ed", "--env=test"]
TABLE = Path("data/03_primary/test/m3ed/train.arrow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.6)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        shutil.copytree(PROJECT / "conf", project / "conf")
        for name in ("pyproject.toml", ".telemetry"):
            shutil.copy(PROJECT / name, project)
        (project / "src").mkdir()
        kedro(project, sys.executable, "-m", "kedro", *RUN, "--tags=ingestion,alignment")
        size = enlarge(project / TABLE, asked.gigabytes * 1e9)
        rounds = [
            json.loads(kedro(project, sys.executable, __file__, "start"))
            for _ in range(asked.rounds)
        ]
    shares = [one["verification_s"] / one["start_s"] for one in rounds]
    show(
        "verification",
        table_gigabytes=round(size / 1e9, 2),
        rounds=rounds,
        share_of_start={
            "median": round(statistics.median(shares), 4),
            "least": round(min(shares), 4),
            "most": round(max(shares), 4),
        },
    )


def kedro(project: Path, *command: str) -> str:
    """The last line that a command in the project's folder prints."""
    environment = {**os.environ, "DO_NOT_TRACK": "1", "BEGAN": str(time.time())}
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout.splitlines()[-1] if done.stdout else ""


def enlarge(path: Path, size: float) -> int:
    """Repeat a table's samples under other names until it is that large; bytes that it has then."""
    from mmer.samples.table import SampleTable, write_batches

    table = SampleTable(path)
    rows = table.arrow().combine_chunks()
    names = rows["sample_id"].to_pylist()

    def batches() -> Iterator[pa.RecordBatch]:
        for turn in range(max(1, round(size / path.stat().st_size))):
            again = pa.array([f"{name}_{turn}" for name in names])
            yield from rows.set_column(0, rows.schema.field(0), again).to_batches()

    larger = path.with_name("larger.arrow")
    write_batches(larger, table.info, batches())
    larger.replace(path)
    return path.stat().st_size


def start() -> None:
    """In the project's folder: train up to the first step, and tell the seconds until then."""
    from kedro.framework.cli.cli import main as command

    import mmer.training.loop
    from mmer.samples import table

    spent = [0.0]
    arrow = table.SampleTable.arrow

    def timed(self: table.SampleTable) -> pa.Table:
        begin = time.perf_counter()
        try:
            return arrow(self)
        finally:
            spent[0] += time.perf_counter() - begin

    def first_step(*_: object) -> None:
        whole = time.time() - float(os.environ["BEGAN"])
        print(json.dumps({"verification_s": round(spent[0], 3), "start_s": round(whole, 3)}))
        sys.stdout.flush()
        os._exit(0)

    table.SampleTable.arrow = timed
    mmer.training.loop.take_step = first_step
    sys.argv = ["kedro", *RUN, "--tags=training", "--to-outputs=m3ed.carat.model"]
    command()


if __name__ == "__main__":
    start() if sys.argv[1:] == ["start"] else main()
