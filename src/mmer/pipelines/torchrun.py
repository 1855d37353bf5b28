"""Torchrun, which starts the processes that fit a system together, and notes which of them failed.

    python -m mmer.pipelines.torchrun FOLDER [options of torchrun]

Whoever starts this reads that in the folder. There the processes leave what they say themselves
(`mmer.pipelines.ranks`). It starts first, so it imports nothing that torchrun does not need.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from mmer.files import write_text
from mmer.schema import Record

EXITS = "exits.json"


class Exits(Record):
    """Of the processes that failed: rank -> exit status, or less than 0 the signal."""

    statuses: dict[int, int]


def start_all(folder: Path, options: list[str]) -> int:
    """Be torchrun, and note what became of its processes; 0 if all went well."""
    import torch.distributed.run as torchrun  # those who read `Exits` do not need it
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # What fails is told by whoever started this.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    program = ["--module", "mmer.pipelines.ranks", str(folder)]
    try:
        torchrun.run(torchrun.parse_args([*options, *program]))
    except ChildFailedError as error:
        statuses = {rank: failure.exitcode for rank, failure in error.failures.items()}
        write_text(folder / EXITS, Exits(statuses=statuses).to_json())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(start_all(Path(sys.argv[1]), sys.argv[2:]))
