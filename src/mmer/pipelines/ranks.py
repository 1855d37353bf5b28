"""One of the processes that fit a system together; `mmer.pipelines.torchrun` starts it.

It reads what is to be done in a folder and leaves there what came of it. The first on this machine
tells the log, one record a line, on its output. On their input comes the number of a signal if the
training is to stop; if that input ends, so has whoever wanted the training, and they end as well.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from pydantic import Field

from mmer.errors import InputError
from mmer.files import write_text
from mmer.samples.batches import pack
from mmer.samples.table import SampleTable
from mmer.schema import Record
from mmer.systems import SYSTEMS
from mmer.systems.contract import fit_without
from mmer.systems.storage import save_fitted
from mmer.training import distributed
from mmer.training.checkpoints import Checkpoints, CheckpointSettings
from mmer.training.interruption import Stopped

_SECONDS_BETWEEN_LOOKS = 0.1
JOB, FITTED, HISTORY = "job.json", "fitted.safetensors", "history.json"


class Job(Record):
    """What is to be fitted.

    Attributes:
        system: Key in SYSTEMS.
        settings: Of it, as JSON holds them.
        part: That is taken away from it.
        train, valid: Sample tables.
        checkpoints: Folder of the trainings that go by this name.
        key: Digest of what decides the result.
        kept: When checkpoints are written and read.
    """

    system: str
    settings: dict[str, Any]
    part: str | None
    train: Path
    valid: Path
    checkpoints: Path
    key: str
    kept: CheckpointSettings


class Outcome(Record):
    """How a process ended that could say so.

    Attributes:
        signal: By which the training was asked to stop, if it was.
        place: Where it is.
        checkpoint: The last one, if this process writes them.
        refused: Where, key, expected, found, remedy of an InputError.
        failed: Any other error, in one line.
        ended: When, in seconds since 1970.
    """

    ended: float = Field(default_factory=time.time)
    signal: int | None = None
    place: str = "the last epoch"
    checkpoint: Path | None = None
    refused: tuple[str, str, str, str, str] | None = None
    failed: str | None = None


class LogLine(Record):
    """One record of a log, with what it carries for trackers."""

    name: str
    level: int
    text: str
    metrics: dict[str, float] = Field(default_factory=dict)
    step: int = 0


def be_one(folder: Path) -> int:
    """Fit with the others, and note how it ended; 0 if well."""
    tells = os.environ["LOCAL_RANK"] == "0"
    logging.captureWarnings(True)
    logging.basicConfig(
        level=logging.INFO, handlers=[_Telling() if tells else logging.NullHandler()]
    )
    threading.Thread(target=_listen, daemon=True).start()
    try:
        outcome = Outcome(checkpoint=_fit(Job.read(folder / JOB), folder, tells))
    except Stopped as stopped:
        outcome = Outcome(signal=stopped.signal, place=stopped.place, checkpoint=stopped.checkpoint)
    except InputError as error:
        outcome = Outcome(refused=error.args)
    except Exception as error:  # whoever started this has no other way to see it
        traceback.print_exc()
        outcome = Outcome(failed=f"{type(error).__name__}: {error}")
    write_text(folder / f"rank-{os.environ['RANK']}.json", outcome.to_json())
    return 1 if outcome.refused or outcome.failed else 0


def _fit(job: Job, folder: Path, tells: bool) -> Path | None:
    """The last checkpoint."""
    system = SYSTEMS[job.system]
    settings: Any = system.settings.model_validate(job.settings)
    train, valid = (pack(SampleTable(path)) for path in (job.train, job.valid))
    checkpoints = Checkpoints(job.checkpoints, job.key, job.kept)
    with distributed.team(settings.training.torch_device):
        fitted, history = fit_without(system, job.part, train, valid, settings, checkpoints)
    if tells:
        save_fitted(fitted, folder / FITTED)
        write_text(folder / HISTORY, history.to_json())
    return checkpoints.last


def _listen() -> None:
    while said := os.read(0, 1):
        # Until the training listens for it, a signal would be the end.
        while signal.getsignal(said[0]) in (signal.SIG_DFL, signal.default_int_handler):
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), said[0])
    os._exit(1)


class _Telling(logging.Handler):
    """Log records as lines of JSON on the output."""

    def emit(self, record: logging.LogRecord) -> None:
        line = LogLine(
            name=record.name,
            level=record.levelno,
            text=record.getMessage(),
            metrics=getattr(record, "metrics", {}),
            step=getattr(record, "step", 0),
        )
        print(line.to_json(), flush=True)


if __name__ == "__main__":
    sys.exit(be_one(Path(sys.argv[1])))
