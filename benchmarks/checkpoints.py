"""What keeping the state of a training costs at the paper's sizes: seconds, bytes, share of time.

The share is that of one write in the time until the next, at the default settings; steps and writes
are timed in one run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from measure import show, spread, timed
from workload import BATCH, LENGTH, TrainingStep, paper_network, random_batch

from mmer.training.checkpoints import Checkpoints, CheckpointSettings

STEPS_PER_EPOCH = 255  # of CMU-MOSEI's 16,327 training samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3)
    asked = parser.parse_args()
    step, batch = TrainingStep(paper_network("cpu")), random_batch(BATCH, LENGTH, "cpu")
    settings = CheckpointSettings()
    with tempfile.TemporaryDirectory() as folder:
        kept = Checkpoints(Path(folder), "benchmark", settings)
        step(batch)
        # As after the first epoch: the best network so far is kept as well.
        step.state.best = {name: x.clone() for name, x in step.state.network.state_dict().items()}
        begin = time.perf_counter()
        for _ in range(asked.steps):
            step(batch)
        epoch = (time.perf_counter() - begin) / asked.steps * STEPS_PER_EPOCH
        write = timed(lambda: kept.save(step.state))
        restore = timed(lambda: kept.restore(step.state))
        assert kept.last is not None
        size = kept.last.stat().st_size
    between = max(settings.seconds, 50 * write.median)
    show(
        "checkpoints",
        megabytes=round(size / 1e6, 1),
        write=spread(write),
        restore=spread(restore),
        epoch_s=round(epoch, 1),
        checkpoints_per_epoch=round(epoch / between, 2),
        share_of_epoch=round(write.median / (between + write.median), 4),
        share_of_epoch_at_the_slowest_write=round(
            max(write.times) / (between + max(write.times)), 4
        ),
    )


if __name__ == "__main__":
    main()
