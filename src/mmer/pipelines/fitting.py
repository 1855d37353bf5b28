"""How stages fit a system: from sample tables, with checkpoints of this very training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmer.provenance import fingerprint
from mmer.samples.batches import pack
from mmer.samples.table import SampleTable
from mmer.systems.contract import Fit, System, fit_without
from mmer.training.checkpoints import Checkpoints, CheckpointSettings
from mmer.training.settings import TrainingSettings

from .ranks import Job
from .together import fit_together


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

    If its training is to have several processes, they are started and waited for.

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
    training = getattr(settings, "training", None)
    if isinstance(training, TrainingSettings) and training.together:
        job = Job(
            system=recipe.name,
            settings=decisive["settings"],
            part=part,
            train=train.path,
            valid=valid.path,
            checkpoints=folder,
            key=key,
            kept=kept,
        )
        return fit_together(job, training)
    checkpoints = Checkpoints(folder, key, kept)
    return fit_without(recipe, part, pack(train), pack(valid), settings, checkpoints)
