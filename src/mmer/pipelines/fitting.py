"""How stages fit a system: from sample tables, with checkpoints of this very training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmer.provenance import fingerprint
from mmer.samples.batches import pack
from mmer.samples.table import SampleTable
from mmer.systems.contract import Fit, System, fit_without
from mmer.training.checkpoints import Checkpoints, CheckpointSettings


def fit(
    recipe: System,
    part: str | None,
    train: SampleTable,
    valid: SampleTable,
    settings: Any,
    folder: Path,
    kept: CheckpointSettings,
) -> Fit:
    """Fit a system, perhaps without a part, or go on where a run of the same was stopped.

    Args:
        folder: Of the checkpoints of all trainings that go by this name.
        kept: When checkpoints are written and read.
    """
    decisive = {
        "tables": train.info.fingerprint,
        "settings": settings.model_dump(mode="json"),
        "without": part,
    }
    key = fingerprint((), decisive, (type(recipe), fit_without, pack))
    checkpoints = Checkpoints(folder, key, kept)
    return fit_without(recipe, part, pack(train), pack(valid), settings, checkpoints)
